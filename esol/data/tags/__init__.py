"""Tags of photos in files of many tools, recognised by their content."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from esol.data.reading import LISTS, Row, folder_of, read_labels
from esol.data.tags import coco, cvat, imagefolder, labelstudio, onehot, voc
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import json_or_xml

LABELS = "labels.csv"

_READERS = {
    "Hugging Face image folder": imagefolder,
    "Roboflow multi-label": onehot,
    "Label Studio": labelstudio,
    "CVAT for images 1.1": cvat,
    "COCO annotations": coco,
    "VOC annotations": voc,
}
"""Title of a format -> its module."""


@dataclass(frozen=True)
class Tags:
    """Content of tags files: ``source`` names them and their format, a row is a photo.

    There is one problem for each faulty entry. ``anywhere``: paths may lack folders at their
    beginning, or have too many.
    """

    source: str
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    anywhere: bool


def find_tags(root: Path, settings: Data) -> tuple[Path, ...]:
    """The tags files of a data folder; several only if each list has its own.

    The one that ``settings.labels`` names; else labels.csv; else the one file or folder of a known
    format directly in it, or the files of one format in its folders train, val .. Several
    candidates are an InputError.
    """
    if settings.labels or (root / LABELS).exists():
        return (root / (settings.labels or LABELS),)
    candidates: list[tuple[Path, ...]] = [(path,) for path in _visible(root) if recognise(path)]
    lists = [folder for folder in _visible(root) if folder.name.lower() in LISTS]
    inside = [path for folder in lists if folder.is_dir() for path in _visible(folder)]
    forms = {path: recognise(path) for path in inside if path.is_file()}
    for form in _READERS:
        files = tuple(path for path, name in forms.items() if name == form)
        if len({path.parent for path in files}) < len(files):
            candidates += [(path,) for path in files]
        elif files:
            candidates.append(files)
    if len(candidates) > 1:
        names = ", ".join(files[0].relative_to(root).as_posix() for files in candidates)
        raise InputError(f"{root}: tags may be in any of {names}: name one with data.labels")
    return candidates[0] if candidates else ()


def recognise(path: Path) -> str:
    """Format of a tags file other than labels.csv, "" if unknown."""
    content = json_or_xml(path)
    return next((form for form, m in _READERS.items() if m.recognise(path, content)), "")


def read_tags(files: tuple[Path, ...], root: Path, settings: Data) -> Tags:
    """Read the files that :func:`find_tags` names; an InputError if one is missing or damaged."""
    if not files[0].exists():
        raise InputError(f"{files[0]}: no such file: correct data.labels")
    form = "" if files[0].name == LABELS else recognise(files[0])
    names = ", ".join(str(folder_of(file, root) / file.name) for file in files)
    if not form:
        rows, problems = read_labels(files[0])
        return Tags(names, rows, problems, anywhere=False)
    reader = _READERS[form]
    items = [item for file in files for item in reader.read(file, root, settings)]
    rows = tuple(item for item in items if isinstance(item, Row))
    problems = tuple(item for item in items if isinstance(item, str))
    return Tags(f"{names} ({form})", rows, problems, reader.ANYWHERE)


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
