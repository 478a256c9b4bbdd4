"""Check: what a data set holds and everything that is wrong with it, for ``esol check``."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from esol.data import read_layout
from esol.data.balance import tag_warnings
from esol.data.doubles import double_warnings
from esol.data.images import image_size, load_image
from esol.data.reading import Entry, Reading, choose_classes, mask_problem
from esol.data.saliency import find_saliency, load_saliency, saliency_folder
from esol.data.selection import is_negative, some, untagged_problems
from esol.data.truth import Shown, against_tags, cautions, only_ignored, shown, total_pixels
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
    """Contents and problems of a data set.

    Attributes:
        kind: "folder", "voc" or "coco".
        root: the data folder.
        classes: the K classes in use, mask value 1 first.
        photos: list name -> its number of photos.
        counts: list name -> K numbers of photos with each tag.
        together: K x K numbers of photos with both tags, in all lists; on the diagonal, one tag.
        longest: percentiles 0, 5, 50, 95, 100 of the photos' longest sides, pixels, if any.
        shortest: the same of the shortest sides.
        mask_set: what the ground truth is, "" without one.
        masks: list name -> its number of photos with a mask.
        problems: one line each, beginning with the file; with any, ``esol check`` exits with 2.
        warnings: findings that may be intentional.
        tag_set: source of the tags, "" if the layout fixes it.
        untagged: what becomes of photos without a tag, and how many each list has.
        networks: what the networks of a run are, "" if they were not tried.
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
    untagged: str = ""
    networks: str = ""


@dataclass(frozen=True)
class _Photo:
    """Size of a photo, and what is wrong with it, its mask and its saliency map.

    ``shown`` is what a sound mask shows; ``saliency`` the kind of problem and its message.
    """

    size: tuple[int, int] | None
    problem: str = ""
    shown: Shown | None = None
    saliency: tuple[str, str] | None = None


def check(root: Path | str, settings: Data, saliency: Path | str = "") -> CheckReport:
    """Read every photo, mask and saliency map of the wanted lists and report all problems.

    Args:
        root: the data folder.
        settings: the lists and classes to check; ``limit`` is ignored.
        saliency: folder of saliency maps, as ``masks.saliency``; empty: none are read.

    Raises:
        InputError: nothing can be checked: no known layout, no such list, unreadable labels.

    Examples:
        >>> report = check("photos", Data())
        >>> report.photos, report.problems, len(report.classes)
        ({'train': 18}, (), 6)
    """
    reading = read_layout(root, settings)
    # If every row is wrong there are no classes: the rows' problems are the answer.
    classes = choose_classes(reading, settings) if reading.known or not reading.problems else ()
    entries = {e.name: e for split in reading.splits.values() for e in split}
    maps, misplaced = _saliency_folder(reading, str(saliency))
    photos = _read_photos(reading, list(entries.values()), maps)
    used = (photos[name] for name, entry in entries.items() if set(entry.tags) & set(classes))
    counts = {
        split: tuple(sum(name in entry.tags for entry in members) for name in classes)
        for split, members in reading.splits.items()
    }
    truth_problems, truth_warnings = _truth_findings(reading, photos)
    tags = [[name in entry.tags for name in classes] for entry in entries.values()]
    tagged = np.array(tags, dtype=int).reshape(len(entries), len(classes))
    sizes = np.array([photo.size for photo in photos.values() if photo.size is not None])
    return CheckReport(
        kind=reading.kind,
        root=reading.root,
        classes=classes,
        photos={split: len(members) for split, members in reading.splits.items()},
        counts=counts,
        together=tuple(map(tuple, (tagged.T @ tagged).tolist())),
        longest=_percentiles(sizes.max(axis=1)) if len(sizes) else (),
        shortest=_percentiles(sizes.min(axis=1)) if len(sizes) else (),
        mask_set=reading.mask_set,
        masks={s: sum(e.mask is not None for e in split) for s, split in reading.splits.items()},
        problems=(
            *misplaced,
            *(f"{path}: photo without tags: list it or move it away" for path in reading.unlisted),
            *(photo.problem for photo in photos.values() if photo.problem),
            *_saliency_problems(maps, used),
            *untagged_problems(reading, settings, classes),
            *_rare_classes(reading, settings, classes, counts),
            *truth_problems,
        ),
        warnings=(
            *reading.warnings,
            *_tag_warnings(reading, settings, classes),
            *_warnings(reading, settings, classes, photos),
            *truth_warnings,
        ),
        tag_set=reading.tag_set,
        untagged=_untagged(reading, settings, classes),
    )


