"""Kinds of photos that not every installation reads, and those that none does."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from PIL import features


def _reads_heif() -> bool:
    """Whether the extra heic is installed; Pillow then reads these files, too."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


_SOMETIMES = {
    ".avif": (features.check("avif"), 'pip install "pillow>=11.3"'),
    **dict.fromkeys((".heic", ".heif"), (_reads_heif(), 'pip install "esol[heic]"')),
}
"""Suffix -> whether it is read here, and what that takes."""

_NEVER = (
    *(".svg", ".eps", ".pdf", ".psd", ".tga", ".ico", ".pbm", ".pgm", ".ppm", ".pnm", ".exr"),
    *(".jp2", ".j2k", ".jpe", ".jxl", ".jxr", ".hif", ".dcm", ".nef", ".cr2", ".cr3", ".arw"),
    *(".dng", ".orf", ".raf", ".raw", ".rw2", ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
)
"""Suffixes of other images, and of videos."""

MORE_SUFFIXES = frozenset(end for end, (here, _) in _SOMETIMES.items() if here)
"""Suffixes, in lower case, of photos that this installation reads and another may not."""

UNREAD_SUFFIXES = frozenset((*_NEVER, *_SOMETIMES)) - MORE_SUFFIXES
"""Suffixes, in lower case, of photos and videos that are not read."""


def unread_advice(suffixes: Iterable[str]) -> str:
    """What to do with files of these suffixes, in lower case, which are not read."""
    ways = (f"{end}: {_SOMETIMES[end][1]}" for end in suffixes if end in _SOMETIMES)
    return ", or for ".join(("save as JPEG or PNG", *ways))


def passed_over(files: Iterable[PurePath]) -> tuple[str, ...]:
    """A line on the files that are photos or videos of other kinds, if there are any."""
    ends = Counter(file.suffix.lower() for file in files)
    found = {end: count for end, count in sorted(ends.items()) if end in UNREAD_SUFFIXES}
    if not found:
        return ()
    number, kinds = sum(found.values()), ", ".join(f"{n} {end}" for end, n in found.items())
    are = "file is not read as a photo" if number == 1 else "files are not read as photos"
    return (f"{number} {are} ({kinds}): {unread_advice(found)}",)
