"""``esol run RUN``: a run goes on with its own settings and data, without retyping them."""

import shutil
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from esol.cli.main import main
from esol.data.synthetic import write_synthetic
from esol.networks import backbone
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES

SMOKE = str(Path(__file__).parent / "smoke.yaml")
FLAGS = [
    *("--classify.fit.epochs", "1", "--refine.methods", "[]", "--masks.source", "seeds"),
    *("--segment.fit.steps", "2"),
]
"""Other settings than those of the file: a command that forgets them is noticed."""


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    """A folder with photos, and a finished run on them."""
    place = tmp_path_factory.mktemp("again")
    write_synthetic(place / "photos", photos=16, size=64, seed=0, val_fraction=0.25, hard=True)
    assert main(["run", SMOKE, str(place / "photos"), str(place / "run"), *FLAGS]) == 0
    return place


@pytest.fixture
def place(original, tmp_path, monkeypatch) -> Path:
    """A copy of both, which a test may change; the run knows the copied photos."""
    shutil.copytree(original / "photos", tmp_path / "photos")
    shutil.copytree(original / "run", tmp_path / "run")
    description = tmp_path / "run" / "run.json"
    text = description.read_text().replace(str(original), str(tmp_path))
    description.write_text(text)
    return tmp_path


def call(*words: object) -> int:
    return main([str(word) for word in words])


def manifests(run: Path) -> dict[str, int]:
    """When each finished stage wrote its manifest."""
    folder = RunFolder(run)
    return {
        name: (folder.stage(name) / "manifest.json").stat().st_mtime_ns
        for name in STAGES
        if folder.is_finished(name)
    }


def test_a_run_goes_on_with_its_settings_and_data(place):
    before = manifests(place / "run")
    shutil.rmtree(RunFolder(place / "run").stage("segment"))
    settings = (place / "run" / "settings.yaml").read_bytes()
    assert call("run", place / "run") == 0
    after = manifests(place / "run")
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"segment"}
    assert (place / "run" / "settings.yaml").read_bytes() == settings


def test_flags_change_the_stored_settings(place, capsys):
    before = manifests(place / "run")
    words = ["run", place / "run", "--segment.fit.steps", "3"]
    assert call(*words) == 2
    assert "segment.fit.steps = 2, not 3" in capsys.readouterr().err
    assert manifests(place / "run") == before
    assert call(*words, "--overwrite") == 0
    after = manifests(place / "run")
    assert {name for name in before if before[name] != after[name]} == {"segment", "evaluate"}
    assert RunFolder(place / "run").settings().segment.fit.steps == 3


def test_one_stage_of_a_run(place):
    shutil.rmtree(RunFolder(place / "run").stage("masks"))
    before = manifests(place / "run")
    assert call("masks", place / "run") == 0
    assert manifests(place / "run").keys() - before.keys() == {"masks"}


