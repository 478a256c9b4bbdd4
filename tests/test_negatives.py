"""Photos of background, which have no tag, go through every stage of every method."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esol.cli.main import main
from esol.data.images import load_mask
from esol.data.synthetic import write_synthetic
from esol.data.transforms import draw_crop, squash_planes
from esol.maps.files import load_maps
from esol.masks.fusion import fuse
from esol.masks.pseudo import statistics
from esol.report.summary import write_report
from esol.runs.folder import RunFolder
from esol.settings import KINDS
from esol.settings.load import load_settings
from esol.stages import fitting, run
from esol.system.read import read_json

SMOKE = Path(__file__).parent / "smoke.yaml"
SHORT = ("--sccam.clusters=3", "--sccam.rounds=2", "--drs.fit.steps=4", "--masks.saliency=saliency")
NEGATIVE = ("00001", "00005", "00013")
"""Without tag, mask and saliency map; the last one is in the list val."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_synthetic(root, photos=16, size=64, seed=0, val_fraction=0.25, hard=True)
    rows = list(csv.reader((root / "labels.csv").read_text().splitlines()))
    for row in rows:
        if Path(row[0]).stem in NEGATIVE:
            row[1] = ""
    (root / "labels.csv").write_text("\n".join(map(",".join, rows)))
    for name in NEGATIVE:
        (root / "masks" / f"{name}.png").unlink()
        (root / "saliency" / f"{name}.png").unlink()
    return root


def settings(*flags: str):
    return load_settings(str(SMOKE), *SHORT, *flags)


@pytest.mark.parametrize(
    "flags",
    [
        ("--method=esol", "--masks.saliency=", "--refine.instances=true"),
        ("--method=cam", "--masks.source=crf"),
        ("--method=sccam", "--input.resize=crop"),
        ("--method=drs", "--input.resize=crop"),
        ("--method=eps",),
        ("--method=lpcam", "--input.resize=crop"),
    ],
)
def test_their_maps_are_empty_and_their_masks_all_background(flags, photos, tmp_path):
    chosen = settings(*flags)
    done = RunFolder(run(chosen, photos, tmp_path / "run"))
    folders = [done.stage("seeds"), *(done.masks(kind) for kind in ("crf", "masks"))]
    if chosen.refine.instances:
        folders.append(done.stage("refine") / "instances")
    for name in NEGATIVE:
        for kind in (*KINDS[chosen.method], "irn"):
            assert len(load_maps(done.maps(kind) / f"{name}.npz").classes) == 0
        assert not any(load_mask(folder / f"{name}.png").any() for folder in folders)
    assert done.masks("segmentation").joinpath("00013.png").is_file()
    measured = done.metrics()["lists"]
    assert {name: kinds["photos"] for name, kinds in measured.items()} == {"train": 10, "val": 3}
    with (done.stage("masks") / "confidence.csv").open() as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    assert {rows[name]["coverage"] for name in NEGATIVE} == {"0.0000"}


def test_trainings_count_them_except_expansion(photos, tmp_path, monkeypatch):
    learned: dict[str, Counter[bool]] = {}

    def spy(model, losses, inputs, groups, optimisation, training):
        learned[training.label] = Counter(bool(sample.tags) for sample in inputs.samples)
        return real(model, losses, inputs, groups, optimisation, training)

    real = fitting.fit
    for module in ("fitting", "classify", "refine", "segment"):
        monkeypatch.setattr(f"esol.stages.{module}.fit", spy)
    done = RunFolder(run(settings("--masks.saliency="), photos, tmp_path / "run"))
    every, tagged = Counter({True: 10, False: 2}), Counter({True: 10})
    assert learned == {
        "classify": every,
        "expand": tagged,
        "shrink": every,
        "refine: IRNet": every,
        "segment": every,
    }
    assert done.manifest("classify")["results"]["steps"] == 3  # 2 epochs of 12 photos, 8 at a time


def test_they_are_measured_if_that_is_asked_for(photos, tmp_path):
    flags = ("--masks.saliency=", "--data.untagged_masks=true")
    done = RunFolder(run(settings(*flags), photos, tmp_path / "run"))
    lists = done.metrics()["lists"]
    assert {name: kinds["photos"] for name, kinds in lists.items()} == {"train": 12, "val": 4}


def test_they_are_not_counted_as_photos_of_which_nothing_was_found(photos, tmp_path):
    done = RunFolder(run(settings("--masks.saliency="), photos, tmp_path / "run", last="masks"))
    seeds = (load_mask(path) for path in done.stage("seeds").glob("*.png"))
    blank = sum(not mask.any() for mask in seeds)
    assert done.manifest("seeds")["results"]["all_background"] == blank - len(NEGATIVE)
    blank_mask = np.zeros((4, 6), np.uint8)
    assert statistics([(blank_mask, ()), (blank_mask, (0,))], ["cat"])["empty"] == 1


def test_report_and_exports_show_them(photos, tmp_path, monkeypatch):
    done = run(settings("--masks.saliency="), photos, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert "00001" in write_report(done).read_text()
    assert main(["export", "run", "masks.json", "--to", "coco"]) == 0
    content = read_json(Path("masks.json"))
    ids = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    drawn = {ids[annotation["image_id"]] for annotation in content["annotations"]}
    assert {"00001", "00005"} <= set(ids.values()) - drawn
    for tool, out in (("labelstudio", "tasks.json"), ("cvat", "cvat.xml"), ("voc", "voc")):
        assert main(["export", "run", out, "--to", tool]) == 0


def test_planes_of_no_class_are_resized_as_others():
    none = np.zeros((0, 5, 6), np.uint8)
    assert squash_planes(none, 8).shape == (0, 8, 8)
    crop = draw_crop((40, 30), 32, (32, 64), np.random.default_rng(0))
    assert crop.planes(none).shape == (0, 32, 32)


def test_saliency_does_not_matter_without_a_class():
    salient = np.ones((4, 6), np.float32)
    none = np.zeros((0, 4, 6), np.float32), np.zeros(0, np.int64)
    assert not fuse(*none, salient, salient=0.5, threshold=0.1).any()


def test_a_run_from_before_the_setting_leaves_them_out(photos, tmp_path):
    chosen = settings("--masks.saliency=", "--data.untagged=skip")
    done = run(chosen, photos, tmp_path / "run", last="seeds")
    stored = RunFolder(done)
    assert stored.settings() == chosen
    text = (done / "settings.yaml").read_text()
    assert "  untagged: skip\n" in text
    (done / "settings.yaml").write_text(text.replace("  untagged: skip\n", ""))
    assert stored.settings() == chosen
    assert load_settings(str(done / "settings.yaml")) == replace(
        chosen, data=replace(chosen.data, untagged="auto")
    )
