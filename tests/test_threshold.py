"""The threshold against loops over pixels, and on scores and photos that are known."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from esol.data.scenes import HARD
from esol.data.synthetic import draw_scene
from esol.errors import InputError
from esol.maps.files import Maps
from esol.masks.background import Background
from esol.masks.threshold import (
    choose_threshold,
    estimate_background,
    threshold_of_share,
    top_counts,
)

MOSTLY = Background(0.9, 1)
"""A share of background at which the mean decides."""


FEW = Background(0.1, 1)


def _maps(*planes: np.ndarray) -> Maps:
    """Maps of as many classes as planes, whose levels are multiples of 1/255."""
    scores = np.rint(np.stack(planes) * 255).astype(np.float32) / np.float32(255)
    height, width = scores.shape[1:]
    return Maps(np.arange(len(planes)), scores, (4 * height, 4 * width))


@pytest.mark.parametrize("number", range(20))
def test_is_the_mean_over_pixels(number: int) -> None:
    random = np.random.default_rng(number)
    photos = [
        _maps(*random.beta(0.5, random.uniform(0.5, 3), (random.integers(1, 4), 5, 7 + place)))
        for place in range(random.integers(1, 5))
    ]
    means = [
        np.mean([max(maps.maps[:, y, x]) for y, x in np.ndindex(*maps.maps.shape[1:])])
        for maps in photos
    ]
    result = choose_threshold(iter(photos), MOSTLY)
    assert result == pytest.approx(float(np.mean(means)), abs=0.00501)
    assert result == round(result, 2)


def test_parts_two_groups_of_scores() -> None:
    plane = np.full((4, 6), 51 / 255)
    plane[1:3, 2:5] = 204 / 255
    assert choose_threshold([_maps(plane)], MOSTLY) == 0.35


def test_follows_the_scores() -> None:
    random = np.random.default_rng(0)
    ground, body = random.uniform(0, 0.3, (40, 40)), random.uniform(0.6, 1, (40, 40))
    clear = _maps(np.where(random.random((40, 40)) < 0.3, body, ground))
    faint = _maps(np.where(random.random((40, 40)) < 0.3, body, ground) / 2)
    assert 0.3 <= choose_threshold([clear], MOSTLY) < 0.6
    assert 0.15 <= choose_threshold([faint], MOSTLY) < 0.3


def test_order_and_photos_without_a_tag_do_not_matter() -> None:
    random = np.random.default_rng(1)
    photos = [_maps(random.beta(1, 2, (6, 5))) for _ in range(4)]
    nothing = Maps(np.zeros(0, np.int64), np.zeros((0, 6, 5), np.float32), (24, 20))
    assert choose_threshold([nothing, *photos[::-1]], FEW) == choose_threshold(photos, FEW)
    assert choose_threshold([nothing, *photos[::-1]], MOSTLY) == choose_threshold(photos, MOSTLY)


def test_counts_the_highest_of_several_classes() -> None:
    counts = top_counts(_maps(np.array([[0.0, 0.2, 1.0]]), np.array([[0.4, 0.0, 0.6]])))
    assert {place: int(counts[place]) for place in np.flatnonzero(counts)} == {
        51: 1,
        102: 1,
        255: 1,
    }


def test_nothing_to_choose_from() -> None:
    nothing = Maps(np.zeros(0, np.int64), np.zeros((0, 1, 1), np.float32), (4, 4))
    with pytest.raises(InputError, match=r"masks\.threshold.*no photo has a map"):
        choose_threshold([nothing], MOSTLY)
    with pytest.raises(InputError, match="all scores are equal"):
        choose_threshold([_maps(np.full((2, 2), 0.2))] * 3, MOSTLY)
    with pytest.raises(InputError, match="no photo has a map"):
        estimate_background([(Image.new("RGB", (4, 4)), nothing)], torch.device("cpu"))


@pytest.mark.parametrize("number", range(20))
def test_a_share_is_met_and_the_next_threshold_misses_it(number: int) -> None:
    random = np.random.default_rng(number)
    photos = [_maps(*random.beta(0.5, 1.5, (2, 9, 7))) for _ in range(3)]
    share = float(random.uniform(0.02, 0.9))
    threshold = threshold_of_share(photos, share)

    def covered(height: float) -> float:
        return float(np.mean([maps.maps.max(0) > np.float32(height) for maps in photos]))

    assert covered(threshold) >= share or threshold == 0
    assert covered(round(threshold + 0.01, 2)) < share


def test_little_background_lowers_the_threshold_and_none_removes_it() -> None:
    photos = [_maps(np.random.default_rng(number).uniform(0, 1, (30, 30))) for number in range(3)]
    assert choose_threshold(photos, MOSTLY) == pytest.approx(0.5, abs=0.02)
    assert choose_threshold(photos, Background(0.2, 1)) == pytest.approx(0.2, abs=0.02)
    assert choose_threshold(photos, Background(0.2, 0.5)) == pytest.approx(0.35, abs=0.02)
    assert choose_threshold(photos, Background(0.2, 0)) == pytest.approx(0.5, abs=0.02)
    assert choose_threshold(photos, Background(0.01, 1)) == 0


def _scenes(side: int, width: int) -> Iterator[tuple[Image.Image, Maps]]:
    """Photos of a square of ``side`` pixels, with maps that score above 0.3 in one of ``width``."""
    for number in range(4):
        random = np.random.default_rng(number)
        photo = random.normal(90, 3, (120, 120, 3))
        edge = (120 - side) // 2
        photo[edge : edge + side, edge : edge + side] += 90
        scores = np.full((30, 30), 0.1)
        reach = (120 - width) // 8
        scores[reach : 30 - reach, reach : 30 - reach] = 0.8
        yield Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)), _maps(scores)


@pytest.mark.parametrize(("side", "width"), [(64, 88), (88, 64), (104, 88)])
def test_background_goes_on_in_the_direction_of_the_crf(side: int, width: int) -> None:
    estimate = estimate_background(_scenes(side, width), torch.device("cpu")).share
    seeds, true = 1 - (width / 120) ** 2, 1 - (side / 120) ** 2
    # Wider seeds than the square: more background than they leave; narrower ones: less.
    assert (estimate > seeds) == (true > seeds)


def _drawn(background: bool) -> list[tuple[Image.Image, Maps]]:
    """Synthetic photos with maps as blurred as a classifier's, each divided by its maximum."""
    photos = []
    for number in range(12):
        random = np.random.default_rng(number)
        image, truth = draw_scene(random, 96, number % 6, HARD, background)
        planes = []
        for value in np.unique(truth[truth > 0]):
            inside = Image.fromarray((truth == value).astype(np.uint8) * 255)
            small = inside.resize((inside.width // 4, inside.height // 4), Image.Resampling.BOX)
            plane = np.asarray(small.filter(ImageFilter.GaussianBlur(3)), float)
            planes.append(plane / plane.max())
        height, width = planes[0].shape
        photo = Image.fromarray(image[: 4 * height, : 4 * width])
        photos.append((photo, _maps(*planes)))
    return photos


def test_photos_without_background_get_none() -> None:
    covered, usual = (_drawn(background) for background in (False, True))
    device = torch.device("cpu")
    assert choose_threshold((maps for _, maps in covered), MOSTLY) > 0.4
    assert (
        choose_threshold((maps for _, maps in covered), estimate_background(covered, device)) == 0
    )
    mean = choose_threshold((maps for _, maps in usual), MOSTLY)
    assert choose_threshold((maps for _, maps in usual), estimate_background(usual, device)) == mean


def test_a_large_photo_counts_like_a_small_one() -> None:
    random = np.random.default_rng(3)
    small = [_maps(random.beta(1, 3, (8, 8))) for _ in range(5)]
    large = _maps(np.full((300, 300), 0.9) * random.uniform(0.9, 1, (300, 300)))
    mean = np.mean([maps.maps.mean() for maps in (*small, large)])
    assert choose_threshold([*small, large], MOSTLY) == pytest.approx(mean, abs=0.01)
    assert threshold_of_share([*small, large], 0.5) < 0.5
