"""Metrics of score maps at every threshold at once.

The top score of a pixel, its class and the true value are counted once; the confusion matrix of the
seeds at any threshold is then a cumulative sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import BACKGROUND
from esol.errors import InputError
from esol.metrics.confusion import (
    Metrics,
    Values,
    metrics,
    share,
)
from esol.metrics.histogram import Histogram
from esol.system.files import plain


@dataclass(frozen=True)
class Curves:
    """Metrics at each of T thresholds, and each class by itself.

    Attributes:
        thresholds: (T,) ascending.
        seeds: metrics of the seed masks (argmax over tagged classes where the score exceeds the
            threshold), every field with a leading T.
        precision, recall: (T, K) of class k alone: the pixels whose score for k exceeds the
            threshold, whatever other classes score there. Precision is NaN where there are none,
            recall where the ground truth has no pixel of k.
        average_precision: (K,) area under that curve: sum of precision times gain in recall,
            thresholds falling. Pixels with a score of 0, untagged ones among them, are never
            retrieved and add nothing. NaN for a class without a pixel in the ground truth.
    """

    thresholds: NDArray[np.float64]
    seeds: Metrics
    precision: Values
    recall: Values
    average_precision: Values

    def best(self) -> int:
        """Index of the threshold with the highest mIoU (the lowest such threshold).

        It is chosen on the ground truth: name it so wherever a number read there is shown.
        """
        return int(np.nanargmax(self.seeds.miou))

    def index(self, threshold: float) -> int:
        """Position of a threshold.

        Raises:
            ValueError: it is not one of those counted (see ``histogram.thresholds``).
        """
        places = np.flatnonzero(self.thresholds == threshold)
        if not len(places):
            raise ValueError(f"threshold {threshold} was not counted")
        return int(places[0])


def curves(histogram: Histogram) -> Curves:
    """Everything the counts tell.

    Raises:
        InputError: no pixel was counted (no ground truth, or all of it 255).
    """
    if not histogram.joint.any():
        raise InputError("the ground truth has no labelled pixel (none but 255); add masks")
    right, wrong = histogram.hits()
    total = histogram.positive.sum(0)
    precision = share(right, right + wrong)
    recall = share(right, np.broadcast_to(total, right.shape))
    gain = right - np.concatenate([right[1:], np.zeros_like(right[:1])])
    area = (np.nan_to_num(precision) * gain).sum(0)
    return Curves(
        thresholds=np.asarray(histogram.thresholds),
        seeds=metrics(histogram.confusions()),
        precision=precision,
        recall=recall,
        average_precision=share(area, total),
    )


def summary(found: Curves, classes: Sequence[str], fixed: float) -> dict[str, Any]:
    """Plain values for JSON: at the fixed threshold, at the best one, and the curves.

    Args:
        found: from :func:`curves`.
        classes: names of the K classes.
        fixed: the threshold set beforehand; must be one of those counted.

    Returns:
        ``{"threshold": fixed, "fixed": {...}, "best_on_ground_truth": {"threshold": t, ...},
        "average_precision": {class: AP}, "mean_average_precision": mAP, "curves": {...}}``. The
        two middle ones are :func:`table` with their threshold; ``curves`` has one list of T values
        per mean metric and, under ``per_class``, precision and recall of each class. NaN is None.

    Raises:
        ValueError: ``fixed`` was not counted, or the names are not K.
        InputError: a class is called "background".
    """
    chosen = found.best()
    area = dict(zip(classes, found.average_precision, strict=True))
    known = found.average_precision[~np.isnan(found.average_precision)]
    lines: dict[str, Any] = {"threshold": found.thresholds, **_means(found.seeds)}
    lines["per_class"] = {
        name: {"precision": found.precision[:, place], "recall": found.recall[:, place]}
        for place, name in enumerate(classes)
    }
    return plain(
        {
            "threshold": fixed,
            "fixed": {
                "threshold": fixed,
                **table(found.seeds.at(found.index(fixed)), classes),
            },
            "best_on_ground_truth": {
                "threshold": found.thresholds[chosen],
                **table(found.seeds.at(chosen), classes),
            },
            "average_precision": area,
            "mean_average_precision": known.mean() if len(known) else float("nan"),
            "curves": lines,
        }
    )


def table(found: Metrics, classes: Sequence[str]) -> dict[str, Any]:
    """Metrics of one confusion matrix under their names.

    Args:
        found: without a leading T.
        classes: names of the K classes.

    Returns:
        ``{"miou", "precision", "recall", "f1", "f1_of_means", "foreground_precision",
        "foreground_recall", "foreground_f1", "per_class": {name: {"iou", "precision", "recall",
        "f1"}}}``; the first entry of ``per_class`` is "background". NaN is None.

    Raises:
        InputError: a class is called "background".
    """
    if BACKGROUND in classes:
        raise InputError(f'no class may be called "{BACKGROUND}"; rename it in the labels')
    rows = zip(found.iou, found.precision, found.recall, found.f1, strict=True)
    keys = ("iou", "precision", "recall", "f1")
    return plain(
        {
            **_means(found),
            "per_class": {
                name: dict(zip(keys, row, strict=True))
                for name, row in zip([BACKGROUND, *classes], rows, strict=True)
            },
        }
    )


def never_predicted(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Classes that the ground truth has and the masks nowhere: the mean precision is without them.

    Args:
        found: from :func:`table`.
    """
    rows = found["per_class"].items()
    return tuple(
        name for name, row in rows if row["precision"] is None and row["recall"] is not None
    )


def _means(found: Metrics) -> dict[str, Values]:
    return {
        "miou": found.miou,
        "precision": found.mean_precision,
        "recall": found.mean_recall,
        "f1": found.mean_f1,
        "f1_of_means": found.f1_of_means,
        "foreground_precision": found.foreground_precision,
        "foreground_recall": found.foreground_recall,
        "foreground_f1": found.foreground_f1,
    }
