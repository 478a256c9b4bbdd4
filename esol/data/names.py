"""Names of photos, and tags: one form for what people and programs write in several."""

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from esol.system.read import one_ends_other


def composed(text: str) -> str:
    """Unicode's composed form (NFC): files from a Mac have "e" and an accent where tables have "é".

    Names of photos, masks and classes, and tags, are in this form wherever they are compared.
    """
    return unicodedata.normalize("NFC", text)


def composed_path(path: PurePosixPath) -> PurePosixPath:
    """A path whose parts are in the composed form."""
    text = str(path)
    return path if unicodedata.is_normalized("NFC", text) else PurePosixPath(composed(text))


def on_disk(folder: Path, name: str) -> Path | None:
    """The file of this name in a folder, in whatever form the disk has it; None without one."""
    for form in dict.fromkeys((name, composed(name), unicodedata.normalize("NFD", name))):
        # Path.is_file raises if the name is longer than the file system allows.
        if os.path.isfile(folder / form):
            return folder / form
    return None


def as_uploaded(name: str) -> str:
    """A file's name as servers made with Django, such as Label Studio, store it.

    >>> as_uploaded("a b (1).jpg")
    'a_b_1.jpg'
    """
    return re.sub(r"[^-\w.]", "", composed(name).strip().replace(" ", "_"))


def meant(path: PurePosixPath, photos: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """The photos that a path in a tool's file may mean, all without suffixes.

    One is the other's end; if there is none, the path is a photo's name as uploaded.
    """
    photos = list(photos)
    near = [photo for photo in photos if one_ends_other(path, photo)]
    return near or [photo for photo in photos if as_uploaded(photo.name) == str(path)]


def look_alike(tags: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of tags that differ only in case, accents, or spaces, hyphens and underscores.

    >>> look_alike(["Dog", "cat", "dog", "traffic light", "traffic_light"])
    [('Dog', 'dog'), ('traffic light', 'traffic_light')]
    """
    groups: dict[str, list[str]] = {}
    for tag in tags:
        groups.setdefault(skeleton(tag), []).append(tag)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def skeleton(tag: str) -> str:
    """A tag without case, accents, spaces, hyphens and underscores, if anything is left."""
    letters = unicodedata.normalize("NFKD", tag.casefold())
    bare = (c for c in letters if not unicodedata.combining(c) and not re.match(r"[\s_-]", c))
    # Tags of nothing but such characters differ.
    return "".join(bare) or tag
