"""Maps of a batch against a plain loop: one photo, one scale and one flip at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from esol.data.images import load_image
from esol.data.normalisation import IMAGENET
from esol.data.sample import Sample
from esol.data.transforms import reduced, scaled, squash, to_tensor
from esol.maps.localize import SizedSample, batches_of_one_size, localize
from esol.method.classifier import Classifier, Head
from esol.method.expansion import Expansion
from esol.method.localizer import Localizer
from esol.method.shrinkage import Shrinkage
from esol.networks.backbone import PIXELS
from esol.settings import MAP_KINDS, Cams, Expand, HeadSettings, Input, Shrink


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    photos = []
    for i, (height, width) in enumerate([(40, 52), (40, 52), (37, 33)]):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        photos.append(Sample(str(i), path, ((0, 2), (1,), (0, 1, 2))[i]))
    return tuple(photos)


@pytest.fixture
def localizer():
    torch.manual_seed(0)
    backbone = nn.Conv2d(3, 6, 3, stride=8, padding=1)
    backbone.normalisation = IMAGENET
    head = Head(6, 3, HeadSettings(width=5, kernel=3))
    nn.init.normal_(head.v.weight)
    expansion = Expansion(head.w1.weight, Expand(clip=0.5, learn="nothing"))
    shrinkage = Shrinkage(head.w2.weight, head.v.weight, Shrink(learn="nothing"))
    return Localizer(Classifier(backbone, head), expansion, shrinkage).eval()


def one_by_one(localizer, sample, settings, inputs, kind):
    image = load_image(sample.image)
    grid = (-(-image.height // 4), -(-image.width // 4))
    total = torch.zeros(len(sample.tags), *grid)
    for scale in settings.scales:
        resized = (
            squash(image, round(inputs.size * scale))
            if inputs.resize == "squash"
            else scaled(image, scale)
        )
        for mirrored in [False, True] if settings.flip else [False]:
            tensor = to_tensor(resized, IMAGENET)[None]
            tensor = tensor.flip(3) if mirrored else tensor
            with torch.no_grad():
                maps = localizer.maps(localizer.classifier.backbone(tensor))[kind]
            maps = F.relu(maps)[:, list(sample.tags)]
            maps = maps.flip(3) if mirrored else maps
            total += F.interpolate(maps, grid, mode="bilinear", align_corners=False)[0]
    return (total / total.amax(dim=(1, 2), keepdim=True).clamp_min(1e-5)).numpy()


@pytest.mark.parametrize("resize", ["crop", "squash"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("piece", [1, 1 << 17])
def test_batched_maps_equal_single_ones(localizer, samples, resize, flip, piece, monkeypatch):
    monkeypatch.setitem(PIXELS, "no", piece)
    settings = Cams(scales=(1.0, 0.5, 1.5), flip=flip)
    inputs = Input(size=64, resize=resize)
    batches = batches_of_one_size(samples, same=resize == "squash")
    assert [len(batch) for batch in batches] == ([3] if resize == "squash" else [2, 1])
    result = {}
    for batch in batches:
        for sample, size, maps in localize([localizer], batch, settings, inputs, None):
            result[sample.name] = sample
            assert size == load_image(sample.image).size[::-1]
            assert set(maps) == set(MAP_KINDS)
            for kind in MAP_KINDS:
                expected = one_by_one(localizer, sample, settings, inputs, kind)
                np.testing.assert_allclose(maps[kind], expected, atol=1e-5)
                assert maps[kind].max() <= 1
    assert set(result) == {"0", "1", "2"}


@pytest.mark.parametrize(("low", "high", "shown"), [(32, 52, 52), (32, 51, 41), (32, 40, 36)])
def test_photos_above_the_training_range_are_mapped_at_its_middle(
    localizer, samples, low, high, shown
):
    """At the photo's own grid; others are mapped as they are."""
    inputs, settings = Input(size=32, resize="crop", longest=(low, high)), Cams(scales=(1.0,))
    large = batches_of_one_size(samples[:2], same=False)[0]
    made = [maps["cam"] for *_, maps in localize([localizer], large, settings, inputs, None)]
    for sample, maps in zip(samples[:2], made, strict=True):
        small = sample.image.with_name(f"small-{sample.image.name}")
        reduced(load_image(sample.image), shown).save(small)
        (((_, _, expected)),) = localize(
            [localizer],
            [SizedSample(replace(sample, image=small), (40, 52))],
            *(settings, replace(inputs, longest=(32, 640)), None),
        )
        np.testing.assert_allclose(maps, expected["cam"], atol=1e-5)
        assert maps.shape == (len(sample.tags), 10, 13)


def test_a_photo_decoded_at_a_fraction_goes_with_one_that_is_not(localizer, samples, tmp_path):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    large = coarse.resize((320, 240), Image.Resampling.BICUBIC)
    photos = []
    for name in ("a.jpg", "b.png"):
        large.save(tmp_path / name, quality=95)
        photos.append(replace(samples[0], name=name, image=tmp_path / name))
    inputs = Input(size=32, resize="crop", longest=(32, 40))
    assert load_image(photos[0].image, (36, 27)).size == (160, 120)
    (batch,) = batches_of_one_size(photos, same=False)
    given = [localizer], batch, Cams(scales=(1.0, 2.0)), inputs, None
    one, two = (maps["cam"] for *_, maps in localize(*given))
    np.testing.assert_allclose(one, two, atol=0.05)


def test_squash_sees_all_photos_at_one_size():
    assert Input(resize="squash", longest=(32, 64)).shown(1000) == 1000


def test_batches_hold_fewer_large_photos(samples, monkeypatch):
    monkeypatch.setattr("esol.data.batch.TOGETHER", 40 * 52 * 4)
    batches = batches_of_one_size(samples[:2] * 3, same=False)
    assert [[len(photo.sample.tags) for photo in batch] for batch in batches] == [[2, 1]] * 3


def test_batches_hold_no_more_than_the_limit(samples):
    batches = batches_of_one_size(samples * 3, same=True, limit=4)
    assert [len(batch) for batch in batches] == [4, 4, 1]
