"""Hugging Face data set: Parquet files as on the hub, or folders of ``datasets.save_to_disk``."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.kinds import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from esol.data.names import composed
from esol.data.packed import SUFFIXES, Packed, open_packed
from esol.data.reading import LISTS, Row, split_cells
from esol.data.tags.imagefolder import COLUMNS
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import entry, leads_out, read_json, structured

TITLE = "Hugging Face data set"
FILE = (
    "Parquet files as on the hub (`data/train-00000-of-00002.parquet`, `train/*.parquet`) or a"
    " folder of `datasets.save_to_disk`, with a column of photos, or of paths"
    ' (`pip install "esol[parquet]"`)'
)
TAGS = (
    "`label` or `tag` (one tag), or `labels` or `tags` (several): class numbers with names, texts"
    " as in `metadata.jsonl`, or lists of either"
)
UNTAGGED = "negative; `null` and numbers below 0 are left out"
ANYWHERE = False

_PATHS = ("image", "file_name", "path")
"""Columns of paths, where no column has photos."""

_TEXTS = ("string", "large_string")

_DICT, _STATE = "dataset_dict.json", "state.json"
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(-[0-9a-f]+)?")


def recognise(path: Path, content: Any) -> bool:
    """Whether it is such a file, or a folder with such files, of any content."""
    return _may_hold(path)


def sets(root: Path) -> list[Path]:
    """Folders with such files: the data folder, or folders in it."""
    inside = (p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith("."))
    folders = (root, *(path for path in inside if path.name.lower() not in LISTS))
    return [path for path in folders if _may_hold(path)]


def _may_hold(path: Path) -> bool:
    try:
        return bool(shards(path))
    except InputError:
        # Whether that is an error shows where nothing else has tags.
        return True


def shards(path: Path) -> dict[str, list[Path]]:
    """The files of each list, in order; of a file, itself."""
    if path.is_file():
        return {_list_of(path): [path]} if path.suffix in SUFFIXES else {}
    if not path.is_dir():
        return {}
    lists: dict[str, list[Path]] = {}
    if (path / _DICT).is_file():
        with entry(str(path / _DICT)):
            names = [_inside(str(name)) for name in read_json(path / _DICT)["splits"]]
    else:
        names = [name for name in sorted(os.listdir(path)) if name.lower() in LISTS]
        for file in _files(path):
            lists.setdefault(_list_of(file), []).append(file)
    for name in names:
        if files := _files(path / name):
            lists.setdefault(name, []).extend(files)
    return lists


def _files(folder: Path) -> list[Path]:
    """Files directly in a folder: those that state.json names, or Parquet files."""
    match structured(folder / _STATE):
        case {"_data_files": [*files]}:
            with entry(str(folder / _STATE)):
                return [folder / _inside(str(file["filename"])) for file in files]
    # As names alone: it may be a folder of very many photos.
    names = os.listdir(folder) if folder.is_dir() else ()
    inside = sorted(name for name in names if name.endswith(".parquet") and name[0] != ".")
    return [folder / name for name in inside]


def _inside(name: str) -> str:
    """A name in a file of ``datasets``; a ValueError if it leads out of the folder."""
    if leads_out(PurePosixPath(name)):
        raise ValueError(f"{name} leads out of the folder")
    return name


def _list_of(file: Path) -> str:
    """List of a file by its name as on the hub, else by its first word, else "train"."""
    if file.suffix == ".parquet" and (shard := _SHARD.fullmatch(file.stem)):
        return shard[1]
    word = re.split(r"[^A-Za-z]", file.stem)[0]
    return word if word.lower() in LISTS else "train"


def has_photos(path: Path, settings: Data) -> bool:
    """Whether such files can be read and have a column of photos, or columns of paths and tags."""
    try:
        table = _open_first(path, settings)
        if not table.inside:
            _tag_column(table.packed, settings)
    except InputError:
        return False
    return True


def require_photos(root: Path, settings: Data) -> None:
    """Raise an InputError if a data folder has such files, but these cannot be read as photos."""
    for path in sets(root):
        _open_first(path, settings)


def _open_first(path: Path, settings: Data) -> "_Table":
    return _Table.of(next(file for files in shards(path).values() for file in files), settings)


def photos(path: Path) -> dict[str, Path]:
    """Photos in a file, or in a folder of files, by name; an InputError if one is damaged."""
    members = _members(_tables(path, Data()))
    return {name: table.photo(row) for _, table, row, name in members if table.inside}


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each photo; an InputError if a file is damaged or lacks a column."""
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        raise InputError(f"{path}: not in the data folder {root}: move it there")
    if any(pair.startswith("split=") for pair in settings.columns):
        raise InputError(f"{path}: data.columns: lists are those of the files: remove split=NAME")
    lists = _tables(path, settings)
    tags = _tags([table for tables in lists.values() for table in tables], settings)
    for (split, table, row, name), own in zip(_members(lists), tags, strict=True):
        file, place = table.packed.path, f"row {row}"
        try:
            if isinstance(own, ValueError):
                raise own
            image = table.image(row, root)
        except ValueError as error:
            yield f"{file}: {place}: {error}"
            continue
        inner = name if table.inside else ""
        yield Row(file, place, image, own or (), split, finished=own is not None, name=inner)


