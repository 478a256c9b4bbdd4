"""Metrics of folders of finished masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data.images import load_mask
from esol.data.sample import IGNORE
from esol.errors import InputError
from esol.metrics.confusion import Counts, fold, metrics, pair_counts
from esol.metrics.curves import table


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
