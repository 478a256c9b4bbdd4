"""Pseudo masks of every source and threshold, on the run that test_pipeline makes."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from esol.data.images import load_image, load_mask
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.masks.background import Background, background_warning
from esol.masks.crf import crf_masks
from esol.masks.seeds import seed_mask
from esol.report.summary import write_report
from esol.runs.folder import RunFolder
from esol.settings import Masks, source_parts
from esol.settings.checks import percent
from esol.settings.load import load_settings
from esol.stages import run
from tests.test_pipeline import SMOKE, done, photos  # noqa: F401

STAGES = ("classify", "expand", "shrink", "cams")


def made(done: Path, photos: Path, folder: Path, *flags: str) -> RunFolder:  # noqa: F811
    """A run of these stages with the masks of some settings."""
    copy = RunFolder(folder / "run")
    for stage in STAGES:
        shutil.copytree(RunFolder(done).stage(stage), copy.stage(stage))
    settings = load_settings(str(SMOKE), "--refine.methods=[]", *flags)
    run(settings, photos, copy.path, first="masks", last="masks")
    return copy


def test_the_crf_starts_from_the_seeds_at_the_threshold_of_the_masks(done, photos, tmp_path):  # noqa: F811
    copy = made(done, photos, tmp_path, "--masks.source=crf", "--masks.threshold=auto")
    results, settings = copy.manifest("masks")["results"], load_settings(str(SMOKE))
    assert 0 <= results["estimated_background"]["share"] <= 1
    paths = sorted((photos / "images").iterdir())
    for path in paths[::7]:
        maps = load_maps(next(copy.maps("shrinkage").rglob(f"{path.stem}.npz")))
        mask = load_mask(next(copy.stage("masks").rglob(f"{path.stem}.png")))
        photo, device = load_image(path), torch.device("cpu")
        at = results["threshold"]
        (expected,) = crf_masks(photo, maps, (at,), settings.refine, device)
        assert np.array_equal(mask, expected)
    # Photos can be sorted by confidence whatever refined their masks.
    rows = (copy.stage("masks") / "confidence.csv").read_text().splitlines()[1:]
    assert len(rows) == len(paths)
    assert all(0 <= float(row.split(",")[1]) <= 1 for row in rows)


@pytest.mark.parametrize("source", ["affinity", "affinity+crf", "irn+crf", "distil", "distil+crf"])
def test_refined_maps_are_cut_at_their_own_threshold_with_or_without_a_crf(
    source,
    done,  # noqa: F811
    photos,  # noqa: F811
    tmp_path,
):
    kind, crf = source_parts(source)
    copy = RunFolder(tmp_path / "run")
    for stage in (*STAGES, "seeds"):
        shutil.copytree(RunFolder(done).stage(stage), copy.stage(stage))
    flags = [f"--refine.methods=[{kind}]", f"--masks.source={source}", "--masks.threshold=auto"]
    settings = load_settings(str(SMOKE), *flags, "--segment.network=none")
    run(settings, photos, copy.path, first="seeds")
    results = copy.manifest("masks")["results"]
    paths = sorted((photos / "images").iterdir())
    for path in paths[::7]:
        maps = load_maps(next(copy.maps(kind).rglob(f"{path.stem}.npz")))
        expected = seed_mask(maps.full(), maps.classes, results["threshold"])
        if crf:
            photo, device = load_image(path), torch.device("cpu")
            at = results["threshold"]
            (expected,) = crf_masks(photo, maps, (at,), settings.refine, device)
        mask = load_mask(next(copy.stage("masks").rglob(f"{path.stem}.png")))
        assert np.array_equal(mask, expected)
    measured = copy.metrics()["lists"]["val"]
    assert measured[kind]["threshold"] == results["threshold"] != settings.refine.threshold
    page = (copy.path / "report.html").read_text()
    title = {"irn": "IRN"}.get(kind, kind)
    assert f"{title} at {results['threshold']:.2f} (chosen by rule)" + ", then CRF" * crf in page
    before = {path: path.stat().st_mtime_ns for path in copy.path.rglob("*.npz")}
    run(settings, photos, copy.path, first="seeds")
    assert before == {path: path.stat().st_mtime_ns for path in copy.path.rglob("*.npz")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--masks.source=affinity+crf"], "masks.source = 'affinity+crf': must be seeds or crf;"
         " affinity needs refine.methods: [affinity]"),
        (["--refine.methods=[affinity]", "--refine.similarity.source=attention"],
         "refine.similarity.source = 'attention': test_resnet has no attention"),
        (["--refine.methods=[affinity]", "--refine.similarity.levels=9"],
         "refine.similarity.levels = 9: test_resnet has 5 levels of features; set 5 or less"),
    ],
)  # fmt: skip
def test_what_is_impossible_is_refused_before_any_work(flags, message, photos, tmp_path):  # noqa: F811
    flags = ["--refine.methods=[]", "--masks.source=seeds", *flags]
    with pytest.raises(InputError) as refusal:
        run(load_settings(str(SMOKE), *flags), photos, tmp_path / "run")
    assert message in str(refusal.value)
    assert not list((tmp_path / "run").glob("0*"))


@pytest.mark.parametrize("share", [0.03, 0.06])
def test_objects_fill_the_share_that_was_given(share, done, photos, tmp_path):  # noqa: F811
    flag = f"--masks.threshold={100 * share:g}%"
    copy = made(done, photos, tmp_path, "--masks.source=seeds", flag)
    threshold = copy.manifest("masks")["results"]["threshold"]
    rows = (photos / "labels.csv").read_text().splitlines()
    train = [Path(row.split(",")[0]).stem for row in rows if row.endswith(",train")]
    files = [next(copy.maps("shrinkage").rglob(f"{name}.npz")) for name in train]
    covered = [seed_mask(maps.maps, maps.classes, threshold) > 0 for maps in map(load_maps, files)]
    assert np.concatenate([mask.ravel() for mask in covered]).mean() == pytest.approx(
        share, abs=0.01
    )


def test_a_share_is_text_with_a_percent_sign():
    assert [percent(text) for text in ("5%", "12.5 %", "0%", "100%", "5", "%", "-1%")] == [
        0.05, 0.125, None, None, None, None, None
    ]  # fmt: skip
    assert Masks(threshold="5%").threshold == "5%"
    for wrong in ("five", "100%", "0.3%%"):
        with pytest.raises(InputError, match=r"masks\.threshold = .*such as 5%"):
            load_settings("demo", f"--masks.threshold={wrong}")


def test_masks_that_the_photos_contradict_are_reported(done, photos, tmp_path, monkeypatch, caplog):  # noqa: F811
    little, unclear = Background(0.02, 1), Background(0.02, 0.5)
    assert background_warning(0.3, little) == background_warning(0.45, unclear) == ""
    assert "background fills 45 % of the masks" in background_warning(0.45, little)
    assert "masks.threshold 98%" in background_warning(0.45, little)
    monkeypatch.setattr(
        "esol.stages.masks.estimate_background", lambda photos, device, workers: Background(0.1, 1)
    )
    flags = ("--refine.methods=[]", "--masks.source=seeds", "--segment.network=none")
    with caplog.at_level(logging.WARNING):
        copy = made(done, photos, tmp_path, *flags)
    assert "masks: background fills" in caplog.text
    run(load_settings(str(SMOKE), *flags), photos, copy.path)
    first = write_report(copy.path, photos=2).read_text().partition('<section id="gallery">')[0]
    assert "Background fills" in first
    assert "masks.threshold 90%, or what you see" in first
