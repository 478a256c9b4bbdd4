"""Metrics of score maps at every threshold at once.

Pixels are counted once by top score, its class and true value; the confusion matrix of the seeds at
any threshold is then a cumulative sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import BACKGROUND
from esol.errors import InputError
from esol.metrics.confusion import Metrics, Values, metrics, ratio
from esol.metrics.histogram import Histogram
from esol.system.files import plain


@dataclass(frozen=True)
class Curves:
    """Metrics at each of T thresholds, of the seeds and of each class by itself.

    Attributes:
        thresholds: (T,) ascending.
        seeds: metrics of the seed masks (argmax over tagged classes where the score exceeds the
            threshold), every field with a leading T.
        precision, recall: (T, K) of class k alone: the pixels whose score for k exceeds the
            threshold, whatever other classes score there. Precision is NaN without such pixels,
            recall without a pixel of k in the ground truth.
        average_precision: (K,) area under that curve: sum of precision times gain in recall,
            thresholds falling. Pixels with a score of 0, such as untagged ones, are never retrieved
            and add nothing. NaN for a class without a pixel in the ground truth.
    """

    thresholds: NDArray[np.float64]
    seeds: Metrics
    precision: Values
    recall: Values
    average_precision: Values

    def best(self) -> int:
        """Index of the (lowest) threshold with the highest mIoU.

        It is chosen on the ground truth: say so wherever numbers at this threshold are shown.
        """
        return int(np.nanargmax(self.seeds.miou))

    def index(self, threshold: float) -> int:
        """Position of a threshold.

        Raises:
            ValueError: it was not counted (see ``histogram.thresholds``).
        """
        places = np.flatnonzero(self.thresholds == threshold)
        if not len(places):
            raise ValueError(f"threshold {threshold} was not counted")
        return int(places[0])


def curves(histogram: Histogram) -> Curves:
    """The curves of the counts.

    Raises:
        InputError: no pixel was counted (no ground truth, or all of it 255).
    """
    if not histogram.joint.any():
        raise InputError("the ground truth has no labelled pixel (none but 255); add masks")
    right, wrong = histogram.hits()
    total = histogram.positive.sum(0)
    precision = ratio(right, right + wrong)
    recall = ratio(right, np.broadcast_to(total, right.shape))
    gain = right - np.concatenate([right[1:], np.zeros_like(right[:1])])
    area = (np.nan_to_num(precision) * gain).sum(0)
    return Curves(
        thresholds=np.asarray(histogram.thresholds),
        seeds=metrics(histogram.confusions()),
        precision=precision,
        recall=recall,
        average_precision=ratio(area, total),
    )


def summary(measures: Curves, classes: Sequence[str], fixed: float) -> dict[str, Any]:
    """Plain values for JSON: at the fixed threshold, at the best one, and the curves.

    ``classes`` are the K class names, ``fixed`` is the threshold set beforehand.

    Returns:
        ``{"threshold": fixed, "fixed": {...}, "best_on_ground_truth": {"threshold": t, ...},
        "average_precision": {class: AP}, "mean_average_precision": mAP, "curves": {...}}``.
        ``fixed`` and ``best_on_ground_truth`` have the entries of :func:`table`; ``curves`` has a
        list of T values per mean metric and, under ``per_class``, precision and recall of each
        class. NaN is None.

    Raises:
        ValueError: ``fixed`` was not counted, or the names are not K.
        InputError: a class is called "background".
    """
    best, areas = measures.best(), measures.average_precision
    area_of = dict(zip(classes, areas, strict=True))
    present = areas[~np.isnan(areas)]
    per_class = {
        name: {"precision": measures.precision[:, index], "recall": measures.recall[:, index]}
        for index, name in enumerate(classes)
    }
    at_fixed = table(measures.seeds.at(measures.index(fixed)), classes)
    at_best = table(measures.seeds.at(best), classes)
    means = _means(measures.seeds)
    content = {
        "threshold": fixed,
        "fixed": {"threshold": fixed, **at_fixed},
        "best_on_ground_truth": {"threshold": measures.thresholds[best], **at_best},
        "average_precision": area_of,
        "mean_average_precision": present.mean() if len(present) else float("nan"),
        "curves": {"threshold": measures.thresholds, **means, "per_class": per_class},
    }
    return plain(content)


def table(values: Metrics, classes: Sequence[str]) -> dict[str, Any]:
    """Metrics of one confusion matrix (no leading T) by name; ``classes`` are the K class names.

    Returns:
        ``{"miou", "precision", "recall", "f1", "f1_of_means", "foreground_precision",
        "foreground_recall", "foreground_f1", "per_class": {name: {"iou", "precision", "recall",
        "f1"}}}``; the first entry of ``per_class`` is "background". NaN is None. ``f1_of_means`` is
        what is shown as F1; ``f1`` is the mean of the classes' F1.

    Raises:
        InputError: a class is called "background".
    """
    if BACKGROUND in classes:
        raise InputError(f'no class may be called "{BACKGROUND}"; rename it in the labels')
    keys = ("iou", "precision", "recall", "f1")
    rows = zip(*(getattr(values, key) for key in keys), strict=True)
    per_class = {
        name: dict(zip(keys, row, strict=True))
        for name, row in zip([BACKGROUND, *classes], rows, strict=True)
    }
    return plain({**_means(values), "per_class": per_class})


def never_predicted(entries: Mapping[str, Any]) -> tuple[str, ...]:
    """Classes of a :func:`table` with ground truth but no prediction: mean precision lacks them."""
    rows = entries["per_class"].items()
    return tuple(
        name for name, row in rows if row["precision"] is None and row["recall"] is not None
    )


def _means(values: Metrics) -> dict[str, Values]:
    return {
        "miou": values.miou,
        "precision": values.mean_precision,
        "recall": values.mean_recall,
        # Under this name in all files so far; nothing shows it.
        "f1": values.mean_of_class_f1,
        "f1_of_means": values.f1_of_means,
        "foreground_precision": values.foreground_precision,
        "foreground_recall": values.foreground_recall,
        "foreground_f1": values.foreground_f1,
    }
