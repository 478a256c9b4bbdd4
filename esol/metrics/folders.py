"""Metrics of folders of finished masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esol.data.colours import CLASS_NAMES, find_colours
from esol.data.masks import MaskReader, mask_files
from esol.data.names import composed
from esol.data.reading import read_classes
from esol.data.sample import BACKGROUND, CLASSES, IGNORE
from esol.data.truth import cautions, only_ignored
from esol.errors import InputError
from esol.metrics.confusion import Counts, fold, metrics, pair_counts
from esol.metrics.curves import table
from esol.runs.folder import MANIFEST
from esol.system.read import read_json

INVERTED = 0.6
"""mIoU of masks of one class with 0 and 1 exchanged from which on they are no chance; a fourth of
it, as they are, is no poor network's."""


@dataclass(frozen=True)
class Measured:
    """Metrics of a folder of masks, and what else is said of them to people.

    Attributes:
        metrics: what :func:`evaluate_masks` returns.
        photos_with: K + 1 numbers of photos whose ground truth shows a class, background first.
        ignored: pixels left out, 255 in the ground truth.
        unmeasured: masks without a ground truth, or whose photos were not listed.
    """

    metrics: dict[str, Any]
    photos_with: tuple[int, ...]
    ignored: int
    unmeasured: int


