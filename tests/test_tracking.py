"""Trackers: what they are told, that they change nothing, and what is said without them."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from wandb.proto.wandb_internal_pb2 import Record

import esol
import esol.training.tracking
from esol.data.sample import Sample
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.settings import Fit, Machine
from esol.training.fit import TrainingRun, fit
from esol.training.inputs import Example, Inputs

SMOKE = str(Path(__file__).parent / "smoke.yaml")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_API_KEY", "WANDB_ERROR_REPORTING"):
        monkeypatch.delenv(name, raising=False)


def train(folder: Path, track: str, *, stop_at: int = 0, steps: int = 12) -> nn.Module:
    """A small network, trained in a stage's folder; stopped after some step if that is asked."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = tuple(Sample(f"p{i}", None, (i % 2,)) for i in range(10))
    inputs = Inputs(samples, 2, lambda sample, rng: Example(torch.full((3,), float(rng.random()))))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 2))
    seen = 0

    def losses(model, batch):
        nonlocal seen
        seen += 1
        if stop_at and seen > stop_at:
            raise KeyboardInterrupt
        loss = nn.functional.multilabel_soft_margin_loss(model(batch.inputs), batch.tags)
        return {"loss": loss, "double": 2 * loss.detach()}

    fit(
        network,
        losses,
        inputs,
        [(network.parameters(), 1.0)],
        Fit(steps=steps, batch=4, lr=0.5),
        TrainingRun(folder, "test", 7, Machine(device="cpu", checkpoint_seconds=0, track=track)),
    )
    return network


def lines(folder: Path) -> list[dict[str, float]]:
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def scalars(folder: Path) -> list[dict[str, float]]:
    """What TensorBoard shows of a folder of events, as the lines of metrics.jsonl."""
    events = EventAccumulator(str(folder)).Reload()
    found: dict[int, dict[str, float]] = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            found.setdefault(event.step, {"step": event.step})[tag] = event.value
    return [found[step] for step in sorted(found)]


def stored(path: Path) -> Iterator[bytes]:
    """Records of a .wandb file of one block: its header, then LevelDB's log format."""
    left = path.read_bytes()[7:]
    assert len(left) < 32768
    while left:
        _, size, kind = struct.unpack("<IHB", left[:7])
        assert kind == 1, "a record in parts"
        yield left[7 : 7 + size]
        left = left[7 + size :]


def history(run: Path) -> tuple[str, str, list[dict[str, float]]]:
    """Project, name and history of the one offline run in RUN/wandb."""
    (path,) = run.glob("wandb/offline-run-*/run-*.wandb")
    told, project, name = [], "", ""
    for data in stored(path):
        record = Record.FromString(data)
        if record.HasField("run"):
            project, name = record.run.project, record.run.display_name
        if record.HasField("history"):
            items = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            step = items.pop("_step", record.history.step.num)
            values = {key: value for key, value in items.items() if not key.startswith("_")}
            told.append({"step": step, **values})
    return project, name, told


def test_tensorboard_is_told_what_metrics_jsonl_has(tmp_path):
    train(tmp_path / "mine" / "01-classify", "tensorboard")
    told = scalars(tmp_path / "mine" / "tensorboard" / "01-classify")
    expected = lines(tmp_path / "mine" / "01-classify")
    assert len(expected) == 12
    assert [sorted(line) for line in told] == [sorted(line) for line in expected]
    for ours, theirs in zip(expected, told, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-6)


def test_wandb_is_told_the_same_and_stays_offline(tmp_path):
    train(tmp_path / "a run: mine" / "01-classify", "wandb")
    project, name, told = history(tmp_path / "a run: mine")
    assert (project, name) == ("a run- mine", "01-classify")
    assert told == [pytest.approx(line) for line in lines(tmp_path / "a run: mine" / "01-classify")]


@pytest.mark.parametrize("track", ["tensorboard", "wandb"])
def test_weights_are_those_without_a_tracker(track, tmp_path):
    plain = train(tmp_path / "plain" / "01-classify", "none").state_dict()
    tracked = train(tmp_path / "tracked" / "01-classify", track).state_dict()
    assert all(torch.equal(tracked[name], value) for name, value in plain.items())
    files = [tmp_path / run / "01-classify" / "metrics.jsonl" for run in ("plain", "tracked")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert {path.name for path in (tmp_path / "plain").iterdir()} == {"01-classify"}


def test_a_resumed_curve_goes_on_and_a_new_one_replaces_it(tmp_path):
    folder, events = tmp_path / "01-classify", tmp_path / "tensorboard" / "01-classify"
    with pytest.raises(KeyboardInterrupt):
        train(folder, "tensorboard", stop_at=5)
    assert [line["step"] for line in scalars(events)] == [1, 2, 3, 4, 5]
    train(folder, "tensorboard")
    assert [line["step"] for line in scalars(events)] == list(range(1, 13))
    for path in folder.iterdir():
        path.rename(tmp_path / path.name)
    train(folder, "tensorboard", steps=3)
    assert [line["step"] for line in scalars(events)] == [1, 2, 3]


def test_a_training_inside_a_stage_has_its_own_curve(tmp_path):
    train(tmp_path / "03-peer" / "round-2", "tensorboard", steps=2)
    assert len(scalars(tmp_path / "tensorboard" / "03-peer" / "round-2")) == 2
    assert not (tmp_path / "03-peer" / "tensorboard").exists()


def test_wandb_that_cannot_start_is_one_line(tmp_path, monkeypatch):
    import wandb

    def refuse(**options):
        assert options["mode"] == "online"
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login`.")

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(InputError, match=r"^machine\.track = 'wandb': No API key.*WANDB_MODE"):
        train(tmp_path / "01-classify", "wandb")


@pytest.mark.parametrize("track", ["tensorboard", "wandb"])
def test_without_the_extra_it_is_refused_before_any_work(track, tmp_path, monkeypatch):
    write_synthetic(tmp_path / "photos", photos=8, size=64, seed=0, hard=True)
    settings = esol.load_settings(SMOKE, f"--machine.track={track}")
    monkeypatch.setitem(esol.training.tracking._AVAILABLE, track, lambda: False)
    with pytest.raises(InputError, match=rf"machine\.track = '{track}'.*esol\[track\]"):
        esol.run(settings, tmp_path / "photos", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tracker_does_not_make_a_stage_anew(tmp_path):
    write_synthetic(tmp_path / "photos", photos=8, size=64, seed=0, hard=True)
    for track in ("none", "tensorboard"):
        settings = esol.load_settings(SMOKE, f"--machine.track={track}")
        esol.run(settings, tmp_path / "photos", tmp_path / "run", last="classify")
        assert not (tmp_path / "run" / "tensorboard").exists()
