"""Tables of photos and tags, in any order of columns: a row per photo, or per photo and tag."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row, folder_of, row_problem, split_cells
from esol.data.tags import sheet
from esol.errors import InputError
from esol.settings import Data

TITLE = "Table of tags"
FILE = (
    "`.csv` or `.tsv` with a column of photos (`image`, `file`, `filename`, `path`, `image_id` ..)"
    " and one of tags; columns are separated by commas, semicolons or tabs, and others are ignored"
)
TAGS = (
    "`label`, `tag`, `class` or `category`: the whole cell is one tag, and the rows of a photo are"
    " taken together; `labels`, `tags`, `classes` or `categories`: a row per photo, with its tags"
    " as in `labels.csv`; `split` or `subset` is the list"
)
UNTAGGED = "negative"
ANYWHERE = True

_NAMES = {
    "image": sheet.PHOTO,
    "label": sheet.TAG,
    "labels": sheet.TAGS,
    "split": sheet.SPLIT,
}
"""What a column holds, as data.columns calls it -> its usual names."""

_ONE, _SEVERAL = "label", "labels"


def recognise(path: Path, content: Any) -> bool:
    """Whether one column at least is called as those of photos are, and one as those of tags."""
    if not sheet.is_sheet(path):
        return False
    try:
        names = {sheet.plain(name) for name in sheet.header(path)}
    except InputError:
        return False
    return not names.isdisjoint(sheet.PHOTO) and not names.isdisjoint((*sheet.TAG, *sheet.TAGS))


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row for each photo and list, or a problem; an InputError if the columns are not clear."""
    columns = _roles(path, sheet.header(path), settings.columns)
    folder, lines = folder_of(path, root), list(sheet.records(path))
    one = _ONE in columns
    cells = [record[columns[_ONE if one else _SEVERAL]] for _, record in lines]
    different = {*cells}
    if one and cells and different <= {"0", "1"}:
        raise InputError(
            f"{path}: column {columns[_ONE]!r} has only 0 and 1: write the tag instead of 1 and"
            " nothing instead of 0, or call the column by the tag"
        )
    tags = [_one_tag(cell, different) for cell in cells] if one else split_cells(cells)
    rows: dict[tuple[PurePosixPath, str | None], Row] = {}
    for (line, record), names in zip(lines, tags, strict=True):
        image = folder / PurePosixPath(record[columns["image"]].replace("\\", "/"))
        split = record[columns["split"]] if "split" in columns else None
        if problem := names if isinstance(names, str) else row_problem(image, names, split):
            yield f"{path}: line {line}: {problem}"
            continue
        row = Row(path, f"line {line}", image, tuple(names), split)
        earlier = rows.get((image, split))
        if not one:
            yield row
        elif earlier is None:
            rows[image, split] = row
        elif bool(earlier.tags) != bool(row.tags):
            yield f"{path}: line {line}: {image} has a row without a tag, too: remove it"
        else:
            both = (*earlier.tags, *row.tags)
            rows[image, split] = Row(path, earlier.place, image, both, split)
    yield from rows.values()


def _roles(path: Path, names: Sequence[str], given: Sequence[str]) -> dict[str, str]:
    """What a column holds -> its name; an InputError unless photos and tags have one column."""
    columns = dict(pair.split("=", 1) for pair in given)
    for name in columns.values():
        if name not in names:
            raise InputError(
                f"{path}: has no column {name!r} (data.columns), but {', '.join(names)}"
            )
    for what, roles in (("photos", ["image"]), ("tags", [_ONE, _SEVERAL]), ("lists", ["split"])):
        if columns.keys() & set(roles):
            continue
        free = [name for name in names if name not in columns.values()]
        usual = {name: role for role in roles for name in free if sheet.plain(name) in _NAMES[role]}
        if len(usual) > 1 or (not usual and what != "lists"):
            having = f"{' and '.join(usual)} may hold" if usual else "none is known to hold"
            forms = ", or ".join(
                f"'[{role}=NAME]'" + (" (several tags in a cell)" if role == _SEVERAL else "")
                for role in roles
            )
            raise InputError(
                f"{path}: of its columns {having} the {what}: name it: --data.columns {forms}"
            )
        columns |= {role: name for name, role in usual.items()}
    return columns


def _one_tag(cell: str, others: set[str]) -> tuple[str, ...] | str:
    """The cell as a tag; a text if it may be several."""
    words = cell.split()
    if any(sign in cell for sign in ",;|") or (len(words) > 1 and others.issuperset(words)):
        return (
            f"{cell!r} in a column of one tag a row: write a row for each tag, or name the column"
            " as one of several: --data.columns '[labels=NAME]'"
        )
    return (" ".join(words),) if words else ()