def evaluate_masks(
    masks: Path | str,
    truth: Path | str,
    classes: Sequence[str] | int | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Metrics of a folder of masks, as ``esol evaluate MASKS --gt DIR --json`` prints them.

    Args:
        masks: folder of masks, 0 .. K; 255 (undecided) counts as background. Forms of masks, and
            tables of their colours, are those of docs/data.md.
        truth: folder of ground truth of the same names and sizes; 255 is left out.
        classes: names of the classes, or K; None: K is the highest value found in either folder,
            or the number of classes that are named, where there is a table of colours.
        names: relative names without suffix to score; None: every mask below ``truth``.
            Masks without ground truth are not read.

    Returns:
        :func:`table` plus ``"classes"``: K, ``"photos"`` and ``"pixels"``: how many were scored,
        ``"coverage"``: the share of these pixels whose prediction is not 255, and ``"warnings"``:
        what the numbers cannot say, a sentence each. Without names the classes are called "1", ..;
        with a table of colours they have those of :func:`class_names`.

    Raises:
        InputError: nothing to score (also: all but background is 255), a file is missing or
            unreadable, sizes or values do not fit.

    Examples:
        >>> table = evaluate_masks("photos/masks", "photos/masks")
        >>> table["miou"], table["photos"], table["classes"], table["per_class"]["1"]["recall"]
        (1.0, 24, 6, 1.0)
    """
    return measure_masks(masks, truth, classes, names).metrics


def measure_masks(
    masks: Path | str,
    truth: Path | str,
    classes: Sequence[str] | int | None = None,
    names: Sequence[str] | None = None,
) -> Measured:
    """Measure a folder of masks; arguments and errors of :func:`evaluate_masks`."""
    masks, truth = Path(masks), Path(truth)
    if not truth.is_dir():
        raise InputError(f"{truth}: no such folder; name the folder of the ground truth")
    wanted = {*map(composed, names or ())}
    predictions = mask_files(masks, wanted)
    truths = mask_files(truth, wanted or predictions.keys())
    names = sorted(truths) if names is None else sorted(wanted)
    if not names:
        raise InputError(f"{truth}: no ground truth to score (no PNG found); name another folder")
    missing = [name for name in names if name not in predictions]
    if missing:
        raise InputError(
            f"{masks / missing[0]}.png: no such mask ({len(missing)} of {len(names)} missing); "
            "add it, or list the photos to score (--list FILE)"
        )
    readers = _readers(masks, truth, classes)
    if classes is None and any(reader.table for reader in readers):
        classes = readers[0].known or None
    count = classes if isinstance(classes, int) or classes is None else len(classes)
    pairs, photos_with = np.zeros((256, 256), np.int64), np.zeros(256, np.int64)
    for name in names:
        files = predictions[name], truths.get(name, truth / f"{name}.png")
        counted = _count(files, readers, count)
        pairs += counted
        photos_with += counted.sum(1) > 0
    if count is None:
        values = np.flatnonzero(pairs.sum(0)[:IGNORE] + pairs.sum(1)[:IGNORE])
        count = max(int(values.max(initial=0)), 1)
    if classes is None or isinstance(classes, int):
        classes = [str(value + 1) for value in range(count)]
    pixels = int(pairs[:IGNORE].sum())
    if not pixels:
        raise InputError(f"{truth}: no labelled pixel (none but {IGNORE}); add ground truth")
    if why := only_ignored(_by_value(pairs.sum(1))):
        raise InputError(f"{truth}: {why}")
    counts = fold(pairs, count)
    found = {
        **table(metrics(counts), classes),
        "classes": count,
        "photos": len(names),
        "pixels": pixels,
        "coverage": int(pairs[:IGNORE, :IGNORE].sum()) / pixels,
        "warnings": [
            *(f"{truth}: {line}" for line in cautions(_by_value(pairs.sum(1)))),
            *(f"{masks}: {line}" for line in _doubts(pairs, counts)),
        ],
    }
    return Measured(
        found,
        photos_with=tuple(photos_with[: count + 1].tolist()),
        ignored=int(pairs[IGNORE].sum()),
        unmeasured=len(predictions.keys() - set(names)),
    )


def class_names(masks: Path, truth: Path) -> tuple[tuple[str, ...], Path | None]:
    """Names of the mask values, value 1 first, and the file that has them.

    They are looked for in ``masks`` and in the folder that holds it, in the form in which predict
    (classes.json) and the stages of a run (manifest.json) write them; then in classes.txt in
    ``truth`` and in the folder that holds it. If both folders have a table of colours, its order
    will do. Without any: ``()`` and None.

    Raises:
        InputError: a file that should have the names cannot be read.
    """
    beside = [(folder, name) for name in (CLASSES, MANIFEST) for folder in (masks, masks.parent)]
    for path in (folder / name for folder, name in beside):
        if path.is_file() and (names := _names_in(read_json(path))):
            return names, path
    for path in (folder / CLASS_NAMES for folder in (truth, truth.parent)):
        if path.is_file():
            return read_classes(path), path
    tables = [find_colours(folder, folder.parent) for folder in (truth, masks)]
    if tables[0] and tables[1]:
        named = (name for table in tables if table for name in table.classes)
        return tuple(dict.fromkeys(named)), tables[0].file
    return (), None


def _readers(
    masks: Path, truth: Path, classes: Sequence[str] | int | None
) -> tuple[MaskReader, MaskReader]:
    """Readers of masks and ground truth, for the names of classes that are given or found."""
    mask_table, true_table = (find_colours(folder, folder.parent) for folder in (masks, truth))
    known: tuple[str, ...] = ()
    ordered = True
    if isinstance(classes, Sequence):
        known = tuple(classes)
    elif mask_table or true_table:
        known, file = class_names(masks, truth)
        ordered = true_table is None or file != true_table.file or file.name == CLASS_NAMES
    return MaskReader(known, mask_table, ordered), MaskReader(known, true_table, ordered)


def _names_in(content: Any) -> tuple[str, ...]:
    """Names in the content of classes.json, or of a manifest; none in that of another program."""
    match content:
        case {"identity": {"data": {"classes": [*classes]}}} | {"classes": [*classes]}:
            named = [c["name"] if isinstance(c, dict) and "name" in c else c for c in classes]
            if all(isinstance(name, str) for name in named):
                return tuple(name for name in named if name != BACKGROUND)
    return ()


def _by_value(counts: Counts) -> dict[int, int]:
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _doubts(pairs: Counts, counts: Counts) -> Iterator[str]:
    """Why masks may not be meant so: (256, 256) pixels by value, (K+1, K+1) counts of classes."""
    if only_ignored(_by_value(pairs.sum(0))):
        yield (
            f"all that is not background in the masks is {IGNORE} (undecided), which counts as"
            " background: store 1 for the class (2 for a second one, ..)"
        )
    if len(counts) == 2:
        own, exchanged = (float(metrics(c).miou) for c in (counts, counts[:, ::-1]))
        if exchanged > max(INVERTED, 4 * own):
            yield (
                f"mIoU would be {100 * exchanged:.1f} % instead of {100 * own:.1f} % with 0 and 1"
                " exchanged: these masks or the ground truth are inverted; 1 must be the class"
            )


def _count(
    files: tuple[Path, Path], readers: tuple[MaskReader, MaskReader], classes: int | None
) -> Counts:
    (mask, truth), (read_mask, read_truth) = files, readers
    predicted, true = read_mask(mask), read_truth(truth)
    if predicted.shape != true.shape:
        size, true_size = (f"{image.shape[1]} x {image.shape[0]}" for image in (predicted, true))
        raise InputError(
            f"{mask}: {size} pixels, but its ground truth {truth} has {true_size}; "
            "make the mask at the photo's size"
        )
    for path, values in ((mask, predicted), (truth, true)):
        highest = int(values[values != IGNORE].max(initial=0))
        if classes is not None and highest > classes:
            fault = f"value {highest}, but there are {classes} classes"
            raise InputError(f"{path}: {fault}; use 0 .. {classes} and {IGNORE}")
    return pair_counts(predicted, true)
