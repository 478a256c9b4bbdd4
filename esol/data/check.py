"""Check: what a data set holds and everything that is wrong with it, for ``esol check``."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from esol.data import read_layout
from esol.data.images import image_size, load_image
from esol.data.reading import Entry, Reading, choose_classes, mask_problem
from esol.data.saliency import find_saliency, load_saliency, saliency_folder
from esol.errors import InputError, visible
from esol.settings import Data
from esol.system.progress import track

PERCENTILES = (0, 5, 50, 95, 100)
_FULL_MATRIX = 12
_PAIRS = 15
_LEAST_PHOTOS = 2
_NAMED = 3


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Attributes:
        kind: "folder", "voc" or "coco".
        root: the data folder.
        classes: the K classes in use, mask value 1 first.
        photos: list name -> its number of photos.
        counts: list name -> K numbers of photos with each tag.
        together: K x K numbers of photos, all lists together, that have both tags; on the
            diagonal, those that have the tag.
        longest: percentiles 0, 5, 50, 95, 100 of the photos' longest sides in pixels; empty if
            no photo is readable.
        shortest: the same of their shortest sides.
        mask_set: what the ground truth is, "" without one.
        masks: list name -> its number of photos with a mask.
        problems: one line each, beginning with the file; with any, ``esol check`` exits with 2.
        warnings: what may be intended.
        tag_set: where the tags are from, as far as the layout leaves that open.
    """

    kind: str
    root: Path
    classes: tuple[str, ...]
    photos: Mapping[str, int]
    counts: Mapping[str, tuple[int, ...]]
    together: tuple[tuple[int, ...], ...]
    longest: tuple[int, ...]
    shortest: tuple[int, ...]
    mask_set: str
    masks: Mapping[str, int]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    tag_set: str = ""


@dataclass(frozen=True)
class _Look:
    """What opening one photo, its mask and its saliency map told.

    ``untagged`` classes are in the mask and no tags, ``hidden`` ones the reverse; ``saliency`` is
    the kind of problem and its message.
    """

    size: tuple[int, int] | None
    problems: tuple[str, ...]
    untagged: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    saliency: tuple[str, str] | None = None


def check(root: Path | str, settings: Data, saliency: str = "") -> CheckReport:
    """Read every photo, mask and saliency map of the wanted lists and report all problems.

    Args:
        root: the data folder.
        settings: the lists and classes to look at; ``limit`` is ignored.
        saliency: folder of saliency maps, as ``masks.saliency``; empty: none are looked at.

    Raises:
        InputError: there is nothing to check: no known layout, no such list, an unreadable labels
            file.

    Examples:
        >>> report = check("photos", Data())
        >>> report.photos, report.problems, len(report.classes)
        ({'train': 18}, (), 6)
    """
    reading = read_layout(root, settings)
    # Where every row is wrong there are no classes: the rows' problems are the answer then.
    classes = choose_classes(reading, settings) if reading.known or not reading.problems else ()
    entries = {e.name: e for split in reading.splits.values() for e in split}
    maps, misplaced = _saliency_folder(reading, saliency)
    looks = _look_at_all(reading, list(entries.values()), maps)
    used = (looks[name] for name, entry in entries.items() if set(entry.tags) & set(classes))
    counts = {split: _counts(photos, classes) for split, photos in reading.splits.items()}
    thin_problems, thin_warnings = _thin_classes(reading, settings, classes, counts)
    sizes = np.array([look.size for look in looks.values() if look.size is not None])
    return CheckReport(
        kind=reading.kind,
        root=reading.root,
        classes=classes,
        photos={split: len(photos) for split, photos in reading.splits.items()},
        counts=counts,
        together=_together(list(entries.values()), classes),
        longest=_percentiles(sizes.max(axis=1)) if len(sizes) else (),
        shortest=_percentiles(sizes.min(axis=1)) if len(sizes) else (),
        mask_set=reading.mask_set,
        masks={s: sum(e.mask is not None for e in split) for s, split in reading.splits.items()},
        problems=(
            *misplaced,
            *(f"{path}: photo without tags: list it or move it away" for path in reading.unlisted),
            *(problem for look in looks.values() for problem in look.problems),
            *_saliency_problems(maps, used),
            *thin_problems,
        ),
        warnings=(*thin_warnings, *_warnings(reading, settings, classes, looks)),
        tag_set=reading.tag_set,
    )


