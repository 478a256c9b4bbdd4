"""What the readers of all layouts share: labels files, lists and classes."""

import csv
from collections import Counter
from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from esol.data.colours import class_lines, reserved
from esol.data.images import image_size
from esol.data.names import composed, composed_path
from esol.data.sample import BACKGROUND, IGNORE, MAX_CLASSES, Sample
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import leads_out, open_text, read_text

_HEADERS = (["image", "labels"], ["image", "labels", "split"])

COMMAS = "quote those with commas; between tags stand spaces or ';'"
"""What to do about a row with more fields than the header."""

_BY_COMMAS = "tags are separated by spaces, ';' or '|', not by commas"

LISTS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
"""Folders with these names, in any case, hold the photos of a list and are not tags."""


def list_of(image: PurePosixPath) -> str:
    """List of a photo by the first of its folders, "train" if that is not a list."""
    first = image.parts[0] if len(image.parts) > 1 else ""
    return first if first.lower() in LISTS else "train"


def folder_of(path: Path, root: Path) -> PurePosixPath:
    """Folder of a tags file's photos: its own, or the one that holds COCO's folder annotations.

    The data folder if the file is not in that.
    """
    folder = path.parent.parent if path.parent.name == "annotations" else path.parent
    beside = folder.is_relative_to(root)
    return PurePosixPath(folder.relative_to(root).as_posix() if beside else ".")


@dataclass(frozen=True)
class Row:
    """A photo (relative path), its sorted tags and its list; ``place`` in the file: "line 3".

    ``split``: None if the file does not say: its folder does (:func:`list_of`).

    ``finished``: nobody has still to tag it, as far as the file says: without a tag it shows none
    of the classes. ``name``: of a photo inside the file, whose path has none.
    """

    file: Path
    place: str
    image: PurePosixPath
    tags: tuple[str, ...]
    split: str | None
    finished: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        # The path of a photo inside a file is that of the file, as the disk has it.
        if not self.name:
            object.__setattr__(self, "image", composed_path(self.image))
        object.__setattr__(self, "tags", tuple(sorted({*map(composed, self.tags)})))


