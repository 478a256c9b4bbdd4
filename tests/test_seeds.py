"""Seeds pixel by pixel, ties included."""

import numpy as np
import pytest

from esol.masks.seeds import seed_mask


def _loop(scores: np.ndarray, classes: list[int], threshold: float) -> np.ndarray:
    _, height, width = scores.shape
    mask = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            best = np.float32(threshold)
            for position, index in enumerate(classes):
                if scores[position, y, x] > best:
                    best = scores[position, y, x]
                    mask[y, x] = index + 1
    return mask


@pytest.mark.parametrize("number", range(12))
def test_equals_a_loop_over_pixels(number: int) -> None:
    random = np.random.default_rng(number)
    count = int(random.integers(0, 5))
    classes = sorted(random.choice(20, count, replace=False).tolist())
    # Few levels, so that ties with the plane and between classes are frequent.
    scores = (random.integers(0, 6, (count, 7, 9)) / 5).astype(np.float32)
    for threshold in (0.0, 0.2, 0.33, 0.4, 1.0):
        mask = seed_mask(scores, np.array(classes, np.int64), threshold)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, _loop(scores, classes, threshold))


def test_ties_go_to_the_background_and_to_the_lower_index() -> None:
    scores = np.array([[[0.5, 0.7, 0.7]], [[0.2, 0.7, 0.8]]], np.float32)
    assert seed_mask(scores, np.array([4, 9]), 0.5).tolist() == [[0, 5, 10]]


def test_a_threshold_that_float32_cannot_hold_is_compared_in_float32() -> None:
    scores = np.full((1, 1, 1), 0.1, np.float32)
    assert float(scores[0, 0, 0]) > 0.1
    assert seed_mask(scores, np.array([0]), 0.1).tolist() == [[0]]


def test_no_tag_is_all_background() -> None:
    mask = seed_mask(np.zeros((0, 2, 3), np.float32), np.array([], np.int64), 0.0)
    assert mask.shape == (2, 3)
    assert not mask.any()


def test_the_last_class_an_8_bit_mask_can_name() -> None:
    assert seed_mask(np.ones((1, 1, 1), np.float32), np.array([253]), 0.5).tolist() == [[254]]


@pytest.mark.parametrize("classes", [[0], [1, 0], [1, 1], [-1, 0], [0, 1, 2]])
def test_classes_must_fit_the_maps(classes: list[int]) -> None:
    with pytest.raises(ValueError, match="class"):
        seed_mask(np.zeros((2, 3, 3), np.float32), np.array(classes), 0.5)
