"""YOLO's label files, of boxes and outlines, with the data set's YAML file or classes.txt."""

import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.kinds import IMAGE_SUFFIXES
from esol.data.reading import LISTS, Row, read_classes, wanted_lists
from esol.errors import InputError
from esol.settings import Data
from esol.system.files import visible_files
from esol.system.read import read_text, read_yaml

TITLE = "YOLO labels"
FILE = (
    "the `.yaml` of the data set with `names`, as Ultralytics reads it; without one, the folder"
    " `labels` with `classes.txt` in it or beside it (LabelImg, Label Studio), a name per line in"
    " the order of the ids"
)
TAGS = (
    "classes of the boxes or outlines in `labels/.../NAME.txt` for the photo `images/.../NAME.jpg`"
    " (or beside the photo, if no folder is called `images`); `train`, `val` and `test` of the YAML"
    " file (folder, text file of paths, or several of these) are the lists"
)
UNTAGGED = (
    "negative if the label file is empty; left out without a label file, as nobody may have tagged"
    " the photo yet (Ultralytics takes it for background: `--data.untagged negative`)"
)
ANYWHERE = True

_LISTS = ("train", "val", "test")
_YAML = (".yaml", ".yml")
_CLASSES = "classes.txt"
_FOLDER = "labels"
_PHOTOS = "images"
_UP = ("..", ".", "/")
_TOLERANCE = 0.01
"""How far coordinates may be outside 0 .. 1, as rounding makes them; Ultralytics' number."""

_ADVICE = (
    f"name the classes in the order of their ids: {_CLASSES}, one per line, or a YAML file with"
    " `names` and the folders of `train` and `val`"
)


