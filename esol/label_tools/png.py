"""Masks as grey PNG files with values of one's own, and a table of what these mean."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from esol.data.images import load_values
from esol.data.masks import mask_files
from esol.data.sample import BACKGROUND, IGNORE
from esol.errors import InputError
from esol.label_tools.album import IGNORED, Album, Corrected, check_size
from esol.label_tools.regions import Masks
from esol.label_tools.sources import VALUES, unpacked
from esol.system.files import atomic, new_folder, write_atomic
from esol.system.read import read_text

LARGEST = 65535
"""Largest value that a PNG file holds."""

_COLUMNS = ["value", "name"]

_Row = tuple[str, str, int]


def write(album: Album, masks: Masks, out: Path, values: str | None) -> None:
    """Write masks as single-channel PNG files, and values.csv, which names their values.

    Files have 8 bits, or 16 if a value is above 255. The folder is not a data set: it has no
    photos.

    Args:
        album: photos and classes.
        masks: of the photos.
        out: folder to make.
        values: "NAME=VALUE,NAME=VALUE", or the path of a table like values.csv; it must give each
            class, "background" and "ignore" a value of its own. None: 0, 1 .. K and 255.
    """
    names = {0: BACKGROUND, **dict(enumerate(album.classes, start=1))}
    names |= {} if IGNORED in album.classes else {IGNORE: IGNORED}
    numbers = {value: value for value in names} if values is None else _values(values, album, names)
    lookup = np.zeros(256, np.uint8 if max(numbers.values()) <= 255 else np.uint16)
    for value, number in numbers.items():
        lookup[value] = number
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows(
        [_COLUMNS, *sorted((number, names[value]) for value, number in numbers.items())]
    )
    with new_folder(out) as folder:
        for photo in album.photos:
            mask = masks(photo)
            if IGNORE not in numbers and (mask == IGNORE).any():
                album.label(IGNORE)
            with atomic(folder / f"{photo.name}.png") as temporary:
                Image.fromarray(lookup[mask]).save(temporary, format="PNG")
        write_atomic(folder / VALUES, text.getvalue())


def _values(text: str, album: Album, names: Mapping[int, str]) -> dict[int, int]:
    """Mask value -> value to write, from flag or table; an InputError unless all are there once."""
    rows, source = (_pairs(text), "--values") if "=" in text else (_table(Path(text)), text)
    numbers: dict[int, int] = {}
    for where, name, number in rows:
        value = album.value(name, where)
        if value in numbers:
            raise InputError(f"{where}: {name!r} comes twice: keep one")
        numbers[value] = number
    if missing := [name for value, name in names.items() if value not in numbers]:
        raise InputError(f"{source}: no value for {missing[0]!r}: add one")
    return numbers


def _pairs(text: str) -> list[_Row]:
    """Place, name and value of each part of a flag."""
    rows = []
    for part in text.split(","):
        name, sign, number = part.rpartition("=")
        if not sign:
            raise InputError(f"--values: {part!r}: write NAME=VALUE, names with commas in a table")
        rows.append(("--values", name.strip(), _number(number, "--values")))
    return _distinct(rows)


def _table(file: Path) -> list[_Row]:
    """Place, name and value of each line of a table."""
    lines = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    rows = []
    try:
        if next(lines, None) != _COLUMNS:
            raise InputError(f"{file}: line 1: the header must be `{','.join(_COLUMNS)}`")
        for line in lines:
            where = f"{file}: line {lines.line_num}"
            if len(line) == 2:
                rows.append((where, line[1].strip(), _number(line[0], where)))
            elif line:
                raise InputError(f"{where}: {len(line)} cells: write `VALUE,NAME`, quoting commas")
    except csv.Error as error:
        raise InputError(f"{file}: line {lines.line_num}: not CSV ({error})") from error
    return _distinct(rows)


def _number(text: str, where: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text.strip()) or int(text) > LARGEST:
        raise InputError(f"{where}: {text!r} is not a value: give 0 .. {LARGEST}")
    return int(text)


def _distinct(rows: list[_Row]) -> list[_Row]:
    """The rows; an InputError if two of them have the same value."""
    names: dict[int, str] = {}
    for where, name, number in rows:
        if number in names:
            both = f"{names[number]!r} and {name!r} are both {number}"
            raise InputError(f"{where}: {both}: give each a value of its own")
        names[number] = name
    return rows


def read(path: Path, album: Album) -> Iterator[Corrected]:
    """Masks of a folder or ZIP file with values.csv.

    Damage, another size, a value that the table does not have, or an unknown photo or name is an
    InputError.
    """
    with unpacked(path) as folder:
        file = folder / VALUES
        if not file.is_file():
            raise InputError(f"{path}: no {VALUES} in it: give the folder or ZIP that has it")
        lookup = np.full(LARGEST + 1, -1, np.int64)
        for where, name, number in _table(file):
            lookup[number] = album.value(name, where)
        for name, mask in mask_files(folder, {photo.name for photo in album.photos}).items():
            photo = album.find(name, str(mask))
            values = load_values(mask).astype(np.int64)
            check_size(photo, (values.shape[0], values.shape[1]), str(mask))
            if values.min() < 0 or values.max() > LARGEST or (lookup[values] < 0).any():
                raise InputError(f"{mask}: a value that is not in {VALUES}: add or fix it")
            yield photo, lookup[values].astype(np.uint8)
