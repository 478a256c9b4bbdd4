"""One-pass evaluation against loops over thresholds, photos, pixels and classes."""

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esol.errors import InputError
from esol.masks.seeds import seed_mask
from esol.metrics.confusion import Metrics, confusion, metrics
from esol.metrics.curves import Curves, curves, summary, table
from esol.metrics.histogram import Histogram, thresholds
from esol.metrics.interval import DRAWS, miou_interval, times_drawn

Photo = tuple[np.ndarray, list[int], np.ndarray]
EDGES = (0.0, 0.1, 0.155, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0)


def _photos(number: int, classes: int) -> list[Photo]:
    """Photos with ties, 255, classes without tag, tags without pixels, one class nowhere."""
    random = np.random.default_rng(number)
    photos: list[Photo] = []
    for _ in range(int(random.integers(1, 5))):
        size = (int(random.integers(6, 13)), int(random.integers(6, 10)))
        tags = sorted(
            random.choice(
                classes, int(random.integers(0, min(classes, 3) + 1)), replace=False
            ).tolist()
        )
        levels = (random.integers(0, 21, (len(tags), *size)) / 20).astype(np.float32)
        scores = np.where(random.random(levels.shape) < 0.5, levels, random.random(levels.shape))
        truth = random.choice([0, *range(1, classes), 255], size).astype(np.uint8)
        photos.append((scores.astype(np.float32), tags, truth))
    return photos