def test_photos_that_moved_are_told_and_how_to_name_them(place, capsys):
    (place / "photos").rename(place / "moved")
    assert call("run", place / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    told = f"say where they are: esol run {place}/run/settings.yaml DATA {place}/run"
    assert line.endswith(told)
    words = told.split("esol ")[1].replace("DATA", str(place / "moved")).split()
    assert call(*words) == 0
    assert RunFolder(place / "run").data_root() == place / "moved"
    assert call("evaluate", place / "run") == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "photos"], "is not the folder of a run (no run.json)"),
        (["run", "nowhere"], "is missing"),
        (["evaluate", "photos"], "to measure a folder of masks: esol evaluate MASKS --gt DIR"),
        (["evaluate", "run", "--gt", "photos/masks"], "such as run/07-masks"),
        (["run", "demo"], "demo is a configuration"),
        (["check", "photos", "x", "y"], "3 paths were given"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_no_run_is_refused(place, capsys, monkeypatch, words, told):
    monkeypatch.chdir(place)
    assert call(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_stage_with_forgotten_flags_is_refused_and_nothing_changes(place, capsys):
    """Else the run would say of itself what it was not made with."""
    before = contents(place / "run")
    for stage in ("evaluate", "masks"):
        words = [stage, SMOKE, place / "photos", place / "run", "--overwrite"]
        assert call(*words, *FLAGS[2:]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "01-classify was made with classify.fit.epochs = 1, not 2" in line
        assert "--from classify --overwrite" in line
    # Where nothing is to be done, a later stage's own settings must stay, too.
    assert call("masks", SMOKE, place / "photos", place / "run", *FLAGS[:-2]) == 2
    assert "08-segment was made with segment.fit.steps = 2, not 5" in capsys.readouterr().err
    assert contents(place / "run") == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_in_the_way_is_told_before_any_work(place, capsys):
    words = ["--masks.source", "irn", "--refine.methods", "[irn]"]
    assert call("run", place / "run", *words) == 2
    err = capsys.readouterr().err
    assert "07-masks was made with masks.source = seeds, not irn" in err
    assert not RunFolder(place / "run").stage("refine").exists()


def test_masks_that_come_later_are_measured_without_ceremony(place, capsys):
    run, masks = place / "run", place / "photos" / "masks"
    late = sorted(masks.rglob("*.png"))[:4]
    taken = {path: path.read_bytes() for path in late}
    for path in late:
        path.unlink()
    assert call("evaluate", run) == 0
    before, measured = manifests(run), RunFolder(run).metrics()["lists"]["train"]["photos"]
    for path, content in taken.items():
        path.write_bytes(content)
    capsys.readouterr()
    assert call("run", run) == 0
    assert "evaluate: anew, as it was made with other contents of truth.train" in (
        capsys.readouterr().err
    )
    after = manifests(run)
    assert {name for name in before if before[name] != after[name]} == {"evaluate"}
    assert RunFolder(run).metrics()["lists"]["train"]["photos"] > measured


def test_overwrite_says_what_it_keeps_and_costs(place, capsys):
    words = ["run", place / "run", "--seeds.threshold", "0.4", "--overwrite"]
    assert call(*words) == 0
    lines = capsys.readouterr().err.splitlines()
    (told,) = [line for line in lines if line.startswith("--overwrite: ")]
    assert told.startswith("--overwrite: keeps classify, expand, shrink, cams, masks, segment;")
    assert "makes seeds, evaluate anew: about" in told
    assert told.endswith("as last time")
    assert lines.index(told) < lines.index("stage 5 of 8: seeds: cut maps into seed masks")
    assert call(*words) == 0
    assert "--overwrite" not in capsys.readouterr().err


def test_new_photos_are_refused_with_the_way_out(place, capsys):
    labels = place / "photos" / "labels.csv"
    shutil.copy(place / "photos" / "images" / "00003.jpg", place / "photos" / "images" / "new.jpg")
    labels.write_text(labels.read_text() + "images/new.jpg,anchor,train\n")
    before = contents(place / "run")
    assert call("evaluate", place / "run") == 2
    err = capsys.readouterr().err
    assert "01-classify was made with data.train.photos = 12, not 13; the photos are others" in err
    assert call("run", place / "run") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert contents(place / "run") == before


def test_a_finished_run_writes_nothing_but_its_description(place):
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*")}
    assert call("run", place / "run") == 0
    after = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*")}
    changed = {path.name for path in before if before[path] != after[path]}
    assert before.keys() == after.keys()
    assert changed <= {"settings.yaml", "run.json", "run"}


def test_finished_stages_look_up_no_weights(place, monkeypatch, capsys):
    """Of a run that began with a download, what is done needs no network."""
    photos, run, create = place / "photos", place / "second", timm.create_model

    def downloaded(*names, pretrained=False, **options):
        return create(*names, **options)

    def offline(*names, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return create(*names, **options)

    weights = ["--backbone.weights", "imagenet", "--segment.network", "none"]
    monkeypatch.setattr(timm, "create_model", downloaded)
    monkeypatch.setattr(backbone, "announce_timm", lambda *_: None)
    assert call("run", SMOKE, photos, run, *FLAGS[:6], *weights, "--until", "cams") == 0
    monkeypatch.setattr(timm, "create_model", offline)
    assert call("run", run) == 0
    assert call("run", run, "--seeds.threshold", "0.4", "--overwrite") == 0
    shutil.rmtree(RunFolder(run).stage("classify"))
    assert call("run", run) == 2
    assert "no network" in capsys.readouterr().err


def test_new_photos_without_a_row_are_told(place, capsys):
    for name in ("new", "newer"):
        shutil.copy(
            place / "photos" / "images" / "00003.jpg", place / "photos" / "images" / f"{name}.jpg"
        )
        assert call("run", place / "run") == 0
    first, second = (line for line in capsys.readouterr().err.splitlines() if "labels.csv" in line)
    assert first.startswith("1 photo (images/new.jpg) is not in labels.csv, so it is not used")
    assert second.startswith("2 photos (images/new.jpg, images/newer.jpg) are not in labels.csv")


def test_a_stage_after_the_training_needs_its_first_weights_no_more(place):
    run, weights = place / "second", place / "first.safetensors"
    network = timm.create_model("test_resnet", num_classes=0)
    save_file(network.state_dict(), weights)
    words = ["--backbone.weights", weights, "--segment.network", "none", "--until", "masks"]
    assert call("run", SMOKE, place / "photos", run, *FLAGS[:6], *words) == 0
    weights.unlink()
    assert call("evaluate", run) == 0
    assert call("seeds", run) == 0
