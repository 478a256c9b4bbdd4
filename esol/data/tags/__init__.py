"""Tags of photos in files of many makers, recognised by what is in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from esol.data.labels import Row, read_labels
from esol.data.tags import coco, cvat, imagefolder, labelstudio, voc
from esol.data.tags.lists import LISTS, folder_of
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import json_or_xml

LABELS = "labels.csv"

_READERS = {
    "Hugging Face image folder": imagefolder,
    "Label Studio": labelstudio,
    "CVAT for images 1.1": cvat,
    "COCO annotations": coco,
    "VOC annotations": voc,
}
"""Title of a format -> what recognises and reads it."""


@dataclass(frozen=True)
class Tags:
    """What files say of photos.

    Attributes:
        source: the files and their format, to be shown.
        rows: a photo each; without tags where the tool knew none.
        problems: one line for each entry that makes no sense.
        anywhere: paths may lack folders at their beginning, or have too many.
    """

    source: str
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    anywhere: bool


def find_tags(root: Path, settings: Data) -> tuple[Path, ...]:
    """The tags files of a data folder.

    The one that ``settings.labels`` names; else labels.csv; else the one file or folder directly in
    it, or the files of one format in its folders train, val .., whose content is of a known format.

    Returns:
        Several files only where each list has its own; empty where there is none.

    Raises:
        InputError: there is more than one candidate.
    """
    if settings.labels or (root / LABELS).exists():
        return (root / (settings.labels or LABELS),)
    candidates: list[tuple[Path, ...]] = [(path,) for path in _visible(root) if recognise(path)]
    lists = [folder for folder in _visible(root) if folder.name.lower() in LISTS]
    inside = [path for folder in lists if folder.is_dir() for path in _visible(folder)]
    forms = {path: recognise(path) for path in inside if path.is_file()}
    for form in _READERS:
        files = tuple(path for path, found in forms.items() if found == form)
        if len({path.parent for path in files}) < len(files):
            candidates += [(path,) for path in files]
        elif files:
            candidates.append(files)
    if len(candidates) > 1:
        names = ", ".join(files[0].relative_to(root).as_posix() for files in candidates)
        raise InputError(f"{root}: tags may be in any of {names}: name one with data.labels")
    return candidates[0] if candidates else ()


def recognise(path: Path) -> str:
    """Format of a tags file other than labels.csv, "" if its content is of none."""
    content = json_or_xml(path)
    found = (form for form, reader in _READERS.items() if reader.recognise(path, content))
    return next(found, "")


def read_tags(files: tuple[Path, ...], root: Path, settings: Data) -> Tags:
    """Read tags files of one format.

    Args:
        files: from :func:`find_tags`.
        root: the data folder.
        settings: ``difficult`` counts for VOC's annotations.

    Raises:
        InputError: a file is missing, damaged as a whole, or of no known format.
    """
    if not files[0].exists():
        raise InputError(f"{files[0]}: no such file: mend data.labels")
    form = "" if files[0].name == LABELS else recognise(files[0])
    names = ", ".join(str(folder_of(file, root) / file.name) for file in files)
    if not form:
        rows, problems = read_labels(files[0])
        return Tags(names, rows, problems, anywhere=False)
    rows, problems = (), ()
    for file in files:
        more, wrong = _READERS[form].read(file, root, settings)
        rows, problems = (*rows, *more), (*problems, *wrong)
    return Tags(f"{names} ({form})", rows, problems, _READERS[form].ANYWHERE)


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
