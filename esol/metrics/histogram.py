"""Integer counts from which every threshold's metrics follow; one pass over the photos."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import IGNORE
from esol.masks.seeds import check_scores, strongest
from esol.metrics.confusion import Counts

THRESHOLDS = tuple(step / 100 for step in range(101))
"""0.00, 0.01 .. 1.00."""

_CELLS = 1024
"""A power of two, so that a float32 score times it is exact."""

_STRIP = 1 << 15
"""Pixels counted at a time: their arrays fit a cache, and are small enough not to be given back to
the system every time, which takes longer than the counting."""


def thresholds(*fixed: float) -> tuple[float, ...]:
    """0.00, 0.01 .. 1.00 and the fixed ones, ascending, each once."""
    return tuple(sorted({*THRESHOLDS, *fixed}))


@dataclass(eq=False)
class Histogram:
    """Counts over a set of photos, exact at each of the thresholds.

    A score's bin is the number of thresholds below it, 0 .. T: ``score > thresholds[i]`` exactly
    where ``bin > i``, compared in float32 as in :func:`esol.masks.seeds.seed_mask`. Pixels whose
    truth is 255 are left out.

    Attributes:
        classes: K, without background.
        thresholds: T of them, ascending, in 0 .. 1.
        joint: (T+1, K, K+1) pixels by bin of the top score, its class, true value.
        positive: (T+1, K) pixels of class k by the bin of the score of k.
        negative: (T+1, K) the other pixels by the bin of the score of k. In both, the pixels of a
            photo without the tag k score 0 (bin 0), so that missing tags count.
    """

    classes: int
    thresholds: tuple[float, ...] = THRESHOLDS
    joint: Counts = field(init=False, repr=False)
    positive: Counts = field(init=False, repr=False)
    negative: Counts = field(init=False, repr=False)

    def __post_init__(self) -> None:
        edges = self.thresholds
        if not edges or min(edges) < 0 or max(edges) > 1 or list(edges) != sorted(set(edges)):
            raise ValueError(f"thresholds are not ascending numbers in 0 .. 1: {edges}")
        bins = len(edges) + 1
        self.joint = np.zeros((bins, self.classes, self.classes + 1), np.int64)
        self.positive, self.negative = np.zeros((2, bins, self.classes), np.int64)
        self._binner = _Binner(edges)

    def add(
        self,
        scores: NDArray[np.float32],
        classes: Sequence[int] | NDArray[np.integer],
        truth: NDArray[np.uint8],
    ) -> None:
        """Count one photo.

        Args:
            scores: (K', H, W) maps of the tagged classes, 0 .. 1.
            classes: (K',) their indices, 0 .. K-1, strictly increasing; K' may be 0.
            truth: (H, W), 0 background, 1 .. K, 255 ignored.

        Raises:
            ValueError: shapes, order or values are not as above, NaN included.
        """
        tagged = np.asarray(classes, np.intp)
        self._check(scores, tagged, truth)
        size, width = len(self.thresholds) + 1, self.classes + 2
        valid = np.zeros(width, np.int64)
        joint = np.zeros(size * len(tagged) * width, np.int64)
        per_class = np.zeros((len(tagged), size * width), np.int64)
        flat, values = scores.reshape(len(tagged), truth.size), truth.ravel()
        for begin in range(0, values.size, _STRIP):
            part = slice(begin, begin + _STRIP)
            # One more column takes the ignored pixels: cheaper than cutting them out of every map.
            column = values[part].astype(np.intp)
            column[column == IGNORE] = self.classes + 1
            valid += np.bincount(column, minlength=width)
            if len(tagged):
                bins = self._binner(flat[:, part])
                winner = strongest(flat[:, part])[1]
                # Bins grow with the score, so the top score's bin is the top bin.
                code = (bins.max(0) * len(tagged) + winner) * width + column
                joint += np.bincount(code, minlength=joint.size)
                for counts, levels in zip(per_class, bins, strict=True):
                    counts += np.bincount(levels * width + column, minlength=counts.size)
        valid = valid[:-1]
        if len(tagged):
            self.joint[:, tagged] += joint.reshape(size, len(tagged), width)[..., :-1]
        else:
            self.joint[0, 0] += valid
        untagged = np.setdiff1d(np.arange(self.classes), tagged)
        self.positive[0, untagged] += valid[untagged + 1]
        self.negative[0, untagged] += valid.sum() - valid[untagged + 1]
        for index, counts in zip(tagged, per_class.reshape(-1, size, width), strict=True):
            self.positive[:, index] += counts[:, index + 1]
            self.negative[:, index] += counts[:, :-1].sum(1) - counts[:, index + 1]

    def merge(self, other: "Histogram") -> None:
        """Add the counts of other photos.

        Raises:
            ValueError: classes or thresholds differ.
        """
        if (self.classes, self.thresholds) != (other.classes, other.thresholds):
            raise ValueError("histograms of other classes or thresholds cannot be merged")
        self.joint += other.joint
        self.positive += other.positive
        self.negative += other.negative

    def confusions(self) -> Counts:
        """(T, K+1, K+1) confusion matrix of the seeds at each threshold, truth along rows."""
        # A seed has the top class where the top score's bin is above i, and background elsewhere.
        above = _above(self.joint).transpose(0, 2, 1)
        result = np.empty((len(above), self.classes + 1, self.classes + 1), np.int64)
        result[..., 1:] = above
        result[..., 0] = self.joint.sum((0, 1)) - above.sum(-1)
        return result

    def hits(self) -> tuple[Counts, Counts]:
        """Pixels whose score for k exceeds each threshold: (T, K) right and (T, K) wrong."""
        return _above(self.positive), _above(self.negative)

    def _check(
        self, scores: NDArray[np.float32], tagged: NDArray[np.intp], truth: NDArray[np.uint8]
    ) -> None:
        check_scores(scores, tagged)
        if len(tagged) and tagged[-1] >= self.classes:
            raise ValueError(f"class index {tagged[-1]} of {self.classes} classes")
        if truth.shape != scores.shape[1:]:
            raise ValueError(f"truth {truth.shape} and scores {scores.shape[1:]} differ in size")
        if np.any((truth > self.classes) & (truth != IGNORE)):
            raise ValueError(f"a ground-truth value above {self.classes} other than {IGNORE}")
        if np.isnan(scores).any():
            raise ValueError("scores are NaN")


def _above(counts: Counts) -> Counts:
    """(T+1, ...) counts by bin -> (T, ...) how many lie in a bin greater than i."""
    return np.cumsum(counts[:0:-1], axis=0)[::-1]


class _Binner:
    """Counts the thresholds below each score: a table look-up, then exact comparisons.

    Six times as fast as ``np.searchsorted``: the table has the count at the start of the score's
    cell (1/1024 wide), and only the few thresholds within the cell are compared with the score.
    """

    def __init__(self, thresholds: tuple[float, ...]) -> None:
        edges = np.asarray(thresholds, np.float32)
        self.table = np.searchsorted(edges, np.arange(_CELLS + 2, dtype=np.float32) / _CELLS)
        self.edges = np.append(edges, np.float32(np.inf))  # infinity ends every comparison
        self.steps = int(np.diff(self.table).max())  # most thresholds in a cell

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.intp]:
        exact = np.asarray(scores, np.float32)
        bins = self.table[(np.clip(exact, 0, 1) * np.float32(_CELLS)).astype(np.intp)]
        for _ in range(self.steps):
            bins += self.edges[bins] < exact
        return bins