def _saliency_folder(reading: Reading, name: str) -> tuple[Path | None, list[str]]:
    """The folder of saliency maps, and the reading's problems with what is wrong about it."""
    problems = list(reading.problems)
    if not name:
        return None, problems
    try:
        folder = saliency_folder(reading.root, name)
    except InputError as error:
        return None, [*problems, str(error)]
    try:
        inside = folder.resolve().relative_to(reading.root.resolve())
    except ValueError:
        return folder, problems
    # Without a labels file every folder is a tag, and its images are photos.
    start = f"{reading.root / inside}{os.sep}"
    others = [problem for problem in problems if not problem.startswith(start)]
    tagged = any(
        str(entry.image).startswith(start) and entry.tags == inside.parts[:1]
        for split in reading.splits.values()
        for entry in split
    )
    if tagged or others != problems:
        others.append(
            f"{folder}: taken for photos of a tag: move the folder out of {reading.root} and give"
            " masks.saliency its path, or begin its name with a dot"
        )
    return folder, others


def _saliency_problems(folder: Path | None, looks: Iterable[_Look]) -> list[str]:
    """The first problems of each kind, and how many there are."""
    kinds: dict[str, list[str]] = {}
    for look in looks:
        if look.saliency:
            kind, message = look.saliency
            kinds.setdefault(kind, []).append(message)
    lines = []
    for kind, messages in kinds.items():
        lines += messages[:_NAMED]
        if len(messages) > _NAMED:
            lines.append(f"{folder}: {len(messages)} saliency maps in all are {kind}")
    return lines


def _look_at_all(reading: Reading, entries: list[Entry], maps: Path | None) -> dict[str, _Look]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = pool.map(partial(_look_at, reading, maps), entries)
        return {
            entry.name: look
            for entry, look in zip(
                entries, track(looks, "check", total=len(entries), unit="photos"), strict=True
            )
        }


def _look_at(reading: Reading, maps: Path | None, entry: Entry) -> _Look:
    look = _photo_and_mask(reading, entry)
    if maps is None or look.size is None:
        return look
    return replace(look, saliency=_saliency_problem(maps, entry.name, look.size))


def _saliency_problem(maps: Path, name: str, size: tuple[int, int]) -> tuple[str, str] | None:
    """Kind and message of what is wrong with a photo's saliency map."""
    try:
        path = find_saliency(maps, name)
    except InputError as error:
        return "missing, or there twice", str(error)
    try:
        load_saliency(path, size)
    except InputError as error:
        try:
            load_saliency(path, image_size(path))
        except InputError:
            return "unreadable, or not grey", str(error)
        return "of another shape than their photos", str(error)
    return None


def _photo_and_mask(reading: Reading, entry: Entry) -> _Look:
    try:
        image = load_image(entry.image)
    except InputError as error:
        return _Look(None, (str(error),))
    size = (image.height, image.width)
    if entry.mask is None or reading.stored is None:
        return _Look(size, ())
    try:
        mask = reading.stored(entry.mask)
    except InputError as error:
        return _Look(size, (str(error),))
    problem = mask_problem(mask, entry.mask, reading.known, size)
    if problem:
        return _Look(size, (problem,))
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    seen = {reading.known[v - 1] for v in values if 0 < v <= len(reading.known)}
    tags = set(entry.tags)
    return _Look(size, (), tuple(sorted(seen - tags)), tuple(sorted(tags - seen)))