def recognise(path: Path, content: Any) -> bool:
    """Whether it is such a YAML file, or a folder of label files."""
    if path.suffix.lower() in _YAML:
        has_names = isinstance(content, dict) and "names" in content
        return has_names and not content.keys().isdisjoint(_LISTS)
    if path.name != _FOLDER or not path.is_dir():
        return False
    files = (file for file in sorted(path.rglob("*.txt")) if file.name != _CLASSES)
    try:
        lines = next((text.splitlines() for file in files if (text := read_text(file).strip())), [])
    except InputError:
        return False
    return bool(lines) and isinstance(_class_of(lines[0]), int)


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row for each photo and list, or the first problem of its label file."""
    if not path.is_relative_to(root):
        raise InputError(f"{path}: not in the data folder {root}: move it there")
    if path.is_dir():
        yield from _of_folder(path, root)
        return
    content = read_yaml(path)
    names = _names(path, content["names"])
    for split, photo in _listed(path, content, wanted_lists(settings)):
        if isinstance(photo, str):
            yield photo
        else:
            image = _below(photo, root)
            yield _row(
                root / _label_file(image), names, Row(path, f"list {split}", image, (), split)
            )


def _listed(
    path: Path, content: Mapping[str, Any], wanted: Container[str]
) -> Iterator[tuple[str, Path | str]]:
    """Lists of a YAML file with their photos, and problems; a list may lack its folder if nobody
    wants it, as exports without a test list do.
    """
    base = str(content.get("path") or "")
    for split in _LISTS:
        given = content.get(split) or []
        for place in map(str, given if isinstance(given, list) else [given]):
            found = _found(path.parent, base, place)
            if found is not None:
                photos = _of_text(found, base) if found.is_file() else _photos(found)
                yield from ((split, photo) for photo in photos)
            elif split in wanted:
                yield split, f"{path}: {split}: {place}: not in {path.parent}: fix the path"


def _of_folder(path: Path, root: Path) -> Iterator[Row | str]:
    """Photos of a folder of label files: those in images beside it, else those beside it."""
    files = (folder / _CLASSES for folder in (path, path.parent, root))
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise InputError(f"{path}: YOLO labels without names: {_ADVICE}")
    names = dict(enumerate(read_classes(file)))
    usual = (path.parent / name for name in (_PHOTOS, "JPEGImages"))
    photos = next((folder for folder in usual if folder.is_dir()), path.parent)
    for photo in _photos(photos):
        image = _below(photo, root)
        split = next((part for part in image.parts[:-1] if part.lower() in LISTS), "train")
        label = (path / photo.relative_to(photos)).with_suffix(".txt")
        yield _row(label, names, Row(path, f"list {split}", image, (), split))


def _row(label: Path, names: Mapping[int, str], row: Row) -> Row | str:
    """The row with the tags of a label file, or the first problem of that."""
    if not label.is_file():
        return replace(row, finished=False)
    tags = set()
    for number, line in enumerate(read_text(label).splitlines(), start=1):
        if not line.strip():
            continue
        found = _class_of(line)
        if isinstance(found, int) and found not in names:
            last = max(names)
            found = f"class {found} has no name: the names are of 0 .. {last}"
        if isinstance(found, str):
            return f"{label}: line {number}: {found}: fix or remove the line"
        tags.add(names[found])
    return replace(row, tags=tuple(tags))


def _class_of(line: str) -> int | str:
    """Class id of a box or an outline; a text says what is wrong with the line.

    >>> _class_of("2 0.5 0.5 1 1"), _class_of("0 0.1 0.1 1.5 0.2")
    (2, '1.5 is outside 0 .. 1')
    """
    words = line.split()
    try:
        number, *values = map(float, words)
    except ValueError:
        return "not numbers"
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return f"{len(words)} numbers: a box has 5, an outline 7, 9, 11 .."
    if number < 0 or not number.is_integer():
        return f"{words[0]} is no class id"
    for word, value in zip(words[1:], values, strict=True):
        if not -_TOLERANCE <= value <= 1 + _TOLERANCE:
            return f"{word} is outside 0 .. 1"
    return int(number)


def _names(path: Path, names: Any) -> dict[int, str]:
    """Class id -> name; an InputError unless the names are a list or have ids."""
    listed = dict(enumerate(names)) if isinstance(names, list) else names
    found = {}
    for number, name in listed.items() if isinstance(listed, dict) else ():
        if type(number) is not int or type(name) not in (str, int) or not str(name).strip():
            raise InputError(
                f"{path}: names: {number}: {name}: must be `id: name`, names in quotes"
            )
        found[number] = " ".join(str(name).split())
    if not found:
        raise InputError(f"{path}: names: {_ADVICE}")
    return found


def _found(folder: Path, base: str, place: str) -> Path | None:
    """The file or folder that a path in a file means, inside ``folder``; None if there is none.

    ``base``, the file's ``path``, is where the data lay when the file was written: what it has
    above ``folder`` is left out, and so is ``..`` at a beginning. Of an absolute path at least two
    parts are used.
    """
    given = PurePosixPath(place.replace("\\", "/"))
    parts, above = ([*dropwhile(_UP.__contains__, p.parts)] for p in (given, PurePosixPath(base)))
    if ".." in (*parts, *above):
        return None
    whole, least = (parts, 2) if given.is_absolute() else (above + parts, len(parts))
    places = (folder.joinpath(*whole[start:]) for start in range(len(whole) - least + 1))
    # Path.exists raises if a name is longer than the file system allows.
    return next(filter(os.path.exists, places), None)


def _of_text(path: Path, base: str) -> Iterator[Path | str]:
    """Photos that a text file lists, relative to it or to the YAML file's ``path``."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            photo = _found(path.parent, base, line.strip())
            is_photo = photo is not None and photo.is_file()
            problem = f"{path}: line {number}: {line.strip()}: no such photo: fix the path"
            yield photo if photo and is_photo else problem


def _photos(folder: Path) -> Iterator[Path]:
    files = visible_files(folder)
    return (folder / file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)


def _label_file(image: PurePosixPath) -> PurePosixPath:
    """Where Ultralytics looks for the labels of a photo: its last folder images becomes labels.

    >>> str(_label_file(PurePosixPath("images/train/0001.jpg")))
    'labels/train/0001.txt'
    """
    *folders, _ = image.parts
    if _PHOTOS in folders:
        folders[len(folders) - 1 - folders[::-1].index(_PHOTOS)] = _FOLDER
    return PurePosixPath(*folders, f"{image.stem}.txt")


def _below(photo: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(photo.relative_to(root).as_posix())
