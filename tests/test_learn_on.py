"""``classify.init``: a classifier starts from an earlier run's, and features are reused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import esol.stages.classify
from esol.cli.main import main
from esol.data.synthetic import write_synthetic
from esol.method.classifier import Classifier
from esol.method.losses import classify_losses
from esol.networks.weights import save_weights
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings, HeadSettings, Settings

SMOKE = str(Path(__file__).parent / "smoke.yaml")
THREE = ("anchor", "bullseye", "checker")
SMALL = Settings(
    backbone=BackboneSettings(name="test_resnet", weights="none", stride=8, learn=("*",)),
    head=HeadSettings(width=4, kernel=1),
)


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    """Photos, and a finished classifier of three of their six classes."""
    place = tmp_path_factory.mktemp("learn_on")
    write_synthetic(place / "photos", photos=16, size=64, seed=0, val_fraction=0.25, hard=True)
    assert call("classify", SMOKE, place / "photos", place / "first", *classes(*THREE)) == 0
    return place


@pytest.fixture
def place(original, tmp_path) -> Path:
    """A copy, which a test may change."""
    shutil.copytree(original, tmp_path / "place")
    return tmp_path / "place"


def call(*words: object) -> int:
    return main([str(word) for word in words])


def classes(*names: str) -> tuple[str, str]:
    return ("--data.classes", f"[{','.join(names)}]")


def learn_on(place: Path, out: str, *words: object, init: str = "first") -> int:
    where = (place / "photos", place / out)
    return call("classify", SMOKE, *where, "--classify.init", place / init, *words)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(run).weights("classify"))


def manifest(run: Path) -> dict:
    return json.loads((RunFolder(run).stage("classify") / "manifest.json").read_text())


@pytest.mark.parametrize("names", ["abc", "cab", "zbya", "b", "xayczb"])
def test_known_classes_keep_their_maps_and_new_ones_are_those_of_a_new_head(names, tmp_path):
    torch.manual_seed(5)
    earlier = Classifier.start(SMALL, 3).eval()
    save_weights(earlier, tmp_path / "earlier.safetensors")
    torch.manual_seed(7)
    fresh = Classifier.start(SMALL, len(names))
    torch.manual_seed(7)
    model = Classifier.start(SMALL, len(names))
    rows = {here: "abc".index(name) for here, name in enumerate(names) if name in "abc"}
    model.start_from(tmp_path / "earlier.safetensors", rows)
    photo = torch.rand(1, 3, 64, 64)
    expected, found = earlier(photo), model.eval()(photo)
    for here, name in enumerate(names):
        if name in "abc":
            torch.testing.assert_close(found[0, here], expected[0, "abc".index(name)])
            assert found[0, here].abs().max() > 0
        else:
            assert torch.equal(model.head.v.weight[here], fresh.head.v.weight[here])


def test_the_stage_starts_there_and_says_so(place, capsys):
    # A rate so low that nothing is learned shows where training began.
    still = ("--classify.fit.lr", "1e-30", "--classify.fit.weight_decay", 0)
    chosen = ("sunburst", "checker", "anchor")
    assert learn_on(place, "second", *still, *classes(*chosen)) == 0
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("starts from")]
    assert line.endswith("first: checker, anchor; new: sunburst; left out: bullseye")
    old, new = weights(place / "first"), weights(place / "second")
    assert torch.equal(new["head.v.weight"][1:], old["head.v.weight"][[2, 0]])
    for key in ("head.w1.weight", "head.w2.weight", "backbone.network.conv1.0.weight"):
        assert torch.equal(new[key], old[key])
    assert not torch.equal(new["head.v.weight"][0], old["head.v.weight"][1])
    record = manifest(place / "second")
    assert record["results"]["classify.init"] == str(place / "first")
    earlier = record["identity"]["classify"]["init"]
    assert earlier["classes"] == list(THREE)
    assert earlier["photos"] == manifest(place / "first")["identity"]["data"]["train"]["photos"]


def test_another_earlier_classifier_is_another_stage_and_a_moved_one_is_not(place, capsys):
    assert learn_on(place, "second") == 0
    assert call("classify", SMOKE, place / "photos", place / "other", "--seed", 1) == 0
    assert learn_on(place, "second", init="other") == 2
    assert "01-classify was made with" in capsys.readouterr().err
    assert call("classify", SMOKE, place / "photos", place / "second") == 2
    assert "was made with classify.init" in capsys.readouterr().err
    # Nor may a later stage take what it is not made from.
    there = (place / "photos", place / "second", "--classify.init", place / "other")
    assert call("expand", SMOKE, *there) == 2
    assert "01-classify was made with" in capsys.readouterr().err
    (place / "first").rename(place / "moved")
    before = manifest(place / "second")
    assert learn_on(place, "second", init="moved") == 0
    assert manifest(place / "second") == before
    assert learn_on(place, "second", init="nowhere") == 2
    assert "nowhere: not the folder of a run" in capsys.readouterr().err


def test_the_earlier_run_may_be_deleted_once_the_classifier_is_done(place, capsys):
    assert learn_on(place, "second") == 0
    before = manifest(place / "second")
    shutil.rmtree(place / "first")
    assert call("run", place / "second", "--until", "expand") == 0
    assert call("shrink", place / "second") == 0
    assert manifest(place / "second") == before
    shutil.rmtree(RunFolder(place / "second").stage("classify"))
    assert call("classify", place / "second") == 2
    assert "first: not the folder of a run" in capsys.readouterr().err


def test_resumed_equals_uninterrupted(place, monkeypatch):
    every = ("--machine.checkpoint_seconds", 0)
    assert learn_on(place, "whole", *every) == 0
    steps = 0

    def interrupting(model, batch):
        nonlocal steps
        steps += 1
        if steps == 3:
            raise KeyboardInterrupt
        return classify_losses(model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(esol.stages.classify, "classify_losses", interrupting)
        assert learn_on(place, "halves", *every) == 130
    assert learn_on(place, "halves", *every) == 0
    file = RunFolder(place / "whole").weights("classify")
    assert file.read_bytes() == RunFolder(place / "halves").weights("classify").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--head.kernel", 1], "head.kernel = 3, not 1"),
        (["--backbone.power", 0.5], "backbone.power = nothing, not 0.5"),
        (["--backbone.stride", 16], "backbone.stride = 8, not 16"),
        (["--backbone.name", "resnet10t"], "backbone.name = test_resnet, not resnet10t"),
        (["--backbone.learn", "[]", "--backbone.norm", "frozen"], "backbone.learn = [*], not []"),
        ([*classes("pinwheel", "sunburst")], "none of its classes (anchor, bullseye, checker)"),
        (["--method", "drs"], "empty with the method drs"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else None,
)
def test_what_does_not_fit_is_refused_before_any_work(place, capsys, words, told):
    stage = "peer" if "drs" in words else "classify"
    where = (place / "photos", place / "second", "--classify.init", place / "first")
    assert call(stage, SMOKE, *where, *words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert told in line
    assert line.startswith("esol: classify.init = ")
    assert not RunFolder(place / "second").stage("classify").exists()


def test_a_damaged_or_unfinished_classifier_and_the_run_itself_are_refused(place, capsys):
    assert call("run", place / "first", "--classify.init", place / "first", "--overwrite") == 2
    assert "the run itself; give the new run a folder of its own" in capsys.readouterr().err
    file = RunFolder(place / "first").weights("classify")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert learn_on(place, "second") == 2
    assert "01-classify: changed since it was made" in capsys.readouterr().err
    (RunFolder(place / "first").stage("classify") / "manifest.json").unlink()
    assert learn_on(place, "second") == 2
    assert "has no finished 01-classify; finish it there" in capsys.readouterr().err


FROZEN = ("--backbone.learn", "[]", "--backbone.norm", "frozen", "--backbone.cache", "true")


def cached(place: Path, out: str, *words: object) -> int:
    return call("classify", SMOKE, place / "photos", place / out, *FROZEN, *words)


def test_features_of_the_earlier_run_are_reused(place, seen):
    assert cached(place, "a", "--data.limit", 4) == 0
    assert len(seen) == 4
    assert cached(place, "b", "--classify.init", place / "a") == 0
    assert len(seen) == len(set(seen)) == 12
    # They are its own: without the earlier run none is computed again.
    shutil.rmtree(place / "a")
    shutil.rmtree(RunFolder(place / "b").stage("classify"))
    assert cached(place, "b") == 0
    assert len(seen) == 12


def test_random_features_of_another_seed_are_refused(place, capsys):
    assert cached(place, "a") == 0
    assert cached(place, "b", "--classify.init", place / "a", "--seed", 1) == 2
    assert "made with seed = 0, not 1" in capsys.readouterr().err
