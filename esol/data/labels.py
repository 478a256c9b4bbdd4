"""Labels file: image-level tags in CSV with the header ``image,labels[,split]``."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from esol.errors import InputError
from esol.system.read import leads_out, open_text, read_text


@dataclass(frozen=True)
class Row:
    """A photo (relative path), its sorted tags and its list; ``place`` in the file: "line 3"."""

    file: Path
    place: str
    image: PurePosixPath
    tags: tuple[str, ...]
    split: str


def read_labels(path: Path) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Read a CSV file of labels; an InputError if it is unreadable or has another header.

    UTF-8 with or without byte-order mark, any line ends, quotes as usual in CSV. A row's tags are
    separated by ``;`` or ``|`` if it has one of them (spaces then belong to the tags), else by
    spaces. Backslashes in paths count as slashes. Every faulty row gives a line of problems.
    """
    rows: list[Row] = []
    problems: list[str] = []
    for line, fields in _fields(path):
        where = f"{path}: line {line}"
        if not fields:
            problems.append(f"{where}: not as many fields as the header: quote those with commas")
            continue
        image, tags = PurePosixPath(fields[0].replace("\\", "/")), split_tags(fields[1])
        split = fields[2].strip() if len(fields) == 3 else "train"
        if problem := _row_problem(image, tags, split):
            problems.append(f"{where}: {problem}")
        else:
            rows.append(Row(path, f"line {line}", image, tags, split))
    return tuple(rows), tuple(problems)


def split_tags(text: str) -> tuple[str, ...]:
    """Tags in a labels field, sorted, each once.

    >>> split_tags("dog cat"), split_tags("traffic light; car"), split_tags("traffic light;")
    (('cat', 'dog'), ('car', 'traffic light'), ('traffic light',))
    """
    parts = re.split(r"[;|]", text) if re.search(r"[;|]", text) else text.split()
    return tuple(sorted({" ".join(part.split()) for part in parts} - {""}))


def read_names(path: Path) -> tuple[str, ...]:
    """Names from a text file, one per line, each once; an InputError if there are none.

    Classes are in mask-value order, value 1 first.
    """
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise InputError(f"{path}: empty: write one name per line")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InputError(f"{path}: {repeated[0]!r} is on two lines: remove one")
    return names


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row below the header that is not blank.

    The fields are empty if they are more or fewer than those of the header.
    """
    try:
        with open_text(path) as file:
            reader = csv.reader(file, strict=True)
            header = [field.strip().lower() for field in next(reader, [])]
            if header not in (["image", "labels"], ["image", "labels", "split"]):
                must = "the header must be `image,labels` or `image,labels,split`"
                raise InputError(f"{path}: line 1: {must}{_separator_advice(header)}")
            for fields in reader:
                if any(field.strip() for field in fields):
                    yield reader.line_num, fields if len(fields) == len(header) else []
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV ({error})") from error


def _separator_advice(header: list[str]) -> str:
    """What to do if a spreadsheet has put something other than commas between the columns."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            return f", with commas, not {name}: save it as CSV with commas"
    return ""


def _row_problem(image: PurePosixPath, tags: tuple[str, ...], split: str) -> str:
    if not image.parts:
        return "no image given"
    if leads_out(image):
        return f"{image} leads out of the data folder: give a path relative to it, without '..'"
    if not tags:
        return f"{image} has no tag: give one or remove the row"
    if any("," in tag for tag in tags):
        return "tags are separated by spaces, ';' or '|', not by commas"
    if not split:
        return f"{image} is in no list: fill the split column, for example with `train`"
    return ""
