"""``esol demo``, with fewer photos and smaller networks than it has."""

from pathlib import Path

import pytest

import esol.cli.demo
from esol.cli.main import main
from esol.data.synthetic import write_synthetic
from esol.report.summary import MEANINGS, TITLES
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings.load import load_settings
from esol.stages import run

SMOKE = str(Path(__file__).parent / "smoke.yaml")


def test_demo_draws_photos_runs_all_stages_and_goes_on(tmp_path, monkeypatch, capsys):
    asked = []

    def small(name):
        asked.append(name)
        return load_settings(SMOKE)

    monkeypatch.setattr("esol.cli.main.load_settings", small)
    monkeypatch.setattr(esol.cli.demo, "PHOTOS", 24)
    monkeypatch.setattr(esol.cli.demo, "SIZE", 64)
    out = tmp_path / "demo"
    assert main(["demo", str(out)]) == 0
    assert asked == ["demo"]
    assert len(list((out / "data").rglob("*.jpg"))) == 24
    assert all(RunFolder(out).is_current(stage) for stage in STAGES if stage != "peer")
    table, said = capsys.readouterr()
    assert "about 80 seconds on two idle cores" in said.splitlines()[0]
    assert f"masks: {out / '07-masks'}" in table
    assert "report.html" in table
    assert "mIoU" in table
    assert "what a classifier" in table
    # The photos and the stages are there: neither is made again.
    made = {path: path.stat().st_mtime_ns for path in _made(out)}
    assert len(made) > 24
    assert main(["demo", str(out)]) == 0
    assert capsys.readouterr().out == table
    assert {path: path.stat().st_mtime_ns for path in _made(out)} == made


@pytest.mark.parametrize(
    ("cores", "busy", "threads"), [(1, 0.0, 1), (2, 0.1, 2), (2, 0.9, 1), (2, 9.0, 1), (16, 3.0, 2)]
)
def test_demo_takes_only_the_cores_that_are_idle(cores, busy, threads):
    assert esol.cli.demo.threads_for(cores, busy) == threads


def test_every_row_of_the_table_says_what_it_is():
    assert MEANINGS.keys() == TITLES.keys()


def _made(out: Path) -> list[Path]:
    """Drawn photos, and what stages write last."""
    return [*out.rglob("*.jpg"), *out.glob("*/manifest.json")]


def test_every_step_gains_on_the_demos_scenes(tmp_path):
    """The demo's own set and settings, without the network, which takes as long as all the rest."""
    demo = esol.cli.demo
    write_synthetic(tmp_path / "data", demo.PHOTOS, demo.SIZE, demo.SEED, demo.VAL_FRACTION)
    settings = load_settings("demo", "--segment.network=none")
    found = RunFolder(run(settings, tmp_path / "data", tmp_path / "run")).metrics()["lists"]["val"]
    cam, expansion, shrinkage = (found[kind] for kind in ("cam", "expansion", "shrinkage"))
    best = "best_on_ground_truth"
    recall = "foreground_recall"
    assert expansion["fixed"][recall] > cam["fixed"][recall] + 0.05
    for protocol in ("fixed", best):
        assert shrinkage[protocol]["miou"] > cam[protocol]["miou"] + 0.02
    assert found["masks"]["fixed"]["miou"] > shrinkage["fixed"]["miou"] + 0.02