@dataclass(frozen=True)
class _Table:
    """One file, and its column of photos (``inside``) or of their paths.

    ``paths`` has those that the file gives, also of photos inside.
    """

    packed: Packed
    column: str
    inside: bool
    paths: Sequence[str | None]

    @classmethod
    def of(cls, file: Path, settings: Data) -> "_Table":
        packed = open_packed(file)
        types = packed.types
        with_photos = [name for name in types if _holds_photos(packed, name)]
        usual = with_photos or [name for name in _PATHS if types.get(name) in _TEXTS]
        column = _chosen(packed, "photos", ("image",), usual, settings)
        if column not in with_photos and types[column] not in _TEXTS:
            raise InputError(f"{file}: column {column!r} has {types[column]}: name one of photos")
        if column not in with_photos:
            return cls(packed, column, False, packed.values(column))
        if "/" in column:
            raise InputError(f"{file}: rename the column {column!r}: photos' paths have its name")
        if not re.search(r"\bpath: (large_)?string\b", types[column]):
            return cls(packed, column, True, [None] * packed.rows)
        inside = not packed.without_bytes(column)
        return cls(packed, column, inside, packed.values(column, "path"))

    def photo(self, row: int) -> Path:
        """Path of a photo in the file."""
        return self.packed.path / self.column / str(row)

    def image(self, row: int, root: Path) -> PurePosixPath:
        """Path of a photo below the data folder; a ValueError if it has none."""
        if self.inside:
            return PurePosixPath(self.photo(row).relative_to(root).as_posix())
        path = PurePosixPath((self.paths[row] or "").replace("\\", "/"))
        place = root.resolve().as_posix()
        path = path.relative_to(place) if path.is_relative_to(place) else path
        if not path.parts:
            raise ValueError("no photo in it: remove the row")
        if leads_out(path):
            raise InputError(
                f"{self.packed.path}: row {row}: has only a path, {path}: store the"
                " photos in the file (datasets: save_to_disk or"
                " push_to_hub), or paths relative to the data folder"
            )
        return path


def _tables(path: Path, settings: Data) -> dict[str, list[_Table]]:
    """The files of each list."""
    lists = shards(path)
    return {split: [_Table.of(file, settings) for file in lists[split]] for split in lists}


def _members(lists: Mapping[str, Sequence[_Table]]) -> Iterator[tuple[str, _Table, int, str]]:
    """List, table, row and name of each photo."""
    names = {split: _names(tables) for split, tables in lists.items()}
    number = sum(map(len, names.values()))
    clash = len({name for some in names.values() for name in some}) < number
    for split, tables in lists.items():
        rows = ((table, row) for table in tables for row in range(table.packed.rows))
        for (table, row), name in zip(rows, names[split], strict=True):
            yield split, table, row, f"{split}/{name}" if clash else name


def _names(tables: Sequence[_Table]) -> list[str]:
    """Names of a list's photos: their paths without suffixes if these differ, else numbers."""
    names = [_name(path or "") for table in tables for path in table.paths]
    if all(names) and len({*names}) == len(names):
        return names
    return [f"{place:06}" for place in range(len(names))]


