"""``esol run RUN``: a run goes on with its own settings and data, without retyping them."""

import shutil
from pathlib import Path

import pytest

from esol.cli.main import main
from esol.data.synthetic import write_synthetic
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES

SMOKE = str(Path(__file__).parent / "smoke.yaml")
FLAGS = [
    *("--classify.fit.lr", "3e-4", "--refine.methods", "[]", "--masks.source", "seeds"),
    *("--segment.fit.steps", "2"),
]
"""Other settings than those of the file: a command that forgets them is noticed."""


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    """A folder with photos, and a finished run on them."""
    place = tmp_path_factory.mktemp("again")
    write_synthetic(place / "photos", photos=16, size=64, seed=0, val_fraction=0.25)
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


def manifests(run: Path) -> dict[str, bytes]:
    folder = RunFolder(run)
    return {
        name: (folder.stage(name) / "manifest.json").read_bytes()
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
