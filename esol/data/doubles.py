"""Equal photos: under different tags they teach the network a contradiction."""

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


def double_warnings(lists: Iterable[Iterable[_Photo]], alike: bool = False) -> list[str]:
    """A line on equal photos under different tags; with ``alike``, one on those under the same."""
    groups = equal_photos(lists, alike)
    kinds = {
        "under different tags: keep one of each, and give it all its tags in a labels file": [
            group for group in groups if _differ(group)
        ],
        "under the same tags: keep one of each, as copies count double, and measure what was"
        " learned where another list has them": [group for group in groups if not _differ(group)],
    }
    return [
        f"{some([' and '.join(photo.name for photo in group) for group in found])} more than once,"
        f" {what}"
        for what, found in kinds.items()
        if found
    ]


def equal_photos(lists: Iterable[Iterable[T]], alike: bool = False) -> tuple[tuple[T, ...], ...]:
    """Groups of photos of some lists whose files are equal, and whose tags differ unless ``alike``.

    Whole files are read only where sizes and ends are equal, so few are; those with photos inside
    are read once, from the first row to the last. What cannot be read is left out.
    """
    photos = {entry.image: entry for entries in lists for entry in entries}
    inside = {path: entry for path, entry in photos.items() if packed.holder(path)}
    in_order = sorted(inside, key=lambda path: (path.parent, int(path.name)))
    groups = [tuple(entry for path, entry in photos.items() if path not in inside)]
    keys: tuple[Callable[[Path], object], ...] = (lambda path: path.stat().st_size, _end, sha256)
    for key in keys:
        groups = _equal(groups, key, alike)
    return (*groups, *_equal([[inside[path] for path in in_order]], packed.digest, alike))


def _equal(
    groups: Iterable[Sequence[T]], key: Callable[[Path], object], alike: bool
) -> list[tuple[T, ...]]:
    parts = (part for group in groups for part in _split(group, key))
    return [part for part in parts if len(part) > 1 and (alike or _differ(part))]


def _differ(entries: Iterable[_Photo]) -> bool:
    return len({entry.tags for entry in entries}) > 1


def _split(entries: Sequence[T], key: Callable[[Path], object]) -> list[tuple[T, ...]]:
    parts: dict[object, list[T]] = {}
    for entry in entries:
        try:
            parts.setdefault(key(entry.image), []).append(entry)
        except (OSError, InputError):
            continue
    return [tuple(part) for part in parts.values()]


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(_END, path.stat().st_size), os.SEEK_END)
        return file.read()
