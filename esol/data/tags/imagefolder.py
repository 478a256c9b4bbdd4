"""Hugging Face image folder: metadata.csv or metadata.jsonl beside the photos."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row, folder_of, list_of, split_cells
from esol.data.tags import sheet
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import entry, leads_out, open_text

TITLE = "Hugging Face image folder"
FILE = "`metadata.csv` or `metadata.jsonl` with `file_name`"
TAGS = (
    "the column `label` or `tag` (one tag), or `labels` or `tags` (as in `labels.csv`, where "
    "one separator decides for all rows, or a JSON list); exactly one of them"
)
UNTAGGED = "negative; in `metadata.jsonl`, `null` is left out"
ANYWHERE = False

FILES = ("metadata.csv", "metadata.jsonl")
COLUMNS = ("label", "labels", "tag", "tags")
"""Columns of tags; the plural ones hold several, separated as in labels.csv."""


def recognise(path: Path, content: Any) -> bool:
    """Whether it is such a file: it has one of the fixed names and a column of photos."""
    if path.name not in FILES or not path.is_file():
        return False
    try:
        return "file_name" in next(records(path), (0, {}))[1]
    except InputError:
        return True


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each line; an InputError if not exactly one column has tags."""
    folder, lines = folder_of(path, root), list(records(path))
    cells = split_cells(_cell(record) for _, record in lines)
    for (line, record), cell in zip(lines, cells, strict=True):
        where = f"{path}: line {line}"
        with entry(where):
            column = _column(record, path)
            image = folder / PurePosixPath(str(record["file_name"]).replace("\\", "/"))
            if leads_out(image) or not record["file_name"]:
                yield f"{where}: file_name leads out of the data folder: fix it"
                continue
            tags = cell if _cell(record) else _tags(record[column], column)
            if isinstance(tags, str):
                yield f"{where}: {tags}"
                continue
            split = str(record.get("split") or "") or list_of(image)
            finished = record[column] is not None
            yield Row(path, f"line {line}", image, tags, split, finished)


def _column(record: dict[str, Any], path: Path) -> str:
    names = [name for name in COLUMNS if name in record]
    if len(names) != 1:
        what = f"{names[0]} and {names[1]}" if names else "none"
        raise InputError(f"{path}: one column of {', '.join(COLUMNS)} must hold the tags: {what}")
    return names[0]


def _cell(record: dict[str, Any]) -> str:
    """Text that holds several tags, "" if the record has none."""
    texts = (record[name] for name in COLUMNS if name.endswith("s") and name in record)
    return next((text for text in texts if isinstance(text, str)), "")


def _tags(value: Any, column: str) -> tuple[str, ...]:
    """Tags of a value that is no such text: one name, or a list of them."""
    if value is None:
        return ()
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{column} {value!r}: give names, not numbers")
    return tuple(sorted({" ".join(name.split()) for name in names} - {""}))


def records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and columns of each record."""
    if path.suffix == ".csv":
        yield from sheet.records(path)
        return
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise InputError(f"{path}: line {number}: not a JSON object: fix it")
                    yield number, record
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a {path.suffix} file ({error}): fix it") from error
