"""Saliency maps from outside: grey images of any detector."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data.images import IMAGE_SUFFIXES, reading
from esol.errors import InputError

_SUFFIXES = (".png", *sorted(IMAGE_SUFFIXES - {".png"}))


def saliency_folder(root: Path, name: str) -> Path:
    """The folder that masks.saliency names.

    Args:
        root: the data folder.
        name: a path inside the data folder if there is such a folder, else one from the current
            folder; or an absolute path.

    Raises:
        InputError: neither is there.
    """
    for folder in (root / name, Path(name)):
        if folder.is_dir():
            return folder
    raise InputError(
        f"masks.saliency = {name!r}: no saliency maps: no such folder in {root}, nor from here;"
        " name a folder"
    )


def find_saliency(folder: Path | str, name: str) -> Path:
    """The saliency map of a photo: FOLDER/NAME with the suffix of an image, in either case.

    Args:
        folder: folder of the maps, laid out as the photos' names are ("cats/0001").
        name: the photo's name, without suffix.

    Raises:
        InputError: there is no such file, or there are several.
    """
    base = Path(folder) / name
    for suffixes in (_SUFFIXES, [suffix.upper() for suffix in _SUFFIXES]):
        # with_suffix would cut a name that holds a dot.
        found = [path for end in suffixes if (path := base.with_name(base.name + end)).is_file()]
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1]}: two saliency maps of one photo; keep one")
        if found:
            return found[0]
    expected = base.with_name(base.name + ".png")
    raise InputError(f"{expected}: no saliency map of the photo {name}; add it (grey image)")


def load_saliency(path: Path | str, size: tuple[int, int]) -> NDArray[np.float32]:
    """Read a grey image as saliency at photo size.

    A map may be smaller or larger than the photo if its shape is the photo's: at the map's own
    scale, a side may differ by one pixel from what the other side asks for. It is then resized
    bilinearly, with pixels averaged where it shrinks.

    Args:
        path: image of 1, 8 or 16 bits of grey; 0 is background, the kind's highest value salient.
        size: (H, W) of the photo, pixels.

    Returns:
        (H, W) float32, 0 .. 1.

    Raises:
        InputError: the file is missing, unreadable, not grey, or of another shape than the photo.
    """
    values = _grey(Path(path))
    (height, width), (rows, columns) = size, values.shape
    # Both sides may have been rounded: the shorter one is then off by less than a pixel.
    if abs(rows * width - columns * height) > max(height, width):
        raise InputError(
            f"{path}: {columns} x {rows} pixels, but its photo has {width} x {height}; "
            "make the saliency map anew from this photo, at its size or in its proportions"
        )
    if (rows, columns) == (height, width):
        return values
    resized = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0, 1)


def _grey(path: Path) -> NDArray[np.float32]:
    """(h, w) float32 in 0 .. 1 from the file's own range."""
    with reading(path) as image:
        if image.mode not in ("1", "L") and not image.mode.startswith("I"):
            raise InputError(
                f"{path}: a saliency map in mode {image.mode}: save it as a grey image of 8 or 16"
                " bits (0 background, highest value salient)"
            )
        highest = {"1": 1, "L": 255}.get(image.mode, 65535)
        values = np.asarray(image).astype(np.float32)
    if values.min() < 0 or values.max() > highest:
        raise InputError(f"{path}: grey values outside 0 .. 65535: save it with 8 or 16 bits")
    return values / np.float32(highest)
