"""Pseudo masks pixel by pixel, and whether their confidence says what it should."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from esol.data.images import load_mask
from esol.data.saliency import find_saliency, load_saliency
from esol.masks.fusion import fuse
from esol.masks.pseudo import confidence, from_mask, pseudo_mask, statistics
from esol.masks.seeds import seed_mask
from esol.system.files import plain


def _random(number: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Scores, classes and saliency of few levels, so that ties are frequent."""
    random = np.random.default_rng(number)
    count = int(random.integers(0, 4))
    classes = np.array(sorted(random.choice(20, count, replace=False)), np.int64)
    scores = (random.integers(0, 11, (count, 8, 9)) / 10).astype(np.float32)
    return scores, classes, (random.integers(0, 11, (8, 9)) / 10).astype(np.float32)


def _rows(scores: NDArray[np.float32]) -> list[tuple[slice, NDArray[np.float32]]]:
    """Bands of one, two and more rows, as of a large photo."""
    return [(slice(i, j), scores[:, i:j]) for i, j in ((0, 1), (1, 3), (3, scores.shape[1]))]


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("with_saliency", [False, True])
def test_equals_a_loop_over_pixels(number: int, with_saliency: bool) -> None:
    scores, classes, saliency = _random(number)
    for threshold, margin in ((0.3, 0.0), (0.3, 0.15), (0.5, 0.2), (0.1, 0.3)):
        saliency_map = saliency if with_saliency else None
        result = pseudo_mask(
            *(_rows(scores), classes),
            **{"threshold": threshold, "margin": margin, "saliency": saliency_map, "salient": 0.4},
        )
        expected = seed_mask(scores, classes, threshold)
        if with_saliency:
            expected = fuse(scores, classes, saliency, salient=0.4, threshold=threshold)
        for y, x in np.ndindex(*expected.shape):
            best = max(scores[:, y, x], default=None)
            # Halves of a tenth decide: float32 rounding must not.
            if best is None or abs(float(best) - threshold) > margin - 1e-4:
                continue
            if not (with_saliency and expected[y, x] == 0):
                expected[y, x] = 255
        np.testing.assert_array_equal(result.mask, expected)
        assert result.mask.dtype == np.uint8
        assert result.ignored == pytest.approx((expected == 255).mean())
        assert result.coverage == pytest.approx(((expected > 0) & (expected < 255)).mean())


def test_without_margin_and_saliency_it_is_the_seed() -> None:
    scores, classes, _ = _random(3)
    result = pseudo_mask([(slice(None), scores)], classes, threshold=0.3, margin=0.0)
    np.testing.assert_array_equal(result.mask, seed_mask(scores, classes, 0.3))
    assert result.ignored == 0


def test_no_tag_is_certain_background() -> None:
    nothing = np.zeros((0, 2, 3), np.float32), np.zeros(0, np.int64)
    result = pseudo_mask([(slice(None), nothing[0])], nothing[1], threshold=0.1, margin=0.5)
    assert not result.mask.any()
    assert (result.confidence, result.coverage, result.ignored) == (1, 0, 0)


def _confidence_loop(scores, threshold: float) -> float:
    step = min(threshold, 1 - threshold) / 2
    shares = []
    for index in range(len(scores)):
        strict = lenient = 0
        for y, x in np.ndindex(*scores.shape[1:]):
            others = [scores[k, y, x] for k in range(len(scores)) if k != index]
            lead = scores[index, y, x] - max([np.float32(threshold), *others])
            strict += bool(lead > step)
            lenient += bool(lead > -step)
        shares.append(strict / lenient if lenient else 0)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("number", range(8))
def test_confidence_equals_a_loop_over_pixels(number: int) -> None:
    random = np.random.default_rng(number)
    scores = random.random((number % 3 + 1, 6, 7)).astype(np.float32)
    for threshold in (0.05, 0.31, 0.7):
        result = confidence(scores, np.arange(len(scores)), threshold)
        assert result == pytest.approx(_confidence_loop(scores, threshold))


