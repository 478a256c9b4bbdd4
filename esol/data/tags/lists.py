"""Lists named by folders."""

from pathlib import Path, PurePosixPath

LISTS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
"""Folders with these names, in any case, hold the photos of a list and are not tags."""


def list_of(image: PurePosixPath) -> str:
    """List of a photo by the first of its folders, "train" if that is not a list."""
    first = image.parts[0] if len(image.parts) > 1 else ""
    return first if first.lower() in LISTS else "train"


def folder_of(path: Path, root: Path) -> PurePosixPath:
    """Folder of a tags file's photos: its own, or the data folder if the file is not in that."""
    beside = path.parent.is_relative_to(root)
    return PurePosixPath(path.parent.relative_to(root).as_posix() if beside else ".")