@pytest.fixture(params=[7, 1 << 15])
def strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pixels counted at a time: fewer than a photo has, and more."""
    monkeypatch.setattr("esol.metrics.histogram._STRIP", request.param)
    return int(request.param)


def _histogram(
    photos: Sequence[Photo], classes: int, edges: tuple[float, ...] = EDGES
) -> Histogram:
    histogram = Histogram(classes, edges)
    for scores, tags, truth in photos:
        histogram.add(scores, tags, truth)
    return histogram


def _slow_confusion(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], classes: int
) -> list[list[int]]:
    rows = [[0] * (classes + 1) for _ in range(classes + 1)]
    for prediction, truth in pairs:
        for predicted, true in zip(
            prediction.ravel().tolist(), truth.ravel().tolist(), strict=True
        ):
            if true != 255:
                rows[true][0 if predicted == 255 else predicted] += 1
    return rows


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _over(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _slow_metrics(rows: list[list[int]]) -> dict[str, list[float] | float]:
    size = len(rows)
    iou, precision, recall, f1 = [], [], [], []
    for index in range(size):
        hits = rows[index][index]
        truth = sum(rows[index])
        predicted = sum(row[index] for row in rows)
        absent = truth == 0
        iou.append(math.nan if absent else hits / (truth + predicted - hits))
        precision.append(math.nan if absent else _over(hits, predicted))
        recall.append(math.nan if absent else hits / truth)
        p, r = precision[-1], recall[-1]
        if absent:
            f1.append(math.nan)
        else:
            f1.append(2 * p * r / (p + r) if p + r > 0 else 0.0)
    front = [
        sum(rows[t][p] for t in range(size) for p in range(size) if (t > 0) is a and (p > 0) is b)
        for a, b in ((True, True), (False, True), (True, False))
    ]
    mean_p, mean_r = _mean(precision), _mean(recall)
    return {
        "iou": iou,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "miou": _mean(iou),
        "mean_precision": mean_p,
        "mean_recall": mean_r,
        "mean_of_class_f1": _mean(f1),
        "f1_of_means": _over(2 * mean_p * mean_r, mean_p + mean_r),
        "foreground_precision": _over(front[0], front[0] + front[1]),
        "foreground_recall": _over(front[0], front[0] + front[2]),
        "foreground_f1": _over(2 * front[0], 2 * front[0] + front[1] + front[2]),
    }


def _same(result: Metrics, expected: dict[str, list[float] | float]) -> None:
    assert {field.name for field in fields(result)} == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(result, name), value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("number", range(10))
def test_every_threshold_equals_finished_seeds(number: int, strip: int) -> None:
    classes = 1 + number % 5
    photos = _photos(number, classes)
    histogram = _histogram(photos, classes)
    tables, result = histogram.confusions(), curves(histogram)
    for index, threshold in enumerate(EDGES):
        pairs = [
            (seed_mask(scores, np.array(tags, np.int64), threshold), truth)
            for scores, tags, truth in photos
        ]
        expected = _slow_confusion(pairs, classes)
        assert tables[index].tolist() == expected
        _same(result.seeds.at(index), _slow_metrics(expected))
        _same(metrics(np.array(expected)), _slow_metrics(expected))
        summed = sum(confusion(mask, truth, classes) for mask, truth in pairs)
        assert np.array_equal(summed, expected)


def _slow_curve(photos: Sequence[Photo], index: int, threshold: float) -> tuple[int, int, int]:
    """Right, wrong and all pixels of one class by its own score; untagged photos score 0."""
    right = wrong = total = 0
    for scores, tags, truth in photos:
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                if truth[y, x] == 255:
                    continue
                score = scores[tags.index(index), y, x] if index in tags else np.float32(0)
                total += int(truth[y, x] == index + 1)
                if score > np.float32(threshold):
                    right += int(truth[y, x] == index + 1)
                    wrong += int(truth[y, x] != index + 1)
    return right, wrong, total


@pytest.mark.parametrize("number", range(4))
def test_precision_recall_curves_equal_a_loop(number: int, strip: int) -> None:
    classes = 4
    photos = _photos(number, classes)
    # Without 1.0, so that something exceeds even the last threshold.
    edges = EDGES[:-2]
    result = curves(_histogram(photos, classes, edges))
    for index in range(classes):
        points = [_slow_curve(photos, index, threshold) for threshold in edges]
        precision = [_over(right, right + wrong) for right, wrong, _ in points]
        recall = [_over(right, total) for right, _, total in points]
        np.testing.assert_allclose(result.precision[:, index], precision, rtol=1e-12)
        np.testing.assert_allclose(result.recall[:, index], recall, rtol=1e-12)
        area, reached = 0.0, 0.0
        for p, r in zip(reversed(precision), reversed(recall), strict=True):
            if not math.isnan(p) and not math.isnan(r):
                area += p * (r - reached)
                reached = r
        expected = math.nan if points[0][2] == 0 else area
        np.testing.assert_allclose(result.average_precision[index], expected, rtol=1e-12)
    # The last class is in no ground truth.
    assert np.isnan(result.average_precision[-1])


@settings(max_examples=25, deadline=None)
@given(number=st.integers(0, 10**6), cut=st.integers(0, 4))
def test_parts_merge_to_the_whole(number: int, cut: int) -> None:
    photos = _photos(number, 5)
    whole, first, second = (_histogram(part, 5) for part in (photos, photos[:cut], photos[cut:]))
    first.merge(second)
    for name in ("joint", "positive", "negative"):
        np.testing.assert_array_equal(getattr(first, name), getattr(whole, name))


@settings(max_examples=25, deadline=None)
@given(
    edges=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40, unique=True),
    scores=st.lists(st.floats(-0.5, 1.5, width=32), min_size=1, max_size=40),
)
def test_bins_are_exact_at_any_threshold(edges: list[float], scores: list[float]) -> None:
    edges = sorted({*map(abs, edges)})
    scores = scores + edges + [float(np.nextafter(np.float32(e), np.float32(2))) for e in edges]
    row = np.array(scores, np.float32)[None, None]
    histogram = Histogram(1, tuple(edges))
    histogram.add(row, [0], np.ones(row.shape[1:], np.uint8))
    counted = histogram.confusions()[:, 1, 1]
    expected = [int((row > np.float32(edge)).sum()) for edge in edges]
    assert counted.tolist() == expected


def test_counts_keep_every_labelled_pixel() -> None:
    photos = _photos(3, 4)
    histogram = _histogram(photos, 4)
    pixels = sum(int((truth != 255).sum()) for _, _, truth in photos)
    assert histogram.joint.sum() == pixels
    assert ((histogram.positive + histogram.negative).sum(0) == pixels).all()


def _small() -> Histogram:
    return Histogram(3, EDGES)


@pytest.mark.parametrize(
    ("scores", "tags", "truth", "message"),
    [
        (np.zeros((1, 2, 2)), [3], np.zeros((2, 2)), "class index 3"),
        (np.zeros((1, 2, 2)), [0], np.zeros((2, 3)), r"truth \(2, 3\) .* differ in size"),
        (np.zeros((2, 2, 2)), [0], np.zeros((2, 2)), "2 classes|1,|scores"),
        (np.zeros((2, 2, 2)), [1, 0], np.zeros((2, 2)), "increasing"),
        (np.zeros((1, 2, 2)), [0], np.full((2, 2), 4), "value above 3"),
        (np.full((1, 2, 2), np.nan), [0], np.zeros((2, 2)), "NaN"),
    ],
)
def test_misfits_are_refused(
    scores: np.ndarray, tags: list[int], truth: np.ndarray, message: str
) -> None:
    histogram = _small()
    with pytest.raises(ValueError, match=message):
        histogram.add(scores.astype(np.float32), tags, truth.astype(np.uint8))
    assert not histogram.joint.any()


@pytest.mark.parametrize("edges", [(), (0.5, 0.5), (0.5, 0.4), (-0.1, 0.5), (0.5, 1.1)])
def test_odd_thresholds_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="thresholds"):
        Histogram(2, edges)


def test_other_histograms_do_not_merge() -> None:
    with pytest.raises(ValueError, match="merged"):
        _small().merge(Histogram(2, EDGES))
    with pytest.raises(ValueError, match="merged"):
        _small().merge(Histogram(3))


def test_no_truth_is_an_error() -> None:
    histogram = _small()
    with pytest.raises(InputError, match="no labelled pixel"):
        curves(histogram)
    histogram.add(np.ones((1, 2, 2), np.float32), [0], np.full((2, 2), 255, np.uint8))
    with pytest.raises(InputError, match="no labelled pixel"):
        curves(histogram)


def test_thresholds_hold_the_fixed_one_once() -> None:
    assert len(thresholds()) == 101
    assert thresholds(0.15) == thresholds()
    assert thresholds(0.155)[15:18] == (0.15, 0.155, 0.16)


def _cats_and_dogs() -> Curves:
    """A cat of two pixels, scored 0.8 and 0.4, and a background pixel scored 0.3; no dog."""
    histogram = Histogram(2, thresholds(0.155))
    scores = np.array([[[0.8, 0.4, 0.3]]], np.float32)
    histogram.add(scores, [0], np.array([[1, 1, 0]], np.uint8))
    return curves(histogram)


def test_summary_by_hand() -> None:
    content = summary(_cats_and_dogs(), ["cat", "dog"], 0.155)
    assert content["threshold"] == 0.155
    fixed, best = content["fixed"], content["best_on_ground_truth"]
    assert fixed["threshold"] == 0.155
    assert fixed["per_class"]["cat"] == {"iou": 2 / 3, "precision": 2 / 3, "recall": 1, "f1": 0.8}
    assert fixed["per_class"]["background"]["iou"] == 0
    assert fixed["per_class"]["dog"] == dict.fromkeys(("iou", "precision", "recall", "f1"))
    assert fixed["miou"] == pytest.approx(1 / 3)
    assert fixed["foreground_recall"] == 1
    # 0.30 as float32 is not above 0.30, so the lowest perfect threshold is 0.30 itself.
    assert best["threshold"] == 0.3
    assert best["miou"] == best["precision"] == best["f1_of_means"] == 1
    assert content["average_precision"] == {"cat": 1, "dog": None}
    assert content["mean_average_precision"] == 1
    assert len(content["curves"]["miou"]) == len(content["curves"]["threshold"]) == 102
    assert content["curves"]["per_class"]["cat"]["recall"][50] == 0.5
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_summary_needs_a_counted_threshold_and_free_names() -> None:
    result = _cats_and_dogs()
    with pytest.raises(ValueError, match="not counted"):
        summary(result, ["cat", "dog"], 0.1234)
    with pytest.raises(ValueError, match="zip"):
        summary(result, ["cat"], 0.15)
    with pytest.raises(InputError, match="background"):
        table(result.seeds.at(0), ["cat", "background"])


def test_f1_of_means_is_not_the_mean_of_class_f1() -> None:
    """The paper's Table 2 prints the former: 41.1 / 90.9 gives 56.6."""
    result = metrics(np.array([[6, 4], [0, 10]]))
    precision, recall = (1 + 10 / 14) / 2, (0.6 + 1) / 2
    assert result.f1_of_means == pytest.approx(2 * precision * recall / (precision + recall))
    assert result.mean_of_class_f1 == pytest.approx((2 * 0.6 / 1.6 + 2 * 10 / 24) / 2)