def read_labels(path: Path) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Read a CSV file of labels; an InputError if it is unreadable or has another header.

    UTF-8 with or without byte-order mark, any line ends, quotes as usual in CSV. Tags are separated
    as :func:`split_cells` says. Backslashes in paths count as slashes, and spaces at the ends of
    cells as nothing. Every faulty row gives a line of problems.
    """
    rows: list[Row] = []
    problems: list[str] = []
    table = list(_fields(path))
    cells = split_cells(fields[1] if fields else "" for _, fields in table)
    for (line, fields), tags in zip(table, cells, strict=True):
        where = f"{path}: line {line}"
        if not fields:
            problems.append(f"{where}: not as many fields as the header: {COMMAS}")
            continue
        if isinstance(tags, str):
            problems.append(f"{where}: {tags}")
            continue
        image = PurePosixPath(fields[0].replace("\\", "/"))
        split = fields[2] if len(fields) == 3 else "train"
        if problem := row_problem(image, tags, split):
            problems.append(f"{where}: {problem}")
        else:
            rows.append(Row(path, f"line {line}", image, tags, split))
    return tuple(rows), tuple(problems)


def is_labels(path: Path) -> bool:
    """Whether the first line of a file is the header of a labels file."""
    try:
        with open_text(path) as file:
            return _header(next(csv.reader(file), [])) in _HEADERS
    except (InputError, csv.Error):
        return False


def split_cells(cells: Iterable[str]) -> list[tuple[str, ...] | str]:
    """Tags of each cell of a table, sorted, each once; a text instead says what is wrong with it.

    If any cell has ``;`` or ``|``, this separates the tags of the whole table, and spaces belong to
    tags; else spaces separate them. A cell without that separator whose words are tags by
    themselves elsewhere may mean one tag or several, and is a problem.

    >>> split_cells(["dog cat", "dog"]), split_cells(["traffic light; car", "traffic light"])
    ([('cat', 'dog'), ('dog',)], [('car', 'traffic light'), ('traffic light',)])
    """
    cells = [" ".join(composed(cell).split()) for cell in cells]
    separator = next((c for cell in cells for c in cell if c in ";|"), None)
    if separator is None:
        return [_BY_COMMAS if "," in cell else tuple(sorted(set(cell.split()))) for cell in cells]
    clear = [cell for cell in cells if separator in cell or " " not in cell]
    known = {tag.strip() for cell in clear for tag in cell.split(separator)}
    return [_split_cell(cell, separator, known) for cell in cells]


def _split_cell(cell: str, separator: str, known: Container[str]) -> tuple[str, ...] | str:
    tags = {tag.strip() for tag in cell.split(separator)} - {""}
    if "," in cell:
        return _BY_COMMAS
    other = next((c for c in cell if c in ";|" and c != separator), None)
    if other is not None:
        return f"{cell!r} has {other!r}, but {separator!r} separates tags in this file: write that"
    words = cell.split()
    if separator not in cell and cell not in known and any(word in known for word in words):
        several, one = f"{separator} ".join(words), f"{cell}{separator}"
        return (
            f"{cell!r}: other lines have {separator!r}: write {several!r}, or {one!r} for one tag"
        )
    return tuple(sorted(tags))


def read_names(path: Path) -> tuple[str, ...]:
    """Names from a text file, one per line, each once; an InputError if there are none."""
    lines = composed(read_text(path)).splitlines()
    return _distinct(path, [line.strip() for line in lines if line.strip()])


def _distinct(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        raise InputError(f"{path}: empty: write one name per line")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InputError(f"{path}: {repeated[0]!r} is on two lines: remove one")
    return tuple(names)


def read_classes(path: Path, used: Collection[str] = ()) -> tuple[str, ...]:
    """Class names from a text file, one per line in mask-value order, value 1 first.

    Label tools also list the background, which would shift all values: that is an InputError,
    unless it is among the ``used`` tags. Where lines have colours, it is passed over.
    """
    names = []
    for where, name, colour in class_lines(path):
        value = None if name in used else reserved(name)
        if value is not None and colour is None and (name.lower() == BACKGROUND or "_" in name):
            raise InputError(f"{where}: remove {name!r}, which is value {value} in any case")
        if value is None or colour is None:
            # Several colours of a class are several lines.
            names += [name] * (colour is None or name not in names)
    return _distinct(path, names)


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row below the header that is not blank.

    The fields are empty if they are more or fewer than those of the header.
    """
    try:
        with open_text(path) as file:
            reader = csv.reader(file, strict=True)
            header = _header(next(reader, []))
            if header not in _HEADERS:
                raise InputError(
                    f"{path}: line 1: the header must be `image,labels` or `image,labels,split`, or"
                    " data.columns must name the columns (docs/data.md)"
                )
            for row in reader:
                fields = [field.strip() for field in row]
                whole, more = fields[: len(header)], any(fields[len(header) :])
                if any(fields):
                    yield reader.line_num, [] if more or len(whole) < len(header) else whole
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV ({error})") from error


def _header(fields: list[str]) -> list[str]:
    """Names of columns, without the empty ones at the end, which spreadsheets write."""
    names = [field.strip().lower() for field in fields]
    while names and not names[-1]:
        names.pop()
    return names


def row_problem(image: PurePosixPath, tags: tuple[str, ...], split: str | None) -> str:
    """One line on what is wrong with a row of a table of photos and tags, or ""."""
    if not image.parts:
        return "no image given"
    if leads_out(image):
        return f"{image} leads out of the data folder: give a path relative to it, without '..'"
    if any("," in tag for tag in tags):
        return _BY_COMMAS
    if split == "":
        return f"{image} is in no list: fill the split column, for example with `train`"
    return ""


@dataclass(frozen=True)
class Entry:
    """A photo as read: a Sample whose tags are still names; ``finished`` as in a Row."""

    name: str
    image: Path
    tags: tuple[str, ...]
    mask: Path | None = None
    finished: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", composed(self.name))
        object.__setattr__(self, "tags", tuple(map(composed, self.tags)))