def _saliency_folder(reading: Reading, name: str) -> tuple[Path | None, list[str]]:
    """The folder of saliency maps; the reading's problems, with those of the folder."""
    problems = list(reading.problems)
    if not name:
        return None, problems
    try:
        folder = saliency_folder(reading.root, name)
    except InputError as error:
        return None, [*problems, str(error)]
    root, place = reading.root.resolve(), folder.resolve()
    if not place.is_relative_to(root):
        return folder, problems
    # Without a labels file every folder is a tag, and its images are photos.
    inside = place.relative_to(root)
    start = f"{reading.root / inside}{os.sep}"
    others = [problem for problem in problems if not problem.startswith(start)]
    entries = (entry for split in reading.splits.values() for entry in split)
    photos = (entry for entry in entries if str(entry.image).startswith(start))
    if any(entry.tags == inside.parts[:1] for entry in photos) or others != problems:
        others.append(
            f"{folder}: taken for photos of a tag: move the folder out of {reading.root} and give"
            " masks.saliency its path, or begin its name with a dot"
        )
    return folder, others


def _saliency_problems(folder: Path | None, photos: Iterable[_Photo]) -> list[str]:
    """The first problems of each kind, and how many there are."""
    kinds: dict[str, list[str]] = {}
    for kind, message in (photo.saliency for photo in photos if photo.saliency):
        kinds.setdefault(kind, []).append(message)
    lines = []
    for kind, messages in kinds.items():
        lines += messages[:_NAMED]
        if len(messages) > _NAMED:
            lines.append(f"{folder}: {len(messages)} saliency maps in all are {kind}")
    return lines


def _read_photos(reading: Reading, entries: list[Entry], maps: Path | None) -> dict[str, _Photo]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        photos = pool.map(partial(_read_photo, reading, maps), entries)
        photos = track(photos, "check", total=len(entries), unit="photos")
        return {entry.name: photo for entry, photo in zip(entries, photos, strict=True)}


def _read_photo(reading: Reading, maps: Path | None, entry: Entry) -> _Photo:
    photo = _photo_and_mask(reading, entry)
    if maps is None or photo.size is None:
        return photo
    return replace(photo, saliency=_saliency_problem(maps, entry.name, photo.size))


def _saliency_problem(maps: Path, name: str, size: tuple[int, int]) -> tuple[str, str] | None:
    """Kind and message of what is wrong with a photo's saliency map."""
    try:
        path = find_saliency(maps, name)
    except InputError as error:
        return "missing, or given twice", str(error)
    try:
        load_saliency(path, size)
    except InputError as error:
        try:
            load_saliency(path, image_size(path))
        except InputError:
            return "unreadable, or not grey", str(error)
        return "of another shape than their photos", str(error)
    return None


def _photo_and_mask(reading: Reading, entry: Entry) -> _Photo:
    size = None
    try:
        image = load_image(entry.image)
        size = (image.height, image.width)
        if entry.mask is None or reading.stored is None:
            return _Photo(size)
        mask = reading.stored(entry.mask)
    except InputError as error:
        return _Photo(size, str(error))
    if problem := mask_problem(mask, entry.mask, reading.known, size):
        return _Photo(size, problem)
    return _Photo(size, shown=shown(mask, entry.mask, entry.tags, reading.known))


def _percentiles(values: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(v) for v in np.percentile(values, PERCENTILES, method="nearest"))


def _rare_classes(
    reading: Reading,
    settings: Data,
    classes: tuple[str, ...],
    counts: Mapping[str, tuple[int, ...]],
) -> tuple[str, ...]:
    """Classes of the user's choice with fewer than two photos to learn from.

    VOC and COCO have a fixed table of classes, of which a part of the data may lack some.
    """
    if settings.train not in counts or not _are_chosen(reading, settings):
        return ()
    pairs = zip(classes, counts[settings.train], strict=True)
    rare = [f"{name!r} ({n})" for name, n in pairs if n < _LEAST_PHOTOS]
    where = f"{reading.root}: list {settings.train!r}"
    need = f"photos: at least {_LEAST_PHOTOS} needed, or leave it out of data.classes"
    return tuple(f"{where}: class {name} has too few {need}" for name in rare)


def _are_chosen(reading: Reading, settings: Data) -> bool:
    """Whether the user chose the classes."""
    return reading.own_classes or bool(settings.classes)


def _tag_warnings(reading: Reading, settings: Data, classes: tuple[str, ...]) -> list[str]:
    """Warnings about the photos that a run would learn from."""
    number = {name: k for k, name in enumerate(classes)}
    photos = []
    for entry in reading.splits.get(settings.train, ()):
        tags = {number[tag] for tag in entry.tags if tag in number}
        if tags or is_negative(entry, settings, classes):
            photos.append(tags)
    least = _LEAST_PHOTOS if _are_chosen(reading, settings) else 0
    return tag_warnings(settings.train, photos, classes, least=least)


