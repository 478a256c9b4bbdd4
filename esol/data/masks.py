"""Files of masks: which are there, whose they are, and what their values or colours mean."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data.colours import Colour, ColourTable
from esol.data.images import load_mask, reading, require_exact
from esol.data.kinds import FORMATS, IMAGE_SUFFIXES
from esol.data.names import composed
from esol.data.sample import IGNORE
from esol.errors import InputError
from esol.settings import Data
from esol.system.files import visible_files

MASK_SUFFIXES = tuple(end for form in ("PNG", "BMP", "TIFF") for end in FORMATS[form])
"""Suffixes, in lower case, of files that count as masks."""

ENDINGS = ("mask", "gt", "label")
"""What the names of masks may have after their photos' names and ``_`` or ``-``, in any case."""

_ENDING = re.compile(rf"(?P<photo>.*[^/])[_-](?:{'|'.join(ENDINGS)})", re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """Images of some modes as masks, as docs/data.md shows them.

    Attributes:
        title: what they are.
        modes: Pillow's names.
        alone: what is read of them, "" if they are refused.
        by_table: the same where there is a table of colours.
    """

    title: str
    modes: tuple[str, ...]
    alone: str
    by_table: str


COLOURS = "colours"
KINDS = (
    Kind("palette image", ("P",), "numbers", COLOURS),
    Kind(
        "grey image of 1, 8 or 16 bits",
        ("1", "L", "I;16"),
        "numbers",
        "numbers; colours if all colours of the table are grey. Where both would do and differ, it"
        " is refused",
    ),
    Kind("RGB image, RGBA image without transparency", ("RGB", "RGBA"), "", COLOURS),
    Kind("grey image with alpha, CMYK image, floating-point image", ("LA", "CMYK", "F"), "", ""),
)

_COLOURED = tuple(mode for kind in KINDS if kind.by_table == COLOURS for mode in kind.modes)
_SMOOTH = 3
"""So many colours that are not in the table come from mixing colours, not from a missing line."""


def mask_folder(root: Path, settings: Data, usual: tuple[str, ...]) -> Path | None:
    """The folder of masks: that of ``settings.masks``, which must exist, else a usual one."""
    if settings.masks and not (root / settings.masks).is_dir():
        raise InputError(f"data.masks = {settings.masks!r}: {root} has no such folder")
    names = (settings.masks,) if settings.masks else usual
    return next((root / name for name in names if (root / name).is_dir()), None)


def mask_files(folder: Path | None, photos: Collection[str] = ()) -> dict[str, Path]:
    """Masks below a folder, if there is one, by the names of their photos.

    A mask is called like its photo, or has one of ``ENDINGS`` behind that, the same in the whole
    folder. Where ``photos``, the names of all photos, are not known, the names of the masks have an
    ending if all have the same.

    Raises:
        InputError: two masks of a photo, two ways of naming, or a photo whose only mask is a JPEG
            or another file that does not keep values.
    """
    if folder is None:
        return {}
    files = [f for f in visible_files(folder) if f.suffix.lower() in IMAGE_SUFFIXES]
    names = {file: composed(str(file.with_suffix(""))) for file in files}
    masks = [file for file in files if file.suffix.lower() in MASK_SUFFIXES]
    ending = _ending([names[file] for file in masks or files], photos, folder)
    found: dict[str, Path] = {}
    for file in masks:
        other = found.setdefault(_photo(names[file], ending), folder / file)
        if other != folder / file:
            raise InputError(f"{folder / file}: same name as {other}: keep one mask of a photo")
    lossy = [f for f in files if f not in masks and _photo(names[f], ending) not in found]
    if photos:
        lossy = [file for file in lossy if _photo(names[file], ending) in photos]
    if lossy and (photos or not found):
        count = f" ({len(lossy)} such files)" if len(lossy) > 1 else ""
        raise InputError(
            f"{folder / lossy[0]}: not read as a mask, since {lossy[0].suffix} files may not keep"
            f" its values{count}: export masks as PNG, or name their folder"
        )
    return found


def _photo(name: str, ending: str) -> str:
    """Name of the photo of a mask, where the names of masks have this ending: "_mask"."""
    return name[: len(name) - len(ending)] if name.lower().endswith(ending) else name


def _ending(names: list[str], photos: Collection[str], folder: Path) -> str:
    """What the names of masks have behind those of their photos, in lower case: "_mask", or ""."""
    first: dict[str, str] = {}
    for name in names:
        match = _ENDING.fullmatch(name)
        ending = name[match.end("photo") :].lower() if match else ""
        if photos and name in photos:
            ending = ""
        elif photos and (match is None or match["photo"] not in photos):
            continue
        first.setdefault(ending, name)
    if len(first) > 1 and photos:
        one, other, *_ = first.values()
        raise InputError(
            f"{folder}: masks are named in two ways, {one} and {other}: name all like one of them,"
            " and keep one mask of a photo"
        )
    return next(iter(first)) if len(first) == 1 else ""


@dataclass(frozen=True)
class MaskReader:
    """Reads masks as (H, W) uint8 of 0, 1 .. K, 255; loader processes can copy it.

    Attributes:
        known: class names; value k + 1 is ``known[k]``.
        table: of the folder's colours, None without one.
        numbered: somebody gave the order of the classes, so that a mask may have numbers.
    """

    known: tuple[str, ...]
    table: ColourTable | None = None
    numbered: bool = True

    def __call__(self, path: Path) -> NDArray[np.uint8]:
        """Values of a mask's file. With a table, colours count, also those of a palette.

        The values of a grey file are numbers, unless all colours of the table are grey.

        Raises:
            InputError: the file is unreadable, may have lost its values, or has colours that are
                not in the table.
        """
        if self.table is None:
            return load_mask(path)
        with reading(path) as image:
            require_exact(image, path)
            if image.mode in _COLOURED:
                return by_colour(image, path, self.table, self.known)
            white = 255 if image.mode == "1" else 1
        numbers = load_mask(path)
        if all(len({*colour}) == 1 for colour in self.table.names):
            grey = Image.fromarray(numbers * np.uint8(white)).convert("RGB")
            return by_colour(grey, path, self.table, self.known)
        found = np.flatnonzero(np.bincount(numbers.ravel(), minlength=256)).tolist()
        self._require_numbers(path, found, [white * number for number in found], self.table)
        return numbers

    def _require_numbers(
        self, path: Path, numbers: list[int], shades: list[int], table: ColourTable
    ) -> None:
        """Refuse a grey mask that may have numbers or colours, or numbers that mean nothing."""
        values = table.values(self.known)
        colours = [values.get((shade, shade, shade)) for shade in shades]
        if None not in colours and colours != numbers:
            raise InputError(
                f"{path}: a grey mask, whose {shades[-1]} may be a number or a colour of"
                f" {table.file}: save it in colours (RGB), or take that file away"
            )
        if not self.numbered and any(0 < number < IGNORE for number in numbers):
            raise InputError(
                f"{path}: a grey mask with numbers, and {table.file} says what colours mean: write"
                " the class names, in the order of the numbers, to classes.txt"
            )


def by_colour(
    image: Image.Image, path: Path, table: ColourTable, known: tuple[str, ...]
) -> NDArray[np.uint8]:
    """Mask of an image in colours, or of a palette whose colours count.

    Args:
        image: opened, or made from ``path``.
        path: its file, for messages.
        table: names by colour.
        known: class names; value k + 1 is ``known[k]``.

    Returns:
        (H, W) uint8: 0, 1 .. K, 255.

    Raises:
        InputError: the image has no colours, or a pixel is transparent or of an unknown one.
    """
    if image.mode not in _COLOURED:
        raise InputError(f"{path}: a mask in mode {image.mode}: save it as an RGB or palette PNG")
    if image.mode == "RGBA" and np.asarray(image)[..., 3].min(initial=255) < 255:
        raise InputError(f"{path}: transparent pixels, which mean no class: save it without alpha")
    values = {_code(colour): value for colour, value in table.values(known).items()}
    ordered = np.array(sorted(values), np.int32)
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), 2, 0).astype(np.int32)
    codes = red << 16 | green << 8 | blue
    places = np.searchsorted(ordered, codes).clip(max=len(ordered) - 1)
    strange = ordered[places] != codes
    if strange.any():
        raise InputError(f"{path}: {_strangers(codes[strange], table)}")
    return np.array([values[code] for code in ordered.tolist()], np.uint8)[places]


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _strangers(codes: NDArray[np.int32], table: ColourTable) -> str:
    """What to do about the colours of these pixels, which mean nothing."""
    counts = Counter(codes.tolist()).most_common()
    code, pixels = counts[0]
    colour = (code >> 16, code >> 8 & 255, code & 255)
    number = f"{pixels} pixel{'s' if pixels > 1 else ''}"
    if colour in table.names:
        return (
            f"colour {colour} of {number} is {table.names[colour]!r} in {table.file}, which is not"
            " a class here: give that tag to the photos that show it, or name it in classes.txt"
        )
    line = f"colour {colour} of {number} is not in {table.file}"
    if len(counts) < _SMOOTH:
        return f"{line}: add its class ('background' or 'ignore' if it is none), or fix the mask"
    return (
        f"{line}, nor are {len(counts) - 1} more: edges drawn smoothly (anti-aliasing), scaling and"
        " JPEG mix colours: export the mask without smoothing, as PNG"
    )