@dataclass(frozen=True)
class Reading:
    """Content of a data folder.

    Attributes:
        kind: "folder", "voc" or "coco".
        root: the data folder.
        known: classes in the order of the stored mask values; value k + 1 is ``known[k]``.
        splits: list name -> its photos, in any order.
        problems: one line each, beginning with a file name; the data set is unusable with any.
        mask_set: what the ground truth is, "" without one.
        stored: reads the mask under a photo's key as (H, W) uint8 of stored values.
        colours: the table that says what the masks' colours mean, None without one.
        own_classes: the user chose the class names, so a class without photos is a mistake.
        unlisted: photos beside the listed ones that are not listed.
        available: all existing lists, read or not.
        tag_set: source of the tags, "" if the layout fixes it.
        alphabetical: nobody gave the order of the classes: a new tag may shift their mask values.
        warnings: findings that may be intentional, one line each.
    """

    kind: str
    root: Path
    known: tuple[str, ...]
    splits: Mapping[str, tuple[Entry, ...]]
    problems: tuple[str, ...] = ()
    mask_set: str = ""
    stored: Callable[[Path], NDArray[np.uint8]] | None = None
    colours: Path | None = None
    own_classes: bool = False
    unlisted: tuple[Path, ...] = ()
    available: tuple[str, ...] = ()
    tag_set: str = ""
    alphabetical: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Truth:
    """Reads masks and renumbers their classes; loader processes can copy it.

    ``stored``, ``known`` and ``alphabetical`` are those of the :class:`Reading`. A sample whose
    mask is its own photo is all background (``data.untagged_masks``).
    """

    stored: Callable[[Path], NDArray[np.uint8]]
    known: tuple[str, ...]
    classes: tuple[str, ...]
    alphabetical: bool = False

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """Mask of a sample: (H, W) uint8, 0 background, 1 .. K, 255 ignored.

        A mask that is missing, unreadable or not that of the photo is an InputError.
        """
        if sample.mask is None:
            raise InputError(f"{sample.image}: has no mask")
        if sample.mask == sample.image:
            return np.zeros(image_size(sample.image), np.uint8)
        mask = self.stored(sample.mask)
        if problem := mask_problem(mask, sample.mask, self.known, image_size(sample.image)):
            raise InputError(problem)
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[0] = 0
        for number, name in enumerate(self.classes, start=1):
            table[self.known.index(name) + 1] = number
        return table[mask]


def mask_problem(
    mask: NDArray[np.uint8], key: Path, known: tuple[str, ...], size: tuple[int, int]
) -> str:
    """One line on what is wrong with a stored (H, W) uint8 mask, or "".

    Values 1 .. K stand for the known classes; ``size`` is the photo's (height, width).
    """
    if mask.shape != size:
        own, photo = (f"{width} x {height}" for height, width in (mask.shape, size))
        return f"{key}: mask is {own} pixels, its photo {photo}: make them equal"
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = [int(v) for v in values if len(known) < v < IGNORE]
    if unknown:
        shown = ", ".join(map(str, unknown[:5]))
        return f"{key}: value {shown} is not a class: use 0, 1 .. {len(known)} and {IGNORE}"
    return ""


def choose_classes(reading: Reading, settings: Data) -> tuple[str, ...]:
    """The classes in use: ``settings.classes``, or all known ones, at most ``MAX_CLASSES``."""
    wanted = tuple(map(composed, settings.classes))
    for name in wanted:
        if name not in reading.known:
            known = ", ".join(reading.known)
            raise InputError(f"data.classes = {name!r}: {reading.root} has {known}")
    for name in reading.known:
        if name.casefold().strip("_ ") == BACKGROUND:
            raise InputError(
                f"{reading.root}: no class may be called {name!r}: rename the tag; photos of"
                " background have no tag, or lie in a folder _background"
            )
    classes = wanted or reading.known
    count = len(reading.known)
    if not 1 <= count <= MAX_CLASSES:
        raise InputError(f"{reading.root}: {count} classes: must be 1 .. {MAX_CLASSES}")
    return classes


def wanted_lists(settings: Data) -> tuple[str, ...]:
    """The lists that a run needs, each once: the training list, then those to evaluate on."""
    return tuple(dict.fromkeys((settings.train, *settings.evaluate)))


def require_lists(root: Path, settings: Data, available: list[str]) -> tuple[str, ...]:
    """The wanted lists; an InputError that gives the existing ones if one is missing."""
    for split in wanted_lists(settings):
        if split not in available:
            key = "data.train" if split == settings.train else "data.evaluate"
            lists = ", ".join(sorted(available)) or "none"
            raise InputError(f"{key} = {split!r}: {root} has no such list (available: {lists})")
    return wanted_lists(settings)
