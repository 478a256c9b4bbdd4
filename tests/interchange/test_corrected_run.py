"""A run goes on from corrected masks: learned from, measured, shown, recorded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from esol.cli.main import main
from esol.data.images import load_mask
from esol.data.synthetic import write_synthetic
from esol.runs.folder import RunFolder

SMOKE = str(Path(__file__).parents[1] / "smoke.yaml")


def test_correct_and_go_on(tmp_path, capsys):
    data, run, file = tmp_path / "photos", tmp_path / "run", tmp_path / "instances.json"
    write_synthetic(data, photos=16, size=64, seed=0, val_fraction=0.25, hard=True)
    command = ["run", SMOKE, str(data), str(run)]
    assert main(command) == 0
    weights = (RunFolder(run).stage("segment") / "model.safetensors").read_bytes()
    for what in ("masks", "crf", "seeds"):
        assert main(["export", str(run), str(file), "--to", "coco", "--what", what]) == 0
    flags = ["--what", "segmentation", "--list", "val"]
    assert main(["export", str(run), str(tmp_path / "val.xml"), "--to", "cvat", *flags]) == 0

    # Somebody corrects four photos: with the ground truth, which is the best one can do.
    for path in sorted((data / "masks").iterdir())[:4]:
        target = tmp_path / "voc" / "SegmentationClass" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    assert main(["import", str(tmp_path / "voc"), str(run), "--from", "voc"]) == 0
    assert "4 photos, 4 of them corrected" in capsys.readouterr().out
    assert main(command) == 2
    assert "08-segment was made with corrected = nothing, not" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0

    names = {path.stem for path in (tmp_path / "voc" / "SegmentationClass").iterdir()}
    rows = (data / "labels.csv").read_text().splitlines()[1:]
    learned = [
        row for row in rows if row.endswith(",train") and Path(row.split(",")[0]).stem in names
    ]
    assert 0 < len(learned) <= 4
    found = RunFolder(run).manifest("segment")
    assert found["results"]["corrected"]["photos"] == len(learned)
    assert found["identity"]["corrected"]["photos"] == len(learned)
    (source,) = found["results"]["corrected"]["files"].values()
    assert source == {"file": "voc", "format": "voc", "photos": 4, "changed": 4}
    assert found["results"]["learned_from"] == f"pseudo masks, {len(learned)} of them corrected"
    assert (RunFolder(run).stage("segment") / "model.safetensors").read_bytes() != weights

    # Measured as what they are: better than the pseudo masks, which are measured as before.
    metrics = json.loads((RunFolder(run).stage("evaluate") / "metrics.json").read_text())
    both = metrics["lists"]["train"]
    assert both["corrected"]["fixed"]["miou"] > both["masks"]["fixed"]["miou"]
    page = (run / "report.html").read_text()
    assert "pseudo masks, corrected" in page
    for name in names:
        truth = load_mask(data / "masks" / f"{name}.png")
        np.testing.assert_array_equal(load_mask(run / "corrected" / f"{name}.png"), truth)

    # Done; and without the corrections the run is as it was.
    capsys.readouterr()
    assert main(command) == 0
    shutil.rmtree(run / "corrected")
    assert main([*command, "--overwrite"]) == 0
    assert (RunFolder(run).stage("segment") / "model.safetensors").read_bytes() == weights
    metrics = json.loads((RunFolder(run).stage("evaluate") / "metrics.json").read_text())
    assert "corrected" not in metrics["lists"]["train"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "RUN", "OUT", "--to", "coco"], "not a run folder"),
        (["export", "RUN", "OUT", "--to", "coco", "--tolerance", "-1"], "at least 0"),
        (["import", "FILE", "RUN", "--from", "voc"], "not a run folder"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, words):
    assert main([str(tmp_path / a) if a.isupper() else a for a in arguments]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
