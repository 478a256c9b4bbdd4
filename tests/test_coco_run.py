"""COCO photos through all nine stages, small: overlapping objects, 80 classes, crowd regions."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import esol
from esol.data import open_dataset
from esol.data.images import load_mask
from esol.maps.files import load_maps
from esol.runs.folder import RunFolder
from esol.settings.load import load_settings

STAGES = (
    *("classify", "expand", "shrink", "cams", "seeds", "refine", "masks", "segment", "evaluate"),
)
METRICS = ("cam", "expansion", "shrinkage", "crf", "irn", "masks", "segmentation")
PHOTOS = 16
"""Of each list."""


@pytest.fixture(scope="module")
def photos(shared) -> Path:
    root = shared / "data" / "tiny-coco"
    if not root.is_dir():
        pytest.skip(f"no photos at {root}")
    return root


@pytest.fixture(scope="module")
def settings(shared):
    weights = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    initial = weights if weights.is_file() else "none"
    return load_settings(
        "voc-animals-masks-cpu",
        *("--data.kind=coco", "--data.train=train2017", "--data.evaluate=[train2017,val2017]"),
        *("--data.classes=[]", f"--data.limit={PHOTOS}"),
        *(f"--backbone.weights={initial}", f"--segment.weights={initial}"),
        *("--input.size=160", "--classify.fit.steps=60"),
        *("--expand.fit.steps=10", "--shrink.fit.steps=10"),
        *("--refine.longest=160", "--refine.crf.iterations=3", "--refine.instances=true"),
        *("--refine.affinity.input.size=128", "--refine.affinity.input.longest=[128,192]"),
        *("--refine.affinity.fit.steps=5", "--refine.affinity.fit.batch=8"),
        *("--segment.input.size=128", "--segment.input.longest=[128,192]"),
        *("--segment.fit.steps=10", "--segment.fit.batch=4", "--segment.longest=160"),
    )


@pytest.fixture(scope="module")
def done(photos, settings, tmp_path_factory) -> Path:
    return esol.run(settings, photos, tmp_path_factory.mktemp("coco") / "run")


def test_every_stage_leaves_its_files(done):
    files = {stage: RunFolder(done).manifest(stage)["outputs"]["files"] for stage in STAGES}
    assert min(files.values()) > 0, files
    for kind in ("cam", "expansion", "shrinkage"):
        assert count(RunFolder(done).stage("cams") / kind, "npz") == 2 * PHOTOS
    refined = RunFolder(done).stage("refine")
    assert count(refined / "irn", "npz") == count(refined / "instances", "png") == 2 * PHOTOS
    assert count(refined / "labels", "png") == PHOTOS
    assert count(RunFolder(done).stage("masks"), "png") == 2 * PHOTOS
    assert count(RunFolder(done).stage("segment") / "predictions", "png") == 2 * PHOTOS
    assert "teddy bear" in (done / "report.html").read_text()


def count(folder: Path, suffix: str) -> int:
    return len(list(folder.rglob(f"*.{suffix}")))


def test_classifier_learns(done):
    rows = (RunFolder(done).stage("classify") / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_every_kind_is_measured_with_finite_numbers(done):
    content = json.loads((RunFolder(done).stage("evaluate") / "metrics.json").read_text())
    assert content["mask_set"] == "instances"
    for split, found in content["lists"].items():
        assert found["photos"] == PHOTOS
        assert set(found) == {"photos", *METRICS}
        for kind in METRICS:
            for protocol in {"fixed", "best_on_ground_truth"} & set(found[kind]):
                values = found[kind][protocol]
                for key in ("miou", "precision", "recall", "f1_of_means", "foreground_recall"):
                    assert math.isfinite(values[key]), (split, kind, protocol, key)
                assert len(values["per_class"]) == 81
    # Of photos it has learned from; of others so few teach nothing about 80 classes.
    found = content["lists"]["train2017"]
    for kind in ("cam", "expansion", "shrinkage", "irn"):
        assert max(found[kind]["curves"]["foreground_recall"]) > 0.5, kind
        assert found[kind]["best_on_ground_truth"]["miou"] > 0.02, kind


def test_maps_are_of_the_tags_and_of_the_photos_size(done, photos, settings):
    data = open_dataset(photos, settings.data)
    for sample in data.samples("val2017"):
        with Image.open(sample.image) as photo:
            size = (photo.height, photo.width)
        maps = load_maps(RunFolder(done).stage("refine") / "irn" / f"{sample.name}.npz")
        assert tuple(maps.classes) == sample.tags
        mask = load_mask(RunFolder(done).stage("masks") / f"{sample.name}.png")
        truth = data.truth(sample)
        assert mask.shape == truth.shape == size
        allowed = {0, *(tag + 1 for tag in sample.tags)}
        assert set(np.unique(mask).tolist()) <= allowed
        # Tags and ground truth are drawn from the same instances. An object may be hidden.
        assert set(np.unique(truth).tolist()) <= allowed


def test_new_photos_are_predicted(done, photos, tmp_path):
    model = esol.load(done, "cpu")
    assert len(model.classes) == 80
    assert model.classes[11] == "stop sign"  # Id 13: ids have gaps, mask values have none.
    photo = sorted((photos / "val2017").iterdir())[0]
    found = model.predict(photo)
    with Image.open(photo) as image:
        assert found.mask.shape == (image.height, image.width)
    assert np.allclose(found.scores.sum(0), 1, atol=1e-4)
    assert set(found.classes) <= set(model.classes)
    model.predict_folder([photo], tmp_path / "masks")
    assert np.array_equal(load_mask(tmp_path / "masks" / f"{photo.stem}.png"), found.mask)
