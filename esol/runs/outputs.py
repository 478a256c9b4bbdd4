"""Outputs of a stage: which files they are, and which of them were cut since they were written."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esol.errors import InputError
from esol.system.files import TEMPORARY, write_json
from esol.system.read import read_json

CHECKPOINT = "checkpoint-"
"""Beginning of the names of training checkpoints, which are no outputs."""

SIZES = "sizes.json"
"""Size in bytes of every output, written just before the manifest."""

NOT_OUTPUTS = ("identity.json", "manifest.json", "settings.yaml", "log.txt", SIZES)

# With what is in them, at any depth. Photos, too, may be called checkpoint-3.jpg.
_CHECKPOINTS = re.compile(rf"(^|/){CHECKPOINT}\d{{8}}/")


def outputs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name and path of every output file of a stage's folder, in order."""
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder).as_posix()
        whole = not file.name.startswith(TEMPORARY) and relative not in NOT_OUTPUTS
        if whole and not _CHECKPOINTS.search(relative) and file.is_file():
            yield relative, file


def count(folder: Path) -> dict[str, int]:
    """Number and total size of the output files: what can be checked in no time."""
    sizes = [file.stat().st_size for _, file in outputs(folder)]
    return {"files": len(sizes), "bytes": sum(sizes)}


def digest(folder: Path) -> dict[str, Any]:
    """Number and size of the output files, and one SHA-256 over their names and contents."""
    total = hashlib.sha256()
    for relative, file in outputs(folder):
        total.update(relative.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return {**count(folder), "sha256": total.hexdigest()}


def write_sizes(folder: Path) -> None:
    """Write down the size of every output."""
    write_json(folder / SIZES, {name: file.stat().st_size for name, file in outputs(folder)})


def remove_cut(folder: Path) -> list[str]:
    """Remove outputs of another size than was written down; nothing if nothing was.

    Returns:
        Their names.
    """
    try:
        sizes = read_json(folder / SIZES)
    except InputError:
        return []
    cut = [
        (name, file)
        for name, file in outputs(folder)
        if name in sizes and file.stat().st_size != sizes[name]
    ]
    for _, file in cut:
        file.unlink()
    return [name for name, _ in cut]
