"""Confusion matrices and the metrics that follow from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import IGNORE

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Metrics of one confusion matrix, or of a stack of T: then each field has a leading T.

    All are ratios in 0 .. 1 over the pixels of the whole set, never means of per-photo values.
    A class without a pixel in the ground truth is absent: its values are NaN, and no mean counts it
    (pixels wrongly given to it still cost the classes they belong to). The background is a class.

    Attributes:
        iou: (K+1,) hits / (truth + prediction - hits).
        precision: (K+1,) hits / prediction; NaN also where nothing was predicted.
        recall: (K+1,) hits / truth.
        f1: (K+1,) 2 P R / (P + R) = 2 hits / (truth + prediction); 0 where nothing was predicted.
        miou, mean_precision, mean_recall: () means over the classes that are not NaN.
        f1_of_means: () harmonic mean of mean_precision and mean_recall, as in the paper's Table 2.
            Wherever the F1 of several classes is shown, it is this one.
        mean_of_class_f1: () mean of f1; kept in files, never shown as F1.
        foreground_precision, foreground_recall, foreground_f1: () all classes as one, against
            the background; which class was predicted does not matter.
    """

    iou: Values
    precision: Values
    recall: Values
    f1: Values
    miou: Values
    mean_precision: Values
    mean_recall: Values
    f1_of_means: Values
    mean_of_class_f1: Values
    foreground_precision: Values
    foreground_recall: Values
    foreground_f1: Values

    def at(self, index: int) -> "Metrics":
        """Metrics of one matrix of the stack."""
        return Metrics(**{name: values[index] for name, values in vars(self).items()})


def confusion(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> Counts:
    """Count the pixels of one photo by true and predicted value.

    Args:
        prediction: (H, W) mask, 0 .. K; 255 (undecided) counts as background.
        truth: (H, W) mask, 0 .. K; 255 is left out.
        classes: K, without background.

    Returns:
        (K+1, K+1) counts, truth along rows and prediction along columns.

    Raises:
        ValueError: shapes differ, or a mask has a value between K and 255.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in size")
    return fold(pair_counts(prediction, truth), classes)


def pair_counts(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Counts:
    """(256, 256) pixels of two (H, W) masks by true and predicted value."""
    pairs = truth.ravel().astype(np.intp) * 256 + prediction.ravel()
    return np.bincount(pairs, minlength=256 * 256).reshape(256, 256).astype(np.int64)


def fold(table: Counts, classes: int) -> Counts:
    """(256, 256) counts of raw mask values -> (K+1, K+1); returns and raises as ``confusion``."""
    if np.any(table[classes + 1 : IGNORE]):
        raise ValueError(f"a ground-truth value above {classes} other than {IGNORE}")
    scored = table[: classes + 1]
    if np.any(scored[:, classes + 1 : IGNORE]):
        raise ValueError(f"a predicted value above {classes} other than {IGNORE}")
    result = scored[:, : classes + 1].copy()
    result[:, 0] += scored[:, IGNORE]
    return result


def metrics(table: Counts) -> Metrics:
    """All metrics of (K+1, K+1) or (T, K+1, K+1) counts (truth along rows)."""
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    truth, prediction = table.sum(-1), table.sum(-2)
    present = truth > 0
    iou = ratio(hits, truth + prediction - hits, present)
    precision = ratio(hits, prediction, present)
    recall = ratio(hits, truth, present)
    f1 = ratio(2 * hits, truth + prediction, present)
    mean_precision, mean_recall = _mean(precision), _mean(recall)
    front_hits = table[..., 1:, 1:].sum((-2, -1))
    front_truth, front_prediction = truth[..., 1:].sum(-1), prediction[..., 1:].sum(-1)
    return Metrics(
        iou=iou,
        precision=precision,
        recall=recall,
        f1=f1,
        miou=_mean(iou),
        mean_precision=mean_precision,
        mean_recall=mean_recall,
        f1_of_means=ratio(2 * mean_precision * mean_recall, mean_precision + mean_recall),
        mean_of_class_f1=_mean(f1),
        foreground_precision=ratio(front_hits, front_prediction),
        foreground_recall=ratio(front_hits, front_truth),
        foreground_f1=ratio(2 * front_hits, front_truth + front_prediction),
    )


def ratio(
    part: NDArray[np.number], whole: NDArray[np.number], where: NDArray[np.bool_] | bool = True
) -> Values:
    """``part / whole``, NaN where ``whole`` is 0 or ``where`` is false; shapes must be equal."""
    result = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=result, where=(whole > 0) & where)
    return result


def _mean(values: Values) -> Values:
    valid = ~np.isnan(values)
    return ratio(np.where(valid, values, 0).sum(-1), valid.sum(-1))
