"""Real photos through the whole thread, small: the relations that the method promises hold."""

import json
from pathlib import Path

import pytest

from esol.runs.folder import RunFolder
from esol.settings.load import load_settings
from esol.stages import run


@pytest.fixture(scope="module")
def found(shared, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("animals") / "run"
    weights = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    settings = load_settings(
        "voc-animals-cpu",
        f"--backbone.weights={weights}",
        "--data.limit=48",
        "--data.evaluate=[train]",
        "--cams.lists=[train]",
        "--input.size=192",
        "--classify.fit.steps=60",
        "--expand.fit.steps=10",
        "--shrink.fit.steps=20",
    )
    run(settings, shared / "data" / "voc-animals", out)
    assert (out / "report.html").stat().st_size > 100_000
    return json.loads((RunFolder(out).stage("evaluate") / "metrics.json").read_text())


def test_mask_set_is_named(found):
    assert found["mask_set"] == "SegmentationClassAug"
    assert found["lists"]["train"]["photos"] == 48


def test_cam_is_far_better_than_calling_everything_background(found):
    cam = found["lists"]["train"]["cam"]["fixed"]
    assert cam["miou"] > 0.2
    assert cam["foreground_precision"] > 0.35


def test_expansion_trades_precision_for_recall_and_shrinkage_wins_some_back(found):
    lists = found["lists"]["train"]
    cam, expansion, shrinkage = (lists[kind]["fixed"] for kind in ("cam", "expansion", "shrinkage"))
    assert expansion["foreground_recall"] > cam["foreground_recall"] + 0.03
    assert expansion["foreground_precision"] < cam["foreground_precision"]
    assert shrinkage["foreground_precision"] > expansion["foreground_precision"]


def test_coco_from_tags_to_seeds(shared, tmp_path):
    settings = load_settings(
        str(Path(__file__).parent / "smoke.yaml"),
        "--data.kind=coco",
        "--data.train=train2017",
        "--data.evaluate=[val2017]",
        "--classify.fit.steps=3",
        # The stages after the seeds: test_coco_run.py.
        "--refine.methods=[]",
        "--masks.source=seeds",
        "--segment.network=none",
    )
    out = run(settings, shared / "data" / "tiny-coco", tmp_path / "run")
    content = json.loads((RunFolder(out).stage("evaluate") / "metrics.json").read_text())
    assert content["lists"]["val2017"]["photos"] >= 40
    assert len(list(RunFolder(out).stage("seeds").rglob("*.png"))) >= 90
