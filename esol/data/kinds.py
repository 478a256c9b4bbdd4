"""Kinds of photos: those that are read, here or with one more package, and those that never are."""

from collections import Counter
from collections.abc import Iterable, Mapping
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


_ALWAYS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_SOMETIMES = {
    "AVIF": ((".avif",), features.check("avif"), "a Pillow with AVIF, such as PyPI's"),
    "HEIF": ((".heic", ".heif"), _reads_heif(), 'pip install "esol[heic]"'),
}
"""Format -> its suffixes, whether it is read here, and what that takes."""

FORMATS: Mapping[str, tuple[str, ...]] = _ALWAYS | {
    name: ends for name, (ends, here, _) in _SOMETIMES.items() if here
}
"""Formats that are read here, under Pillow's names, with the suffixes of their files in lower case.

A file's content decides which of them it is. Pillow's other readers are not tried: some start
programs (PostScript: Ghostscript), and few are tested as much.
"""

IMAGE_SUFFIXES = frozenset(end for ends in FORMATS.values() for end in ends)
"""Suffixes, in lower case, of the files that count as photos."""

_WAYS = {end: way for ends, _, way in _SOMETIMES.values() for end in ends}
"""Suffix -> what reading its format takes."""

_BRANDS = {
    **dict.fromkeys(("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"), ".heic"),
    **dict.fromkeys(("avif", "avis"), ".avif"),
}
"""Brand of a container of the ISO base media format -> suffix of its usual files."""

_NEVER = (
    *(".svg", ".eps", ".pdf", ".psd", ".tga", ".ico", ".pbm", ".pgm", ".ppm", ".pnm", ".exr"),
    *(".jp2", ".j2k", ".jxl", ".jxr", ".hif", ".dcm", ".nef", ".cr2", ".cr3", ".arw"),
    *(".dng", ".orf", ".raf", ".raw", ".rw2", ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm"),
)
"""Suffixes of other images, and of videos."""

UNREAD_SUFFIXES = frozenset((*_NEVER, *_WAYS)) - IMAGE_SUFFIXES
"""Suffixes, in lower case, of photos and videos that are not read."""


def unread_advice(suffixes: Iterable[str]) -> str:
    """What to do with files of these suffixes, in lower case, which are not read."""
    ways = (f"{end}: {_WAYS[end]}" for end in suffixes if end in _WAYS)
    return ", or for ".join(("save as JPEG or PNG", *ways))


def unread_content(start: bytes) -> str:
    """Suffix of the kind of photo that a file holds, if it is one that is not read here; or "".

    Args:
        start: the file's first 16 bytes or more. HEIC and AVIF have their brand there.
    """
    brand = start[8:12] if start[4:8] == b"ftyp" else b""
    suffix = _BRANDS.get(brand.decode("latin-1"), "")
    return suffix if suffix in UNREAD_SUFFIXES else ""


def passed_over(files: Iterable[PurePath]) -> tuple[str, ...]:
    """A line on the files that are photos or videos of other kinds, if there are any."""
    ends = Counter(file.suffix.lower() for file in files)
    found = {end: count for end, count in sorted(ends.items()) if end in UNREAD_SUFFIXES}
    if not found:
        return ()
    number, kinds = sum(found.values()), ", ".join(f"{n} {end}" for end, n in found.items())
    are = "file is not read as a photo" if number == 1 else "files are not read as photos"
    return (f"{number} {are} ({kinds}): {unread_advice(found)}",)
