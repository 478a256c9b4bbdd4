"""Planes of a photo, such as saliency, follow it through every augmentation."""

import numpy as np
import pytest
import torch
from PIL import Image

from esol.data.normalisation import IMAGENET
from esol.data.sample import Sample
from esol.settings import Input
from esol.training.features import FeatureCache
from esol.training.inputs import photo_inputs


@pytest.fixture
def photo(tmp_path):
    """A grey photo with a bright part, and the plane that marks that part."""
    plane = np.zeros((48, 64), np.uint8)
    plane[8:32, 8:24] = 255
    path = tmp_path / "photo.png"
    Image.fromarray(np.repeat(plane[..., None], 3, axis=2)).save(path)
    return Sample("photo", path, (1,)), plane


def views(inputs, count=24):
    return next(inputs.batches(count, seed=0, start=0, stop=1, workers=0))


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_planes_lie_over_the_image(photo, resize):
    sample, plane = photo
    # Planes of half the photo's resolution, as saliency maps often are.
    half = plane[::2, ::2]
    settings = Input(size=48, resize=resize, longest=(40, 90))
    batch = views(photo_inputs((sample,), 3, settings, IMAGENET, planes=lambda _: half[None]))
    assert batch.targets.shape == (24, 1, 12, 12)
    grey = batch.inputs[:, :1] * IMAGENET.std[0] + IMAGENET.mean[0]
    # Beside the photo the image is the mean colour, the plane 0.
    grey = torch.where(batch.inputs[:, :1] == 0, torch.zeros(()), grey).clamp(0, 1)
    seen = torch.nn.functional.avg_pool2d(grey, 4)
    assert (seen - batch.targets).abs().mean() < 0.03
    assert len({row.numpy().tobytes() for row in batch.targets}) > 1


def test_planes_by_tag_take_their_classes_places(photo):
    sample, plane = photo
    settings = Input(size=32, resize="squash", flip=False)
    inputs = photo_inputs(
        (sample,), 3, settings, IMAGENET, planes=lambda _: plane[None], by_tag=True
    )
    targets = views(inputs, 2).targets
    assert targets.shape == (2, 3, 8, 8)
    assert targets[:, 1].max() > 0.8
    assert not targets[:, [0, 2]].any()


def test_planes_of_cached_features_are_mirrored_with_them(photo, tmp_path):
    sample, plane = photo
    cache = FeatureCache(tmp_path)
    left = np.zeros((5, 6, 6), np.float16)
    left[:, :, :3] = 1
    np.save(cache.path(sample), np.stack([left, left[..., ::-1]]))
    plane = np.zeros((6, 6), np.uint8)
    plane[:, :3] = 255
    inputs = cache.inputs((sample,), 3, flip=True, planes=lambda _: plane[None])
    batch = views(inputs)
    assert batch.cached
    torch.testing.assert_close(batch.targets[:, 0], batch.inputs[:, 0].float())
    assert len({row.numpy().tobytes() for row in batch.targets}) == 2


def test_without_planes_there_are_no_targets(photo):
    assert (
        views(photo_inputs((photo[0],), 3, Input(size=32, resize="squash"), IMAGENET), 2).targets
        is None
    )
