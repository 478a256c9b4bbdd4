"""Data sets: four sources, one form (Dataset of Samples)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from esol.data.coco import read_coco
from esol.data.folder import read_folder
from esol.data.kinds import IMAGE_SUFFIXES, passed_over
from esol.data.names import look_alike
from esol.data.reading import LISTS, Reading
from esol.data.sample import IGNORE, Dataset, Sample
from esol.data.selection import to_dataset
from esol.data.tags import LABELS, find_tags, huggingface, unknown_tables
from esol.data.voc import PHOTOS, read_voc
from esol.errors import InputError
from esol.settings import Data
from esol.system.files import encodable

__all__ = ["IGNORE", "Dataset", "Sample", "layout", "open_dataset", "read_layout"]

_READERS = {"folder": read_folder, "voc": read_voc, "coco": read_coco}


RUN = "run.json"
"""File in the folder of a run; its stages' folders would be taken for tags."""


def open_dataset(root: Path | str, settings: Data) -> Dataset:
    """Open a data folder of any layout.

    Args:
        root: the data folder.
        settings: its kind, lists, classes and limit.

    Returns:
        Data set holding just the lists that training and evaluation need.

    Raises:
        InputError: the layout is not recognised, or a file, list or class is missing or wrong.

    Examples:
        >>> data = open_dataset("photos", Data(evaluate=("val",)))
        >>> data.kind, data.classes[:3], {name: len(of) for name, of in data.splits.items()}
        ('folder', ('anchor', 'bullseye', 'checker'), {'train': 18, 'val': 6})
    """
    return to_dataset(read_layout(root, settings), settings)


def read_layout(root: Path | str, settings: Data) -> Reading:
    """Read a data folder and collect all problems; an InputError if there is nothing to read."""
    root = Path(root)
    require_data(root)
    kind = layout(root, settings) if settings.kind == "auto" else settings.kind
    if kind == "voc" and not (root / PHOTOS).is_dir():
        raise InputError(f"{root}: no JPEGImages folder: give the folder that holds it")
    reading = _READERS[kind](root, settings)
    return replace(
        reading,
        problems=(*reading.problems, *dict.fromkeys(_not_utf8(reading))),
        warnings=(*reading.warnings, *_look_alike(reading)),
    )


def require_data(root: Path) -> None:
    """Raise an InputError if a folder is not there, or is that of a run."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder: give the folder of the data set")
    if (root / RUN).is_file():
        raise InputError(
            f"{root}: the folder of a run, not of photos: give the photos' folder, or go on with"
            f" the run: esol run {root}"
        )


def _look_alike(reading: Reading) -> Iterator[str]:
    """Tags that are nearly surely one. They stay two: nothing is merged unasked."""
    for tags in look_alike(reading.known):
        named = " and ".join(map(repr, tags))
        fix = "if they are one class, spell them alike"
        yield f"tags {named} differ only in case, accents or spaces: {fix}"


def _not_utf8(reading: Reading) -> Iterator[str]:
    """Photos whose names or tags cannot be written as UTF-8."""
    for entry in (entry for entries in reading.splits.values() for entry in entries):
        if not all(map(encodable, (str(entry.image), *entry.tags))):
            yield f"{entry.image}: its path is not valid UTF-8: rename it"


def layout(root: Path, settings: Data) -> str:
    """Recognise a data folder: "voc", "coco" or "folder", in this order; else an InputError."""
    if kind := fixed_layout(root):
        return kind
    if any(path.exists() for path in find_tags(root, settings)) or _has_tag_folder(root):
        return "folder"
    huggingface.require_photos(root, settings)
    others = passed_over(path for folder in (root, *_folders(root)) for path in folder.iterdir())
    raise InputError(
        f"{root}: no known layout: looked for {settings.labels or LABELS}, a tags file of another"
        " tool (docs/data.md), a sub-folder of photos per tag, JPEGImages with ImageSets (VOC),"
        f" annotations/instances_*.json (COCO){''.join(f'; {line}' for line in others)}"
        f"{unknown_tables(root)}"
    )


def fixed_layout(root: Path) -> str:
    """The layout of a folder whose sub-folders are those of "voc" or "coco", else ""."""
    if (root / PHOTOS).is_dir() and (root / "ImageSets").is_dir():
        return "voc"
    return "coco" if any((root / "annotations").glob("instances_*.json")) else ""


def _has_tag_folder(root: Path) -> bool:
    return any(
        path.suffix.lower() in IMAGE_SUFFIXES
        for folder in _folders(root)
        for inner in (folder, *(_folders(folder) if folder.name.lower() in LISTS else ()))
        for path in inner.iterdir()
    )


def _folders(root: Path) -> list[Path]:
    """Visible folders in a folder."""
    return [p for p in sorted(root.iterdir()) if p.is_dir() and not p.name.startswith(".")]