@pytest.mark.parametrize("number", range(10))
def test_clearer_scores_are_never_less_confident(number: int) -> None:
    random = np.random.default_rng(number)
    scores = random.beta(0.7, 1.2, (number % 3 + 1, 20, 20)).astype(np.float32)
    threshold = float(random.uniform(0.1, 0.6))
    # Stays within 0 .. 1, so that nothing is cut off.
    base = threshold + (scores - np.float32(threshold)) * np.float32(0.5)
    stretched = [
        confidence(
            threshold + (base - threshold) * np.float32(by), np.arange(len(scores)), threshold
        )
        for by in (0.25, 0.5, 1.0, 1.5, 2.0)
    ]
    assert stretched == sorted(stretched)
    assert stretched[0] < stretched[-1]


def test_confidence_at_its_ends() -> None:
    one = np.array([2])
    sharp = np.zeros((1, 4, 4), np.float32)
    sharp[0, :2] = 1
    assert confidence(sharp, one, 0.3) == 1
    assert confidence(np.full((1, 4, 4), 0.3, np.float32), one, 0.3) == 0
    # A tagged class that is nowhere: one of two decisions is clear.
    assert confidence(np.concatenate([sharp, 0 * sharp]), np.array([2, 5]), 0.3) == 0.5
    # Two classes that claim the same pixels: none of it is clear.
    assert confidence(np.concatenate([sharp, sharp]), np.array([2, 5]), 0.3) == 0


def test_saliency_that_agrees_with_the_scores_gives_confidence() -> None:
    scores = np.full((1, 4, 4), 0.2, np.float32)
    scores[0, :2] = 1
    sure = [
        pseudo_mask(
            _rows(scores), np.array([2]), threshold=0.2, margin=0.0, saliency=saliency_map
        ).confidence
        for saliency_map in (np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32), scores[0])
    ]
    assert sure == [0, 0.5, 1]


def test_confidence_of_bands_is_that_of_the_photo() -> None:
    scores, classes, _ = _random(3)
    result = pseudo_mask(_rows(scores), classes, threshold=0.3, margin=0.0)
    assert 0 < result.confidence < 1
    assert result.confidence == confidence(scores, classes, 0.3)


def test_a_finished_mask_is_kept() -> None:
    mask = np.array([[0, 3, 255, 3]], np.uint8)
    result = from_mask(mask)
    np.testing.assert_array_equal(result.mask, mask)
    assert (result.coverage, result.ignored) == (0.5, 0.25)
    assert np.isnan(result.confidence)
    assert plain(result.confidence) is None


def test_statistics_by_hand() -> None:
    masks = [
        (np.array([[0, 1, 1, 255]], np.uint8), (0, 1)),
        (np.array([[2], [0]], np.uint8), (1,)),
        (np.array([[0, 255]], np.uint8), (0,)),
    ]
    result = statistics(iter(masks), ["cat", "dog"])
    assert result == {
        "photos": 3,
        "pixels": 8,
        "background": 3 / 8,
        "ignored": 2 / 8,
        "empty": 1,
        "per_class": {
            "cat": {"tagged": 2, "missing": 1, "pixels": 2, "share": 2 / 8},
            "dog": {"tagged": 2, "missing": 1, "pixels": 1, "share": 1 / 8},
        },
    }
    assert json.loads(json.dumps(result)) == result
    assert statistics([], ["cat"])["background"] == 0
    with pytest.raises(ValueError, match="mask value above 1"):
        statistics([(np.array([[2]], np.uint8), (0,))], ["cat"])


def test_confidence_ranks_real_photos_by_their_true_iou(shared) -> None:
    """Saliency stands in for a class's scores: 120 real photos with one tag and real masks."""
    root = shared / "data" / "voc-animals"
    names = (root / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    sure, true = [], []
    for name in names:
        mask = load_mask(root / "SegmentationClassAug" / f"{name}.png")
        values = np.setdiff1d(mask, [0, 255])
        if len(values) != 1:
            continue
        scores = load_saliency(find_saliency(root / "Saliency", name), mask.shape)[None]
        result = pseudo_mask(
            [(slice(None), scores)], values.astype(np.int64) - 1, threshold=0.5, margin=0.0
        )
        valid, front = mask != 255, mask == values[0]
        guess = result.mask == values[0]
        union = ((guess | front) & valid).sum()
        sure.append(result.confidence)
        true.append((guess & front).sum() / union)
        if len(true) == 120:
            break
    ranks = [np.argsort(np.argsort(row)) for row in (sure, true)]
    # By chance the correlation has a deviation of 0.09.
    assert np.corrcoef(*ranks)[0, 1] > 0.3
