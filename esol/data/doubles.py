"""Equal photos under different tags, which teach the network a contradiction."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from esol.data import packed
from esol.data.selection import some
from esol.errors import InputError
from esol.system.files import sha256

_END = 4096


class _Photo(Protocol):
    """What is compared of an Entry or a Sample."""

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> Path: ...
    @property
    def tags(self) -> tuple[object, ...]: ...


T = TypeVar("T", bound=_Photo)


def contradiction_warnings(lists: Iterable[Iterable[_Photo]]) -> list[str]:
    """A line on equal photos under different tags, if there are any."""
    groups = [" and ".join(photo.name for photo in group) for group in contradictions(lists)]
    if not groups:
        return []
    return [
        f"{some(groups)} more than once, under different tags: keep one of each, and give it all"
        " its tags in a labels file"
    ]


def contradictions(lists: Iterable[Iterable[T]]) -> tuple[tuple[T, ...], ...]:
    """Groups of photos of some lists whose files are equal and whose tags are not all the same.

    Whole files are read only where sizes and ends are equal, so few are; those with photos inside
    are read once, from the first row to the last. What cannot be read is left out.
    """
    photos = {entry.image: entry for entries in lists for entry in entries}
    inside = {path: entry for path, entry in photos.items() if packed.holder(path)}
    in_order = sorted(inside, key=lambda path: (path.parent, int(path.name)))
    groups = [tuple(entry for path, entry in photos.items() if path not in inside)]
    keys: tuple[Callable[[Path], object], ...] = (lambda path: path.stat().st_size, _end, sha256)
    for key in keys:
        groups = [part for group in groups for part in _split(group, key)]
    return (*groups, *_split([inside[path] for path in in_order], _digest))


def _split(entries: Sequence[T], key: Callable[[Path], object]) -> list[tuple[T, ...]]:
    parts: dict[object, list[T]] = {}
    for entry in entries:
        try:
            parts.setdefault(key(entry.image), []).append(entry)
        except (OSError, InputError):
            continue
    return [tuple(part) for part in parts.values() if len({entry.tags for entry in part}) > 1]


def _digest(path: Path) -> bytes:
    return hashlib.sha256(packed.content(path)).digest()


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(_END, path.stat().st_size), os.SEEK_END)
        return file.read()
