"""Maps of a head that has learned masks."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_feature_head import segmenter

from esol.data.images import load_image
from esol.data.sample import Sample
from esol.data.synthetic import write_synthetic
from esol.data.transforms import squash, to_tensor
from esol.maps.files import Maps, grid
from esol.maps.localize import Reader, SizedSample
from esol.masks.background import Background
from esol.masks.threshold import choose_threshold
from esol.settings import Input, Masks
from esol.stages.distil import head_maps
from esol.stages.masks import cut_of


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


@pytest.mark.parametrize("asked", ["20%", "60%", "auto", 0.9])
def test_the_head_learns_masks_that_are_cut_as_the_finished_ones(asked):
    scores = np.random.default_rng(0).integers(0, 256, (1, 40, 40)) / np.float32(255)
    maps, unclear = [Maps(np.array([0]), scores, (160, 160))], Background(0.5, 0.0)
    job: Any = SimpleNamespace(settings=SimpleNamespace(masks=Masks(threshold=asked)))
    found = cut_of(job, maps, unclear)
    if "%" in str(asked):
        share = int(asked[:2]) / 100
        filled = [(scores > at).mean() for at in (found - 0.01, found)]
        assert filled[1] < filled[0]
        assert min(abs(value - share) for value in filled) < 0.02
    elif asked == 0.9:
        assert found == asked
    else:
        assert found == choose_threshold(maps, unclear) == round(float(scores.mean()), 2)