def _untagged(reading: Reading, settings: Data, classes: tuple[str, ...]) -> str:
    """What becomes of photos without a tag: "negative (train 120, val 0)"."""
    without = {
        split: [entry for entry in entries if not set(entry.tags) & set(classes)]
        for split, entries in reading.splits.items()
    }
    numbers = ", ".join(f"{split} {len(entries)}" for split, entries in without.items())
    choice = "negative" if settings.untagged == "auto" else settings.untagged
    left_out = sum(not e.finished for entries in without.values() for e in entries)
    if settings.untagged == "auto" and left_out:
        return f"{choice} ({numbers}), but {left_out} left out: not said to be finished"
    return f"{choice} ({numbers})"


def _warnings(
    reading: Reading, settings: Data, classes: tuple[str, ...], photos: Mapping[str, _Photo]
) -> list[str]:
    warnings = []
    # Without any mask nobody expects numbers, and the report says "masks: none".
    any_mask = any(e.mask is not None for entries in reading.splits.values() for e in entries)
    for split, entries in reading.splits.items():
        without = [e for e in entries if not set(e.tags) & set(classes)]
        left_out = [e.name for e in without if not is_negative(e, settings, classes)]
        if left_out and settings.untagged != "refuse":
            warnings.append(f"list {split!r}: {some(left_out)} without a tag: left out of runs")
        no_mask = [e.name for e in entries if e.mask is None]
        if split in settings.evaluate and no_mask and any_mask:
            warnings.append(f"list {split!r}: {some(no_mask)} without a mask: not measured")
    unread = sorted(set(reading.available) - set(reading.splits))
    if unread and reading.splits:
        shown = ", ".join(unread[:8]) + (", ..." if len(unread) > 8 else "")
        warnings.append(f"lists not checked: {shown} (name them in data.evaluate)")
    warnings += double_warnings(reading.splits.values(), alike=True)
    # What is on both sides is told with the other findings about the masks.
    found = ((name, photo.shown) for name, photo in photos.items())
    masks = {name: mask for name, mask in found if mask and not mask.contradicts}
    if untagged := [name for name, mask in masks.items() if mask.drawn - mask.tags]:
        warnings.append(f"{some(untagged)} with a class in the mask that is not a tag")
    if hidden := [name for name, mask in masks.items() if mask.tags - mask.drawn]:
        warnings.append(f"{some(hidden)} with a tag that is not in the mask")
    return warnings


def _truth_findings(reading: Reading, photos: Mapping[str, _Photo]) -> tuple[list[str], list[str]]:
    """Problems and warnings about what the masks show."""
    if not reading.mask_set:
        return [], []
    where = reading.root / reading.mask_set
    problems: list[str] = []
    warnings: list[str] = []
    for split, entries in reading.splits.items():
        total = total_pixels(mask for e in entries if (mask := photos[e.name].shown))
        found = problems if only_ignored(total) else warnings
        found += [f"{where}: list {split!r}: {line}" for line in cautions(total)]
    masks = [photo.shown for photo in photos.values() if photo.shown]
    problem, warning = against_tags(masks, reading.known, alphabetical=reading.alphabetical)
    problems += [f"{where}: {problem}"] * bool(problem)
    warnings += [f"{where}: {warning}"] * bool(warning)
    return problems, warnings


def render(report: CheckReport) -> RenderableType:
    """The report for people, to be printed by a rich console."""
    masks = ", ".join(f"{split} {n}" for split, n in report.masks.items())
    sides = [
        _text(f"{which} side, pixels: {' / '.join(map(str, values))} (min, 5 %, half, 95 %, max)")
        for which, values in (("longest", report.longest), ("shortest", report.shortest))
        if values
    ]
    return Group(
        _text(f"{report.root}: {report.kind} layout, {len(report.classes)} classes"),
        *((_text(f"tags: {report.tag_set}"),) if report.tag_set else ()),
        _text(f"photos without a tag: {report.untagged}"),
        _class_table(report),
        *sides,
        _text(f"masks: {report.mask_set or 'none'}" + (f" ({masks})" if report.mask_set else "")),
        _together_table(report),
        *((_text(f"networks: {report.networks}"),) if report.networks else ()),
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
    """The matrix of a few classes; of many, the most frequent pairs."""
    names, counts = report.classes, report.together
    if len(names) <= _FULL_MATRIX:
        table = _table("tagged together", *names)
        for name, row in zip(names, counts, strict=True):
            table.add_row(_text(name), *map(str, row))
        return table
    table = _table("tagged together", "", "photos")
    pairs = [(counts[i][j], i, j) for j in range(len(names)) for i in range(j)]
    for count, i, j in sorted(pairs, reverse=True)[:_PAIRS]:
        if count:
            table.add_row(_text(names[i]), _text(names[j]), str(count))
    return table


def _table(*headers: str) -> Table:
    return Table(*(Column(_text(header)) for header in headers))


def _text(words: str, style: str = "") -> Text:
    """Text, in which names in square brackets are not markup."""
    return Text(visible(words), style)