def _counts(entries: tuple[Entry, ...], classes: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(sum(name in entry.tags for entry in entries) for name in classes)


def _together(entries: list[Entry], classes: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    tagged = np.array([[name in entry.tags for name in classes] for entry in entries], dtype=int)
    tagged = tagged.reshape(len(entries), len(classes))
    return tuple(tuple(int(n) for n in row) for row in tagged.T @ tagged)


def _percentiles(values: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> tuple[int, ...]:
    return tuple(int(v) for v in np.percentile(values, PERCENTILES, method="nearest"))


def _thin_classes(
    reading: Reading,
    settings: Data,
    classes: tuple[str, ...],
    counts: Mapping[str, tuple[int, ...]],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classes with fewer than two photos to learn from: a problem if the user chose the classes.

    VOC and COCO come with a fixed table of classes, of which a part of the data may lack some.
    """
    if settings.train not in counts:
        return (), ()
    pairs = zip(classes, counts[settings.train], strict=True)
    thin = [f"{name!r} ({n})" for name, n in pairs if n < _LEAST_PHOTOS]
    where = f"{reading.root}: list {settings.train!r}"
    if reading.own_classes or settings.classes:
        need = f"photos: at least {_LEAST_PHOTOS} needed, or leave it out of data.classes"
        return tuple(f"{where}: class {name} has too few {need}" for name in thin), ()
    shown = ", ".join(thin[:5]) + (", ..." if len(thin) > 5 else "")
    return (), ((f"{where}: {len(thin)} classes with too few photos: {shown}",) if thin else ())


def _warnings(
    reading: Reading, settings: Data, classes: tuple[str, ...], looks: Mapping[str, _Look]
) -> list[str]:
    warnings = []
    for split, entries in reading.splits.items():
        without = [e.name for e in entries if not set(e.tags) & set(classes)]
        if without:
            warnings.append(f"list {split!r}: {_some(without)} without a tag: left out of runs")
        no_mask = [e.name for e in entries if e.mask is None]
        if split in settings.evaluate and no_mask:
            warnings.append(f"list {split!r}: {_some(no_mask)} without a mask: not measured")
    unread = sorted(set(reading.available) - set(reading.splits))
    if unread and reading.splits:
        shown = ", ".join(unread[:8]) + (", ..." if len(unread) > 8 else "")
        warnings.append(f"lists not checked: {shown} (name them in data.evaluate)")
    untagged = [name for name, look in looks.items() if look.untagged]
    if untagged:
        warnings.append(f"{_some(untagged)} with a class in the mask that is not a tag")
    hidden = [name for name, look in looks.items() if look.hidden]
    if hidden:
        warnings.append(f"{_some(hidden)} with a tag that is not in the mask")
    return warnings


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} photo{'s' if len(names) != 1 else ''} ({shown})"


def render(report: CheckReport) -> RenderableType:
    """The report for people, to be printed by a rich console."""
    masks = ", ".join(f"{split} {n}" for split, n in report.masks.items())
    sides = [
        _text(
            f"{label} side, pixels: "
            + " / ".join(map(str, values))
            + " (min, 5 %, half, 95 %, max)"
        )
        for label, values in (("longest", report.longest), ("shortest", report.shortest))
        if values
    ]
    return Group(
        _text(f"{report.root}: {report.kind} layout, {len(report.classes)} classes"),
        *((_text(f"tags: {report.tag_set}"),) if report.tag_set else ()),
        _class_table(report),
        *sides,
        _text(f"masks: {report.mask_set or 'none'}" + (f" ({masks})" if report.mask_set else "")),
        _together_table(report),
        *(_text(f"warning: {line}", style="yellow") for line in report.warnings),
        *(_text(f"problem: {line}", style="red") for line in report.problems),
        _text(f"problems: {len(report.problems)}, warnings: {len(report.warnings)}"),
    )


def _class_table(report: CheckReport) -> Table:
    table = _table("mask value", "class", *report.photos)
    for k, name in enumerate(report.classes):
        numbers = (str(report.counts[split][k]) for split in report.photos)
        table.add_row(str(k + 1), _text(name), *numbers)
    table.add_section()
    table.add_row("", "photos", *(str(n) for n in report.photos.values()))
    return table


def _together_table(report: CheckReport) -> Table:
    """The matrix of a few classes; of many, the pairs met most often."""
    if len(report.classes) <= _FULL_MATRIX:
        table = _table("tagged together", *report.classes)
        for name, row in zip(report.classes, report.together, strict=True):
            table.add_row(_text(name), *map(str, row))
        return table
    table = _table("tagged together", "", "photos")
    size = range(len(report.classes))
    pairs = sorted(
        ((report.together[i][j], i, j) for i in size for j in size if i < j), reverse=True
    )
    for number, i, j in pairs[:_PAIRS]:
        if number:
            table.add_row(_text(report.classes[i]), _text(report.classes[j]), str(number))
    return table


def _table(*headers: str) -> Table:
    table = Table()
    for header in headers:
        table.add_column(_text(header))
    return table


def _text(words: str, style: str = "") -> Text:
    """As Text, because names in square brackets would be taken for markup."""
    return Text(visible(words), style)
