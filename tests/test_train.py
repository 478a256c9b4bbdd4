"""The training loop: order of examples, schedule, exact resume, finiteness."""

import math
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

import esol.training.fit
from esol.data.sample import Sample
from esol.errors import InputError
from esol.settings import Fit, Machine
from esol.settings.checks import check_ranges
from esol.training.fit import TrainingRun, fit, forget_checkpoints, set_rate, total_steps
from esol.training.inputs import Example, Inputs

PHOTOS = 10
MACHINE = Machine(device="cpu", checkpoint_seconds=0)


def examples(photos: int = PHOTOS) -> Inputs:
    samples = tuple(Sample(f"p{i}", None, (i % 2,)) for i in range(photos))

    def load(sample: Sample, rng: np.random.Generator) -> Example:
        noise = torch.from_numpy(rng.random(3)).float()
        return Example(torch.full((3,), float(sample.name[1:])) + noise)

    return Inputs(samples, 2, load)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 2))


def losses(network: nn.Module, batch) -> dict[str, torch.Tensor]:
    loss = nn.functional.multilabel_soft_margin_loss(network(batch.inputs / 10), batch.tags)
    return {"loss": loss, "double": 2 * loss.detach()}


def train(folder, network, loss=losses, **changes):
    settings = Fit(**{"steps": 12, "batch": 4, "optimizer": "adamw", "lr": 0.05, **changes})
    return fit(
        network,
        loss,
        examples(),
        [(network.parameters(), 1.0)],
        settings,
        TrainingRun(folder, "test", 7, MACHINE),
    )


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    whole, parts = model(), model()
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    train(tmp_path / "whole", whole)

    calls = 0

    def stopping(network, batch):
        nonlocal calls
        calls += 1
        if calls in (3, 8):
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(network, batch)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", parts, stopping)
        parts = model()
    train(tmp_path / "parts", parts, stopping)
    assert calls == 12
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    one, two = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts"))
    assert one == two


def test_signal_after_the_last_step_is_not_lost(tmp_path, monkeypatch):
    def signalled(items, *rest, **named):
        yield from items
        os.kill(os.getpid(), signal.SIGTERM)

    whole, stopped = model(), model()
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole", whole)
    track = esol.training.fit.track
    monkeypatch.setattr("esol.training.fit.track", signalled)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stopped)
    monkeypatch.setattr("esol.training.fit.track", track)
    again = model()
    train(tmp_path, again)
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_one_checkpoint_is_kept_and_then_forgotten(tmp_path):
    train(tmp_path, model())
    assert [p.name for p in tmp_path.glob("*checkpoint*")] == ["checkpoint-00000012"]
    forget_checkpoints(tmp_path)
    assert not list(tmp_path.glob("*checkpoint*"))


def test_metrics_cut_off_by_a_kill_are_repaired(tmp_path):
    train(tmp_path, model())
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"step": 13, "lo')
    train(tmp_path, model())
    assert path.read_text() == whole


def spoiled(value, step):
    """Losses that are ``value`` at one step, or have such a gradient."""
    calls = 0

    def broken(network, batch):
        nonlocal calls
        calls += 1
        found = losses(network, batch)
        if calls != step:
            return found
        if value == "gradient":
            zero = (network[0].weight * 0).square().sum()
            return {**found, "loss": found["loss"] + zero.sqrt()}
        return {**found, "loss": found["loss"] * value}

    return broken


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "gradient"])
def test_what_is_not_finite_stops_training_and_spoils_nothing(value, tmp_path):
    whole, again = model(), model()
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole", whole)
    batches = list(examples().batches(4, seed=7, start=0, stop=12, workers=0))
    with pytest.raises(InputError) as caught:
        train(tmp_path, model(), spoiled(value, 6))
    message = str(caught.value)
    assert message.startswith("loss or gradient is not finite; lower the stage's fit.lr")
    assert message.endswith(f"photos of this batch: {', '.join(batches[5].names)}")
    assert [path.name for path in tmp_path.glob("*checkpoint*")] == ["checkpoint-00000005"]
    train(tmp_path, again)
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    one, two = (folder / "metrics.jsonl" for folder in (tmp_path / "whole", tmp_path))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("rate", [math.inf, 1e300, 1.1e6, 0.0, -1.0, math.nan])
def test_rates_that_no_training_survives(rate):
    with pytest.raises(InputError, match=r"a\.lr"):
        check_ranges(Fit(lr=rate), "a.")


def test_every_photo_is_drawn_once_per_epoch():
    batches = list(examples().batches(4, seed=0, start=0, stop=5, workers=0))
    names = [name for batch in batches for name in batch.names]
    assert sorted(names[:PHOTOS]) == sorted(names[PHOTOS:]) == [f"p{i}" for i in range(PHOTOS)]
    assert names[:PHOTOS] != names[PHOTOS:]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_step_depends_on_seed_and_step_alone(workers):
    whole = list(examples().batches(4, seed=0, start=0, stop=6, workers=0))
    later = list(examples().batches(4, seed=0, start=4, stop=6, workers=workers))
    other = list(examples().batches(4, seed=1, start=4, stop=6, workers=0))
    for one, two, three in zip(whole[4:], later, other, strict=True):
        assert one.names == two.names
        assert torch.equal(one.inputs, two.inputs)
        assert torch.equal(one.tags, two.tags)
        assert not torch.equal(one.inputs, three.inputs)


def test_tags_are_the_samples():
    for batch in examples().batches(4, seed=0, start=0, stop=3, workers=0):
        expected = [[1 - int(name[1:]) % 2, int(name[1:]) % 2] for name in batch.names]
        assert batch.tags.tolist() == expected


def test_rate_falls_to_nothing():
    optimizer = torch.optim.SGD(
        [{"params": [nn.Parameter(torch.zeros(1))], "initial_lr": 2.0}], lr=9.0
    )
    settings = Fit(power=0.9)
    rates = []
    for step in range(10):
        set_rate(optimizer, step, 10, settings)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.0 * (1 - step / 10) ** 0.9 for step in range(10)])


def test_steps_of_epochs():
    assert total_steps(Fit(epochs=3, batch=4), 10) == 8
    assert total_steps(Fit(steps=5, epochs=3), 10) == 5


def test_a_checkpoint_goes_on_with_as_many_processes_as_wrote_it(tmp_path):
    train(tmp_path, model())
    checkpoint = next(tmp_path.glob("checkpoint-*"))
    (checkpoint / "random_states_1.pkl").write_bytes(b"")
    with pytest.raises(InputError, match=r"written by 2 processes, not 1; start 2, or remove"):
        train(tmp_path, model())


def test_processes_get_equal_parts_of_each_batch(monkeypatch):
    whole = list(examples().batches(4, seed=0, start=0, stop=3, workers=0))
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        parts.append(list(examples().batches(4, seed=0, start=0, stop=3, workers=0)))
    for one, first, second in zip(whole, *parts, strict=True):
        assert one.names == first.names + second.names
        assert torch.equal(one.inputs, torch.cat([first.inputs, second.inputs]))
    with pytest.raises(ValueError, match="no equal parts for 2"):
        examples().batches(5, seed=0, start=0, stop=3, workers=0)
