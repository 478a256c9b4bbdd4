"""Maps of a head that has learned masks."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from test_feature_head import segmenter
from test_pipeline import SMOKE, done, photos  # noqa: F401

from esol.data.images import load_image
from esol.data.sample import Sample
from esol.data.synthetic import write_synthetic
from esol.data.transforms import squash, to_tensor
from esol.errors import InputError
from esol.maps.files import Maps, grid, load_maps, save_maps
from esol.maps.localize import Reader, SizedSample
from esol.masks.threshold import threshold_of_share
from esol.runs.folder import RunFolder
from esol.runs.manifest import digest
from esol.settings import Input
from esol.settings.load import load_settings
from esol.stages import run
from esol.stages.distil import head_maps


def test_a_class_counts_against_the_background_alone(tmp_path):
    write_synthetic(tmp_path, photos=2, size=64, seed=0)
    path = tmp_path / "images" / "00000.jpg"
    photo = load_image(path)
    size, inputs, head = (photo.height, photo.width), Input(64, "squash"), segmenter(labels=4)
    sample = Sample("00000", path, (0, 2))
    maps = Maps(np.array([0, 2]), np.zeros((2, *grid(size)), np.float32), size)
    one = to_tensor(squash(photo, 64), head.normalisation)[None]
    with torch.no_grad():
        logits = [head.body.logits(head.body.encoder(view)) for view in (one, one.flip(3))]
    for flip in (False, True):
        views = [logits[0].softmax(1), logits[1].softmax(1).flip(3)][: 1 + flip]
        wanted = torch.nn.functional.interpolate(
            torch.stack(views).mean(0), grid(size), mode="bilinear", align_corners=False
        )[0]
        found = head_maps(head, Reader([SizedSample(sample, size)], inputs, None), maps, flip=flip)
        for row, label in ((0, 1), (1, 3)):
            share = wanted[label] / (wanted[label] + wanted[0])
            np.testing.assert_allclose(found[row], share.numpy(), atol=1e-5)


def test_a_photo_without_a_tag_has_no_maps(tmp_path):
    maps = Maps(np.zeros(0, np.int64), np.zeros((0, 4, 4), np.float32), (16, 16))
    sample = SizedSample(Sample("a", tmp_path / "a.jpg", ()), (16, 16))
    reader = Reader([sample], Input(), None)
    assert head_maps(segmenter(), reader, maps, flip=True).shape == (0, 4, 4)


@pytest.mark.parametrize("asked", ["20%", "0.9"])
def test_the_head_learns_masks_that_fill_what_the_user_says(done, photos, tmp_path, caplog, asked):  # noqa: F811
    copy = tmp_path / "run"
    shutil.copytree(done, copy)
    settings = load_settings(
        str(SMOKE),
        *("--refine.methods=[distil]", "--masks.source=distil", f"--masks.threshold={asked}"),
    )
    caplog.set_level(logging.INFO, "esol")
    run(settings, photos, copy, first="refine", last="refine", overwrite=True)
    folder = RunFolder(copy).maps(settings.distilled_kind)
    rows = (photos / "labels.csv").read_text().splitlines()[1:]
    names = [row.split(",")[0].split("/")[-1][:-4] for row in rows if row.endswith(",train")]
    wanted = threshold_of_share((load_maps(folder / f"{name}.npz") for name in names), 0.2)
    (line,) = (text for text in caplog.messages if text.startswith("refine: distil: a head learns"))
    cut = float(line.rpartition(" ")[2])
    # A score is of the finished maps, whose scale is another.
    assert cut == wanted if asked == "20%" else cut not in (wanted, 0.9)


def test_maps_without_a_score_are_nothing_to_learn_from(done, photos, tmp_path):  # noqa: F811
    copy, flags = tmp_path / "run", ("--refine.methods=[distil]", "--masks.source=distil")
    shutil.copytree(done, copy)
    maps = RunFolder(copy).maps("shrinkage")
    for path in maps.glob("*.npz"):
        empty = load_maps(path)
        save_maps(path, np.zeros_like(empty.maps), empty.classes, empty.size)
    manifest = RunFolder(copy).manifest("cams") | {"outputs": digest(maps.parent)}
    (maps.parent / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="nothing to learn from: the maps of shrinkage are empty"):
        run(load_settings(str(SMOKE), *flags), photos, copy, first="refine", last="refine",
            overwrite=True)  # fmt: skip
