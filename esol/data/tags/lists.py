"""Names of lists that folders bear."""

from pathlib import Path, PurePosixPath

LISTS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
"""Folders of these names, in any case, hold the photos of a list and are no tags."""


def list_of(image: PurePosixPath) -> str:
    """List of a photo by the first of its folders, "train" if that is no list's."""
    first = image.parts[0] if len(image.parts) > 1 else ""
    return first if first.lower() in LISTS else "train"


def folder_of(path: Path, root: Path) -> PurePosixPath:
    """Where the photos of a tags file lie: beside it, or in the data folder if it is elsewhere."""
    beside = path.parent.is_relative_to(root)
    return PurePosixPath(path.parent.relative_to(root).as_posix() if beside else ".")
