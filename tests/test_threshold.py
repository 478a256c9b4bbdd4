"""The threshold against a loop over pixels, and on scores that are known."""

import numpy as np
import pytest

from esol.errors import InputError
from esol.maps.files import Maps
from esol.masks.threshold import choose_threshold, top_counts


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
    tops = [max(maps.maps[:, y, x]) for maps in photos for y, x in np.ndindex(*maps.maps.shape[1:])]
    result = choose_threshold(iter(photos))
    assert result == pytest.approx(sum(map(float, tops)) / len(tops), abs=0.00501)
    assert result == round(result, 2)


def test_parts_two_groups_of_scores() -> None:
    plane = np.full((4, 6), 51 / 255)
    plane[1:3, 2:5] = 204 / 255
    assert choose_threshold([_maps(plane)]) == 0.35


def test_follows_the_scores() -> None:
    random = np.random.default_rng(0)
    ground, body = random.uniform(0, 0.3, (40, 40)), random.uniform(0.6, 1, (40, 40))
    clear = _maps(np.where(random.random((40, 40)) < 0.3, body, ground))
    faint = _maps(np.where(random.random((40, 40)) < 0.3, body, ground) / 2)
    assert 0.3 <= choose_threshold([clear]) < 0.6
    assert 0.15 <= choose_threshold([faint]) < 0.3


def test_order_and_photos_without_a_tag_do_not_matter() -> None:
    random = np.random.default_rng(1)
    photos = [_maps(random.beta(1, 2, (6, 5))) for _ in range(4)]
    nothing = Maps(np.zeros(0, np.int64), np.zeros((0, 6, 5), np.float32), (24, 20))
    assert choose_threshold([nothing, *photos[::-1]]) == choose_threshold(photos)


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
        choose_threshold([nothing])
    with pytest.raises(InputError, match="all scores are equal"):
        choose_threshold([_maps(np.full((2, 2), 0.2))] * 3)
