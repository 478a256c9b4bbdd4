"""labels.csv: image,labels or image,labels,split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esol.data.reading import Row, folder_of, is_labels, read_labels
from esol.data.tags import table
from esol.settings import Data

TITLE = "Labels file"
FILE = "`labels.csv` with `image,labels` or `image,labels,split`"
TAGS = "the tags of a row, separated by spaces, or by `;` or `|` in all rows"
UNTAGGED = "negative"
ANYWHERE = False


def recognise(path: Path, content: Any) -> bool:
    """Whether the first line is the header of such a file."""
    return path.suffix.lower() == ".csv" and path.is_file() and is_labels(path)


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """The rows, then the problems; an InputError if it is unreadable or has another header."""
    if not settings.labels and folder_of(path, root).parts:
        # One of a list's own files: paths begin in its folder, which is the list.
        yield from table.read(path, root, settings)
        return
    rows, problems = read_labels(path)
    yield from rows
    yield from problems
