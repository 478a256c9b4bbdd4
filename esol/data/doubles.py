"""Equal photos under different tags, which teach the network a contradiction."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from esol.data.reading import Entry
from esol.system.files import sha256

_END = 4096


def contradictions(lists: Iterable[Iterable[Entry]]) -> tuple[tuple[Entry, ...], ...]:
    """Groups of photos of some lists whose files are equal and whose tags are not all the same.

    Whole files are read only where sizes and ends are equal, so few are. Files that cannot be read
    are left out.
    """
    photos = {entry.image: entry for entries in lists for entry in entries}
    groups = [tuple(photos.values())]
    keys: tuple[Callable[[Path], object], ...] = (lambda path: path.stat().st_size, _end, sha256)
    for key in keys:
        groups = [part for group in groups for part in _split(group, key)]
    return tuple(groups)


def _split(entries: tuple[Entry, ...], key: Callable[[Path], object]) -> list[tuple[Entry, ...]]:
    parts: dict[object, list[Entry]] = {}
    for entry in entries:
        try:
            parts.setdefault(key(entry.image), []).append(entry)
        except OSError:
            continue
    return [tuple(part) for part in parts.values() if len({entry.tags for entry in part}) > 1]


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(_END, path.stat().st_size), os.SEEK_END)
        return file.read()
