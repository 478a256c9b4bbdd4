"""Roboflow's multi-label classification: _classes.csv, a column of 0 and 1 for every class."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row, folder_of, list_of
from esol.data.tags.imagefolder import records
from esol.settings import Data
from esol.system.read import entry, leads_out

TITLE = "Roboflow multi-label"
FILE = "`_classes.csv` with `filename` and a column of 0 and 1 for each class"
TAGS = "the columns with 1"
UNTAGGED = "negative"
ANYWHERE = False

_NAME = "_classes.csv"

_VALUES = ("0", "1")


def recognise(path: Path, content: Any) -> bool:
    """Whether it is such a file, by its fixed name."""
    return path.name == _NAME and path.is_file()


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each line; an InputError if the file is damaged."""
    folder = folder_of(path, root)
    for line, record in records(path):
        where = f"{path}: line {line}"
        with entry(where):
            image = folder / PurePosixPath(record.pop("filename").replace("\\", "/"))
        wrong = next(
            (f"{tag} {value!r}" for tag, value in record.items() if value not in _VALUES), ""
        )
        if wrong or leads_out(image):
            reason = f"{wrong} is neither 0 nor 1" if wrong else "filename leads out of the folder"
            yield f"{where}: {reason}: fix it"
            continue
        tags = tuple(sorted(tag for tag, value in record.items() if value == "1"))
        yield Row(path, f"line {line}", image, tags, list_of(image))
