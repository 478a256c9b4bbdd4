"""Speed of the threshold curve: one pass against one confusion matrix per threshold.

The reference makes the mask and the confusion matrix anew at each of 101 thresholds, the way
SEAM, PuzzleCAM and AdvCAM sweep. Run: ``python benchmarks/evaluate.py``.
"""

import json
import time
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from esol.confusion import Counts, confusion, metrics
from esol.evaluate import curves
from esol.histogram import THRESHOLDS, Histogram
from esol.seeds import seed

Photo = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]

CLASSES, PHOTOS, SIZE, TAGS, REPEATS = 20, 4, (300, 400), 2, 5


def photos() -> list[Photo]:
    """Photos of 300 x 400 pixels with two tagged classes, maps smooth as bilinear ones are."""
    random = np.random.default_rng(0)
    result: list[Photo] = []
    for _ in range(PHOTOS):
        tags = np.sort(random.choice(CLASSES, TAGS, replace=False))
        coarse = torch.from_numpy(random.random((1, TAGS, 20, 27), np.float32))
        scores = torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear")[0].numpy()
        truth = random.choice([0, *(tags + 1), 255], SIZE, p=[0.6, 0.2, 0.15, 0.05])
        result.append((scores, tags, truth.astype(np.uint8)))
    return result


def one_pass(given: Sequence[Photo]) -> Counts:
    """Ours: (T, K+1, K+1) confusion matrices from one histogram."""
    histogram = Histogram(CLASSES)
    for scores, tags, truth in given:
        histogram.add(scores, tags, truth)
    return histogram.confusions()


def sweep(given: Sequence[Photo]) -> Counts:
    """The reference: a mask and a confusion matrix per photo and threshold."""
    result = np.zeros((len(THRESHOLDS), CLASSES + 1, CLASSES + 1), np.int64)
    for scores, tags, truth in given:
        for index, threshold in enumerate(THRESHOLDS):
            result[index] += confusion(seed(scores, tags, threshold), truth, CLASSES)
    return result


def seconds(work: Callable[[Sequence[Photo]], Counts], given: Sequence[Photo], times: int) -> float:
    """Median time per photo."""
    work(given)
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work(given)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) / len(given)


def main() -> None:
    """Check equality, then print a table and one line of JSON."""
    given = photos()
    fast, slow = one_pass(given), sweep(given)
    error = int(np.abs(fast - slow).max())
    if error:
        raise SystemExit(f"confusion matrices differ by up to {error} pixels")
    tracemalloc.start()
    one_pass(given)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    ours, theirs = seconds(one_pass, given, REPEATS), seconds(sweep, given, 3)
    histogram = Histogram(CLASSES)
    for photo in given:
        histogram.add(*photo)
    start = time.perf_counter()
    curves(histogram)
    final = time.perf_counter() - start
    best = metrics(slow).miou.max()
    print(f"{PHOTOS} photos, {SIZE[1]} x {SIZE[0]}, {TAGS} tags of {CLASSES} classes, ", end="")
    print(f"{len(THRESHOLDS)} thresholds (best mIoU {best:.3f} both ways)")
    print(f"{'one pass':28}{ours * 1e3:9.1f} ms a photo")
    print(f"{'one matrix per threshold':28}{theirs * 1e3:9.1f} ms a photo")
    print(f"{'all metrics at the end':28}{final * 1e3:9.1f} ms a set")
    line = {"name": "evaluate", "ratio": theirs / ours, "max_error": error, "peak_mb": peak}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
