"""Tables as text: comma-separated, or by semicolons or tabs, with the names of columns on top."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from esol.errors import InputError
from esol.system.read import open_text

SUFFIXES = (".csv", ".tsv")

PHOTO = (
    *("image", "img", "file", "path", "photo", "picture", "filename", "filepath"),
    *("imagename", "imagefile", "imagepath", "imageid"),
)
"""Names of the column of photos, as :func:`plain` has them."""

TAG, TAGS = ("label", "tag", "class", "category"), ("labels", "tags", "classes", "categories")
"""Names of the column of tags: of one in a cell, and of several."""

SPLIT = ("split", "subset")
"""Names of the column of lists."""


def is_sheet(path: Path) -> bool:
    """Whether a file may be such a table, by its suffix."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def plain(name: str) -> str:
    """Name of a column without case, spaces, hyphens and underscores.

    >>> plain("Image_ID")
    'imageid'
    """
    return re.sub(r"[\s_-]", "", name).lower()


def header(path: Path) -> tuple[str, ...]:
    """Names of the columns, without those that a spreadsheet leaves empty."""
    with open_text(path) as file:
        return tuple(name for name in _columns(path, file.readline()) if name)


def first(path: Path) -> dict[str, str]:
    """The first record; empty if there is none, or if the file is damaged."""
    try:
        return next(records(path), (0, dict[str, str]()))[1]
    except InputError:
        return {}


def records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each record, by the names of their columns.

    The columns are separated by commas if there is one in the first line, else by semicolons, else
    by tabs. Spaces at the ends of cells are nothing.

    Raises:
        InputError: it cannot be read, two columns share a name, or a line has another number of
            cells than the first.
    """
    try:
        with open_text(path) as file:
            line = file.readline()
            names = _columns(path, line)
            if twice := [name for name in names if name and names.count(name) > 1]:
                raise InputError(f"{path}: line 1: two columns are called {twice[0]!r}: rename one")
            reader = csv.reader(file, delimiter=_separator(line), strict=True)
            for cells in reader:
                row = [cell.strip() for cell in cells]
                if not any(row):
                    continue
                where = f"{path}: line {reader.line_num + 1}"
                whole, rest = row[: len(names)], row[len(names) :]
                if len(whole) < len(names) or any(rest):
                    what = "not as many fields as the header: quote those with commas"
                    raise InputError(f"{where}: {what}")
                pairs = zip(names, whole, strict=True)
                yield reader.line_num + 1, {name: cell for name, cell in pairs if name}
    except csv.Error as error:
        raise InputError(f"{path}: not a {path.suffix} file ({error}): fix it") from error


def _columns(path: Path, line: str) -> list[str]:
    try:
        names = [cell.strip() for cell in next(csv.reader([line], delimiter=_separator(line)), [])]
    except csv.Error as error:
        raise InputError(f"{path}: line 1: not a {path.suffix} file ({error}): fix it") from error
    while names and not names[-1]:
        names.pop()
    return names


def _separator(line: str) -> str:
    return next((sign for sign in ",;\t" if sign in line), ",")
