"""A run folder made by version 0.1.0 (tests/stored) is continued and read by this version."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from esol.cli.main import main
from esol.data.images import image_size
from esol.predict.model import load
from esol.report.summary import write_report
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings.load import load_settings
from esol.stages import run

STORED = Path(__file__).parent / "stored" / "run-0.1.0.tar.xz"
MADE = [name for name in STAGES if name != "peer"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The run's folder; its photos and settings are in the current one."""
    with tarfile.open(STORED) as archive:
        # Python 3.11.4 brought the filter, which 3.14 makes the default.
        known = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path, **known)
    monkeypatch.chdir(tmp_path)
    return Path("run")


def times(folder: Path) -> dict[str, int]:
    """When each file of each stage was written."""
    return {
        path.as_posix(): path.stat().st_mtime_ns for path in folder.rglob("0*/*") if path.is_file()
    }


@pytest.mark.parametrize("settings", ["settings.yaml", "run/settings.yaml"])
def test_every_stage_is_done_before(folder, settings):
    before = times(folder)
    assert {path.split("/")[1] for path in before} == {STAGES[name].folder for name in MADE}
    run(load_settings(settings), "photos", folder)
    assert times(folder) == before
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("stage", MADE)
def test_a_stage_is_made_again_with_the_same_identity(folder, stage):
    stages = [RunFolder(folder).stage(name) for name in MADE[MADE.index(stage) :]]
    old = json.loads((stages[0] / "identity.json").read_text())
    for path in stages:
        shutil.rmtree(path)
    run(load_settings("settings.yaml"), "photos", folder, last=stage)
    assert json.loads((stages[0] / "identity.json").read_text()) == old


def test_numbers_masks_and_the_network_are_read(folder, tmp_path):
    stored = RunFolder(folder)
    assert stored.metrics()["lists"].keys() == {"train", "val"}
    assert stored.settings().segment.stride == 8
    assert write_report(folder).is_file()
    photo = min(Path("photos/images").iterdir())
    assert load(folder, "cpu").predict(photo).mask.shape == image_size(photo)
    assert main(["export", "run", "masks.json", "--to", "coco"]) == 0
    assert len(json.loads(Path("masks.json").read_text())["images"]) == 4


def test_a_stage_of_other_settings_is_refused_and_says_what_it_would_keep(folder, capsys):
    flags = ["--segment.flip", "false"]
    assert main(["run", "settings.yaml", "photos", "run", *flags]) == 2
    error = capsys.readouterr().err
    assert "made with segment.flip = true, not false" in error
    assert "which keeps metrics.jsonl, model.safetensors" in error


def test_an_explicit_stride_that_a_network_does_not_have_is_reported(folder, caplog):
    """The stored settings say 8, as those of version 0.1.0 did where nobody chose a stride."""
    assert yaml.safe_load(Path("run/settings.yaml").read_text())["segment"]["stride"] == 8
    settings = load_settings("run/settings.yaml", "--segment.fit.steps=1")
    run(settings, "photos", folder, first="segment", overwrite=True)
    assert (
        "segment.stride = 8 has no effect: Linknet with tu-test_resnet has stride 32" in caplog.text
    )
