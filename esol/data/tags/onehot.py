"""One-hot tables, such as Roboflow's _classes.csv: a column of 0 and 1 for each class."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row, folder_of, row_problem
from esol.data.tags import sheet
from esol.errors import InputError
from esol.settings import Data

TITLE = "One-hot table"
FILE = (
    "Roboflow's `_classes.csv`, or any `.csv` or `.tsv` whose first column is one of photos"
    " (`filename`, `image` ..) and whose others are 0 and 1, one for each class"
)
TAGS = "the columns with 1; a column `split` or `subset` that is not 0 and 1 is the list"
UNTAGGED = "negative; left out if the column `Unlabeled`, which Roboflow adds, is 1"
ANYWHERE = True

_NAME = "_classes.csv"

_VALUES = {
    **dict.fromkeys(("0", "0.0", "False", "false", "FALSE"), False),
    **dict.fromkeys(("1", "1.0", "True", "true", "TRUE"), True),
}

_UNLABELED = "unlabeled"
"""Roboflow's column of photos that nobody has labelled."""


def recognise(path: Path, content: Any) -> bool:
    """Whether it is such a file: Roboflow's by its name, others by their first record."""
    if not sheet.is_sheet(path):
        return False
    record = sheet.first(path)
    lists = _lists([record])
    photo, *classes = [(n, v) for n, v in record.items() if n not in lists] or [("", "")]
    if path.name == _NAME or not classes:
        return path.name == _NAME
    names = {sheet.plain(name) for name, _ in classes}
    usual = sheet.plain(photo[0]) in sheet.PHOTO and names.isdisjoint((*sheet.TAG, *sheet.TAGS))
    return usual and all(value in _VALUES for _, value in classes)


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each line; an InputError if the first column is not of photos."""
    folder, columns = folder_of(path, root), sheet.header(path)
    if not columns or sheet.plain(columns[0]) not in sheet.PHOTO:
        name = columns[0] if columns else ""
        raise InputError(f"{path}: line 1: the first column must be filename, not {name!r}")
    lines = list(sheet.records(path))
    lists = _lists(record for _, record in lines)
    if len(lists) > 1:
        raise InputError(f"{path}: {' and '.join(lists)} may hold the lists: remove one")
    for line, record in lines:
        where = f"{path}: line {line}"
        image = folder / PurePosixPath(record[columns[0]].replace("\\", "/"))
        split = record[lists[0]] if lists else None
        values = {n: v for n, v in record.items() if n not in lists and n != columns[0]}
        wrong = [f"{tag} {value!r}" for tag, value in values.items() if value not in _VALUES]
        reason = (
            f"{wrong[0]} is neither 0 nor 1: fix it" if wrong else row_problem(image, (), split)
        )
        if reason:
            yield f"{where}: {reason}"
            continue
        tags = {tag for tag, value in values.items() if _VALUES[value]}
        named = tuple(sorted(tag for tag in tags if tag.lower() != _UNLABELED))
        yield Row(path, f"line {line}", image, named, split, bool(named) or not tags)


def _lists(records: Iterable[dict[str, str]]) -> list[str]:
    """Columns of lists: called so, and in one record at least neither 0 nor 1."""
    found = (
        n
        for r in records
        for n, v in r.items()
        if sheet.plain(n) in sheet.SPLIT and v not in _VALUES
    )
    return list(dict.fromkeys(found))
