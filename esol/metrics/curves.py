"""Metrics of score maps at every threshold at once, and of finished masks.

The top score of a pixel, its class and the true value are counted once (METHOD.md, kernel 4);
the confusion matrix of the seeds at any threshold is then a cumulative sum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.confusion import Counts, Metrics, Values, confusion, fold, metrics, pair_counts, share
from esol.data.images import load_mask
from esol.data.sample import BACKGROUND, IGNORE
from esol.errors import InputError
from esol.histogram import THRESHOLDS, Histogram, thresholds
from esol.system.files import plain

__all__ = [
    "THRESHOLDS",
    "Curves",
    "Histogram",
    "Metrics",
    "confusion",
    "curves",
    "evaluate_masks",
    "metrics",
    "summary",
    "table",
    "thresholds",
]


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
            ValueError: it is not one of those counted (see :func:`esol.histogram.thresholds`).
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
    result: dict[str, Any] = plain(
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
    return result


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
    result: dict[str, Any] = plain(
        {
            **_means(found),
            "per_class": {
                name: dict(zip(keys, row, strict=True))
                for name, row in zip([BACKGROUND, *classes], rows, strict=True)
            },
        }
    )
    return result


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


def evaluate_masks(
    masks: Path,
    truth: Path,
    classes: Sequence[str] | int | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Metrics of a folder of finished masks, as ``esol evaluate MASKS --gt DIR`` prints them.

    Args:
        masks: folder of 8-bit palette or grey PNGs, 0 .. K; 255 (undecided) counts as background.
        truth: folder of ground-truth PNGs of the same names and sizes; 255 is left out.
        classes: names of the classes, or K; None: K is the highest value found in either folder.
        names: relative names without suffix to score; None: every PNG below ``truth``.
            Masks without ground truth are not looked at.

    Returns:
        :func:`table` plus ``"classes"``: K, ``"photos"``: how many, ``"pixels"``: how many took
        part, and ``"coverage"``: the share of these whose prediction is not 255. Without names the
        classes are called "1", "2" ..

    Raises:
        InputError: nothing to score, a file is missing or unreadable, sizes or values do not fit.

    Examples:
        >>> found = evaluate_masks(Path("photos/masks"), Path("photos/masks"))
        >>> found["miou"], found["photos"], found["classes"], found["per_class"]["1"]["recall"]
        (1.0, 24, 6, 1.0)
    """
    listed = _names(truth) if names is None else sorted(set(names))
    if not listed:
        raise InputError(f"{truth}: no ground truth to score (no PNG found); name another folder")
    missing = [name for name in listed if not _file(masks, name).is_file()]
    if missing:
        raise InputError(
            f"{_file(masks, missing[0])}: no such mask ({len(missing)} of {len(listed)} missing); "
            "add it or list the photos to score"
        )
    given = classes if isinstance(classes, int) or classes is None else len(classes)
    pairs = np.zeros((256, 256), np.int64)
    for name in listed:
        pairs += _count(_file(masks, name), _file(truth, name), given)
    found = np.flatnonzero(pairs.sum(0)[:IGNORE] + pairs.sum(1)[:IGNORE])
    count = max(int(found.max(initial=0)), 1) if given is None else given
    called = [str(value + 1) for value in range(count)]
    if classes is not None and not isinstance(classes, int):
        called = list(classes)
    pixels = int(pairs[:IGNORE].sum())
    if not pixels:
        raise InputError(f"{truth}: no labelled pixel (none but {IGNORE}); add ground truth")
    return {
        **table(metrics(fold(pairs, count)), called),
        "classes": count,
        "photos": len(listed),
        "pixels": pixels,
        "coverage": int(pairs[:IGNORE, :IGNORE].sum()) / pixels,
    }


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the folder of the ground truth")
    files = (path.relative_to(folder) for path in folder.rglob("*.png"))
    # Names with a leading dot are other programs' leavings and our own unfinished files.
    return sorted(
        path.with_suffix("").as_posix() for path in files if not path.name.startswith(".")
    )


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def _count(mask: Path, truth: Path, classes: int | None) -> Counts:
    predicted, true = load_mask(mask), load_mask(truth)
    if predicted.shape != true.shape:
        raise InputError(
            f"{mask}: {_size(predicted)} pixels, but its ground truth {truth} has {_size(true)}; "
            "make the mask at the photo's size"
        )
    for path, values in ((mask, predicted), (truth, true)):
        highest = int(values[values != IGNORE].max(initial=0))
        if classes is not None and highest > classes:
            raise InputError(
                f"{path}: value {highest}, but there are {classes} classes; "
                f"use 0 .. {classes} and {IGNORE}"
            )
    return pair_counts(predicted, true)


def _size(mask: NDArray[np.uint8]) -> str:
    return f"{mask.shape[1]} x {mask.shape[0]}"
