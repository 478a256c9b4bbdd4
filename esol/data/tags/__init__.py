"""Tags of photos in files of many tools, recognised by their content."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from esol.data.reading import LISTS, Row, folder_of
from esol.data.tags import (
    clslabels,
    coco,
    cvat,
    huggingface,
    imagefolder,
    labels,
    labelstudio,
    onehot,
    sheet,
    table,
    voc,
    yolo,
)
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import parsed, structured

LABELS = "labels.csv"

_FOLDERS = ("labels", "annotations")
"""Folders inside those of lists that may hold tags."""


class Reader(Protocol):
    """A format of tags: what each module here has. docs/make/formats.py writes its tables of them.

    Attributes:
        TITLE: name of the format, as ``esol check`` says it.
        FILE: how the file is called and what makes it known, in Markdown.
        TAGS: what gives the tags.
        UNTAGGED: what ``data.untagged: auto`` makes of photos without a tag.
        ANYWHERE: paths may lack folders at their beginning, or have too many.
    """

    TITLE: str
    FILE: str
    TAGS: str
    UNTAGGED: str
    ANYWHERE: bool

    def recognise(self, path: Path, content: Any) -> bool:
        """Whether a file or folder is of this format; ``content`` as of ``structured``."""

    def read(self, path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
        """A row or a problem for each photo; an InputError if the file is damaged."""


READERS: tuple[Reader, ...] = (
    *(labels, labelstudio, cvat, coco, yolo, voc, onehot, imagefolder, table, clslabels),
    huggingface,
)
"""All formats; the first that recognises a file reads it."""

_GUESSED = (labels, yolo, onehot, table, clslabels, huggingface)
"""Formats whose files may well be there for something else than the tags."""


@dataclass(frozen=True)
class Tags:
    """Content of tags files: ``source`` names them and their format, a row is a photo.

    There is one problem for each faulty entry. ``anywhere`` as in a :class:`Reader`.
    """

    source: str
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    anywhere: bool
    guessed: bool = False


def find_tags(root: Path, settings: Data) -> tuple[Path, ...]:
    """The tags files of a data folder; several only if each list has its own.

    The one that ``settings.labels`` names; else labels.csv; else the one file or folder of a known
    format directly in it, or those of one format in its folders train, val .., or the folder
    of a Hugging Face data set, which may be the data folder itself. Several candidates are an
    InputError.
    """
    if settings.labels or (root / LABELS).exists():
        return (root / (settings.labels or LABELS),)
    lists = [folder for folder in _visible(root) if folder.name.lower() in LISTS]
    inside = [path for folder in lists if folder.is_dir() for path in _visible(folder)]
    places = [*_visible(root), *(p for p in inside if p.is_file() or p.name in _FOLDERS)]
    forms = {path: recognise(path, settings) for path in places}
    # YOLO's folders of labels belong to the YAML file beside them, if there is one.
    owners = {path.parent for path, form in forms.items() if form is yolo and path.is_file()}
    owned = [
        path
        for path, form in forms.items()
        if form is yolo and path.is_dir() and not owners.isdisjoint((root, path.parent))
    ]
    forms = {path: form for path, form in forms.items() if path not in owned}
    candidates: list[tuple[Path, ...]] = [
        (path,)
        for path, form in forms.items()
        if path.parent == root and form not in (None, huggingface)
    ]
    candidates += [(p,) for p in huggingface.sets(root) if huggingface.has_photos(p, settings)]
    for reader in (reader for reader in READERS if reader is not huggingface):
        files = tuple(p for p, form in forms.items() if form is reader and p.parent != root)
        if len({path.parent for path in files}) < len(files):
            candidates += [(path,) for path in files]
        elif files:
            candidates.append(files)
    if len(candidates) > 1:
        names = ", ".join(files[0].relative_to(root).as_posix() for files in candidates[:5])
        raise InputError(f"{root}: tags may be in any of {names}: name one with data.labels")
    return candidates[0] if candidates else ()


def recognise(path: Path, settings: Data) -> Reader | None:
    """Format of a tags file, None if unknown; with ``data.columns``, any table is one."""
    if settings.columns and sheet.is_sheet(path):
        return table
    content = structured(path)
    return next((reader for reader in READERS if reader.recognise(path, content)), None)


def unknown_tables(root: Path) -> str:
    """What to do about tables in a data folder whose columns are not known; "" without any."""
    names = [path.name for path in _visible(root) if sheet.is_sheet(path)]
    return f"; or name the columns of {names[0]} with data.columns" if names else ""


def read_tags(files: tuple[Path, ...], root: Path, settings: Data) -> Tags:
    """Read the files that :func:`find_tags` names; an InputError if one is missing or damaged."""
    if not files[0].exists():
        raise InputError(f"{files[0]}: no such file: correct data.labels")
    reader = recognise(files[0], settings) or labels
    if reader is labels and parsed(files[0]) is not None:
        raise InputError(f"{files[0]}: of no format in docs/data.md: give another with data.labels")
    if settings.columns and reader not in (table, huggingface):
        raise InputError(
            f"{files[0]}: data.columns is for tables, .csv, .tsv or Parquet: remove the setting"
        )
    names = ", ".join(_shown(file, root) for file in files)
    source = names if reader is labels else f"{names} ({reader.TITLE})"
    items = [item for file in files for item in reader.read(file, root, settings)]
    rows = tuple(item for item in items if isinstance(item, Row))
    problems = tuple(item for item in items if isinstance(item, str))
    fixed = files[0].name in (LABELS, "_classes.csv", *imagefolder.FILES)
    guessed = not settings.labels and not fixed and reader in _GUESSED
    return Tags(source, rows, problems, reader.ANYWHERE, guessed)


def _shown(file: Path, root: Path) -> str:
    """A tags file in the data folder; a folder of a data set as patterns of its files."""
    inside = file.is_relative_to(root) and file.is_dir()
    if not inside or not (lists := huggingface.shards(file)):
        return str(folder_of(file, root) / file.name)
    inner = (shard for shards in lists.values() for shard in shards)
    patterns = (shard.parent.relative_to(root) / f"*{shard.suffix}" for shard in inner)
    return ", ".join(dict.fromkeys(pattern.as_posix() for pattern in patterns))


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