def _name(path: str) -> str:
    """Name of a photo as of a file with that path; of one that leads out, by its last part.

    "" if that is not a name.
    """
    image = PurePosixPath(composed(path.replace("\\", "/")))
    image = PurePosixPath(image.name) if leads_out(image) else image
    # Also of kinds that are not read here: what is installed must not change names.
    known = image.suffix.lower() in IMAGE_SUFFIXES | UNREAD_SUFFIXES
    name = str(image.with_suffix("") if known else image).removeprefix("images/")
    return name if image.name not in ("", "..") and name.isprintable() else ""


def _holds_photos(packed: Packed, column: str) -> bool:
    """Whether a column has the bytes of files, and is not said to hold something else."""
    feature, kind = packed.features.get(column), packed.types[column]
    said = feature.get("_type", "Image") if isinstance(feature, dict) else "Image"
    in_struct = kind.startswith("struct<") and re.search(
        r"\bbytes: (large_binary|binary|null)\b", kind
    )
    return said == "Image" and (bool(in_struct) or kind in ("binary", "large_binary"))


_Tags = tuple[str, ...] | None | ValueError
"""Tags of a photo; None: nobody has tagged it; or what is wrong with them."""


def _tags(tables: Sequence[_Table], settings: Data) -> list[_Tags]:
    """Tags of each photo of some files."""
    cells: list[_Tags | str] = []
    several = False
    for packed in (table.packed for table in tables):
        column = _tag_column(packed, settings)
        several = f"labels={column}" in settings.columns or (
            column.endswith("s") and f"label={column}" not in settings.columns
        )
        classes, kind = _classes(packed.features.get(column)), packed.types[column]
        if not classes and re.search(r"\bu?int\d+\b", kind) and "string" not in kind:
            raise InputError(
                f"{packed.path}: column {column!r} has numbers without names: store names, or a"
                " ClassLabel, which has them"
            )
        cells += [_named(value, classes) for value in packed.values(column)]
    # One separator decides for all rows.
    texts = [cell for cell in cells if isinstance(cell, str)]
    split = split_cells(texts) if several else [_without_empty([text]) for text in texts]
    parts = (ValueError(part) if isinstance(part, str) else part for part in split)
    return [next(parts) if isinstance(cell, str) else cell for cell in cells]


def _tag_column(packed: Packed, settings: Data) -> str:
    usual = [name for name in COLUMNS if _may_be_tags(packed.types.get(name, "binary"))]
    return _chosen(packed, "tags", ("label", "labels"), usual, settings)


def _may_be_tags(kind: str) -> bool:
    return "binary" not in kind and "struct<" not in kind


def _classes(feature: Any) -> list[str]:
    """Names of the class numbers of a column, or of those in its lists; empty without."""
    while isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature):
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _named(value: Any, classes: Sequence[str]) -> _Tags | str:
    """Tags of a cell; a text as it is."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and value < 0:
        return None
    try:
        values = value if isinstance(value, list) else [value]
        return _without_empty([_tag(each, classes) for each in values])
    except ValueError as error:
        return error


def _tag(value: Any, classes: Sequence[str]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and classes:
        if 0 <= value < len(classes):
            return classes[value]
        raise ValueError(
            f"{value} is not one of the {len(classes)} classes, 0 .. {len(classes) - 1}"
        )
    raise ValueError(f"{value!r:.40} is not a tag: store names")


def _without_empty(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(words for tag in tags if (words := " ".join(tag.split())))


def _chosen(
    packed: Packed, what: str, ways: Sequence[str], usual: Sequence[str], settings: Data
) -> str:
    """The column that data.columns names in one of some ways, else the only usual one."""
    given = [pair.split("=", 1)[1] for pair in settings.columns if pair.split("=", 1)[0] in ways]
    names = given or usual
    if missing := [name for name in given if name not in packed.types]:
        columns = ", ".join(packed.types)
        raise InputError(
            f"{packed.path}: has no column {missing[0]!r} (data.columns), but {columns}"
        )
    if len(names) != 1:
        may = f"{' and '.join(names)} may hold" if names else "none is known to hold"
        columns = " or ".join(f"'[{way}=NAME]'" for way in ways)
        raise InputError(
            f"{packed.path}: of its columns ({', '.join(packed.types)}) {may} the {what}: name one:"
            f" --data.columns {columns}"
        )
    return names[0]
