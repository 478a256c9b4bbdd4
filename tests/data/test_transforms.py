"""Network inputs: normalisation, sizes, and the random crop as the sum of its recipe."""

import numpy as np
import pytest
import torch
from PIL import Image

from esol.data.normalisation import IMAGENET
from esol.data.transforms import draw_crop, scaled, squash, squash_mask, to_tensor


def photo(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(1, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_to_tensor_normalises() -> None:
    tensor = to_tensor(
        Image.fromarray(np.array([[[0, 128, 255], [255, 0, 1]]], dtype=np.uint8)), IMAGENET
    )
    assert tensor.shape == (3, 1, 2)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    for channel, value in enumerate((0, 128, 255)):
        expected = (value / 255 - IMAGENET.mean[channel]) / IMAGENET.std[channel]
        assert tensor[channel, 0, 0].item() == pytest.approx(expected, abs=1e-6)


def test_squash_and_scaled_sizes() -> None:
    assert squash(photo(30, 50), 32).size == (32, 32)
    assert scaled(photo(30, 50), 0.5).size == (25, 15)
    assert scaled(photo(3, 5), 0.5).size == (3, 2)
    assert scaled(photo(1, 50), 0.1).size == (5, 1)
    same = photo(4, 4)
    assert scaled(same, 1.0) is same


def test_random_crop_without_scaling_is_a_window_of_the_photo() -> None:
    image, side, seen = photo(20, 24), 16, set()
    whole = to_tensor(image, IMAGENET)
    windows = {
        (y, x, flip): (part.flip(2) if flip else part)
        for y in range(5)
        for x in range(9)
        for flip in (False, True)
        for part in [whole[:, y : y + side, x : x + side]]
    }
    for seed in range(400):
        crop = draw_crop(image.size, side, (24, 24), np.random.default_rng(seed)).image(
            image, IMAGENET
        )
        found = [key for key, window in windows.items() if torch.equal(window, crop)]
        assert len(found) == 1
        seen.add(found[0])
    assert {key[0] for key in seen} == set(range(5))
    assert {key[1] for key in seen} == set(range(9))
    assert {key[2] for key in seen} == {False, True}


def test_random_crop_pads_with_exact_zeros() -> None:
    image, places = photo(6, 12), set()
    for seed in range(100):
        crop = draw_crop(image.size, 16, (12, 12), np.random.default_rng(seed), flip=False).image(
            image, IMAGENET
        )
        rows, columns = torch.nonzero((crop != 0).any(0), as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        assert torch.equal(crop[:, top : top + 6, left : left + 12], to_tensor(image, IMAGENET))
        assert (crop == 0).all(0).sum() == 16 * 16 - 6 * 12
        places.add((top, left))
    assert {top for top, _ in places} == set(range(11))
    assert {left for _, left in places} == set(range(5))


def test_random_crop_draws_the_longest_side_from_both_ends() -> None:
    image = Image.new("RGB", (40, 20), "white")
    widths = set()
    for seed in range(60):
        crop = draw_crop(image.size, 64, (30, 33), np.random.default_rng(seed)).image(
            image, IMAGENET
        )
        filled = (crop != 0).any(0)
        widths.add(int(filled.any(0).sum()))
        assert int(filled.any(1).sum()) in (15, 16, 17)
    assert widths == {30, 31, 32, 33}


def test_random_crop_depends_on_the_generator_alone() -> None:
    image = photo(40, 30)
    first, again, other = (
        draw_crop(image.size, 24, (30, 60), np.random.default_rng(seed)).image(image, IMAGENET)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generators = [np.random.default_rng(3), np.random.default_rng(3)]
    draw_crop(image.size, 24, (30, 60), generators[0])
    draw_crop((5, 5), 64, (10, 20), generators[1], flip=False)
    assert generators[0].random() == generators[1].random()


def test_a_mask_is_cut_as_its_photo() -> None:
    """A photo whose colour is its mask's value stays so in every crop; 255 lies beside it."""
    values = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((6, 6), np.uint8))
    image = Image.fromarray(np.repeat(values[..., None] * 20, 3, axis=2))
    for seed in range(50):
        crop = draw_crop(image.size, 20, (24, 24), np.random.default_rng(seed))
        mask, pixels = crop.mask(values), crop.image(image, IMAGENET)
        shown = pixels * torch.tensor(IMAGENET.std).view(3, 1, 1)
        shown = ((shown + torch.tensor(IMAGENET.mean).view(3, 1, 1)) * 255 / 20)[0]
        inside = mask != 255
        assert 18 * 20 >= inside.sum() > 0
        assert torch.equal(shown[inside].round().long(), mask[inside])
        assert (pixels[:, ~inside] == 0).all()


def test_masks_take_no_values_between_classes() -> None:
    values = np.where(np.arange(60).reshape(6, 10) % 7 < 3, 200, 3).astype(np.uint8)
    crop = draw_crop((10, 6), 24, (10, 30), np.random.default_rng(0))
    assert set(crop.mask(values).unique().tolist()) <= {3, 200, 255}
    assert squash_mask(values, 32).shape == (32, 32)
    assert set(squash_mask(values, 32).unique().tolist()) == {3, 200}