def test_confusion_counts_undecided_as_background(tmp_path: Path) -> None:
    prediction = np.array([[255, 1, 2, 0]], np.uint8)
    truth = np.array([[1, 1, 255, 0]], np.uint8)
    assert confusion(prediction, truth, 2).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="size"):
        confusion(prediction, truth.T, 2)
    with pytest.raises(ValueError, match="predicted value above 1"):
        confusion(prediction, np.zeros((1, 4), np.uint8), 1)
    with pytest.raises(ValueError, match="ground-truth value above 1"):
        confusion(truth, np.full((1, 4), 2, np.uint8), 1)


def test_the_interval_is_that_of_drawing_photos_with_replacement():
    random = np.random.default_rng(3)
    counts = random.integers(0, 50, (120, 4, 4)) + np.eye(4, dtype=np.int64) * (
        random.integers(0, 300, (120, 1, 1))
    )
    weights = np.stack([times_drawn(f"photo {n}") for n in range(120)])
    assert weights.shape == (120, 1 + DRAWS)
    assert (weights[:, 0] == 1).all()
    assert abs(weights[:, 1:].mean() - 1) < 0.03
    found = np.array(miou_interval(np.einsum("nd,nij->dij", weights, counts)[1:]))
    drawn = [metrics(counts[random.integers(0, 120, 120)].sum(0)).miou for _ in range(3000)]
    expected = np.percentile(drawn, [2.5, 97.5])
    # 200 resamples know the ends of an interval to about a tenth of its width.
    assert np.abs(found - expected).max() < 0.2 * (expected[1] - expected[0])
    assert found[0] < metrics(counts.sum(0)).miou < found[1]


def test_an_interval_without_pixels_is_none():
    assert np.isnan(miou_interval(np.zeros((DRAWS, 3, 3), np.int64))).all()
