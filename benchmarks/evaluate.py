"""Metrics at 101 thresholds: one pass against one confusion matrix per threshold.

    python benchmarks/evaluate.py

The reference is IRN's evaluation at each threshold: a plane of that height is put before the
tagged classes' maps, argmax, look-up of the classes, one count of (truth, prediction) pairs.
The second row is the same sweep with our own faster mask and confusion functions.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from common import Report, alternate, parser_of, within
from numpy.typing import NDArray

from esol.masks.seeds import seed_mask
from esol.metrics.confusion import Counts, confusion
from esol.metrics.histogram import THRESHOLDS, Histogram

Photo = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]

CLASSES, TAGS = 20, 2


def main() -> None:
    options = parser_of(__doc__).parse_args()
    report = Report("evaluate", options)
    torch.set_num_threads(1)  # everything here is NumPy
    size, count = ((40, 50), 2) if options.quick else ((375, 500), 4)
    given = photos(count, size)
    fast = one_pass(given)
    report.ours_ran()
    pixels = count * size[0] * size[1]
    rows = []
    for name, other in (("as IRN", padded), ("own functions", seeded)):
        error = within(int(np.abs(fast - sweep(given, other)).max()), 0, name)
        taken = alternate(
            lambda other=other: sweep(given, other), lambda: one_pass(given), options.repeats
        )
        case = f"{count} photos {size[1]} x {size[0]}, {TAGS} tags of {CLASSES}, {name}"
        # Read every score and every true value once.
        rows.append(report.add(case, taken, error, byte=pixels * (4 * TAGS + 1)))
    report.finish(rows[0])


def photos(count: int, size: tuple[int, int]) -> list[Photo]:
    """Photos with two tagged classes, maps smooth as bilinear ones are."""
    random = np.random.default_rng(0)
    result: list[Photo] = []
    for _ in range(count):
        tags = np.sort(random.choice(CLASSES, TAGS, replace=False))
        coarse = torch.from_numpy(random.random((1, TAGS, 20, 27), np.float32))
        scores = torch.nn.functional.interpolate(coarse, size, mode="bilinear")[0].numpy()
        truth = random.choice([0, *(tags + 1), 255], size, p=[0.6, 0.2, 0.15, 0.05])
        result.append((scores, tags, truth.astype(np.uint8)))
    return result


def one_pass(given: Sequence[Photo]) -> Counts:
    """Ours: (T, K+1, K+1) confusion matrices from one histogram, and each class's own curve."""
    histogram = Histogram(CLASSES)
    for scores, tags, truth in given:
        histogram.add(scores, tags, truth)
    return histogram.confusions()


def sweep(given: Sequence[Photo], one: Callable[[Photo, float], Counts]) -> Counts:
    """A mask and a confusion matrix per photo and threshold."""
    return np.stack([sum(one(photo, threshold) for photo in given) for threshold in THRESHOLDS])


def padded(photo: Photo, threshold: float) -> Counts:
    """IRN's way."""
    scores, tags, truth = photo
    planes = np.pad(scores, ((1, 0), (0, 0), (0, 0)), constant_values=threshold)
    names = np.pad(tags + 1, (1, 0))
    mask = names[np.argmax(planes, axis=0)]
    known = truth != 255
    pairs = truth[known].astype(np.int64) * (CLASSES + 1) + mask[known]
    return np.bincount(pairs, minlength=(CLASSES + 1) ** 2).reshape(CLASSES + 1, CLASSES + 1)


def seeded(photo: Photo, threshold: float) -> Counts:
    """With the functions that we would use, were there no histogram."""
    scores, tags, truth = photo
    return confusion(seed_mask(scores, tags, threshold), truth, CLASSES)


if __name__ == "__main__":
    main()
