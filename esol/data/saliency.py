"""Saliency maps of any detector: grey images."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data.images import reading
from esol.data.kinds import IMAGE_SUFFIXES
from esol.data.names import on_disk
from esol.errors import InputError

_SUFFIXES = (".png", *sorted(IMAGE_SUFFIXES - {".png"}))


def saliency_folder(root: Path, name: str) -> Path:
    """The existing folder that masks.saliency names, in the data folder or from the current one."""
    for folder in (root / name, Path(name)):
        if folder.is_dir():
            return folder
    missing = f"no saliency maps: no such folder in {root} or in the current folder"
    raise InputError(f"masks.saliency = {name!r}: {missing}; name a folder")


def find_saliency(folder: Path | str, name: str) -> Path:
    """The one saliency map of a photo: FOLDER/NAME with the suffix of an image, in any case.

    The name is the photo's, without suffix ("cats/0001"). None or several maps: an InputError.
    """
    base = Path(folder) / name
    for case in (str.lower, str.upper, str.title):
        # with_suffix would cut a name that has a dot.
        ends = map(case, _SUFFIXES)
        files = [file for end in ends if (file := on_disk(Path(folder), f"{name}{end}"))]
        if len(files) > 1:
            raise InputError(f"{files[0]} and {files[1]}: two saliency maps of one photo; keep one")
        if files:
            return files[0]
    raise InputError(f"{base}.png: no saliency map of the photo {name}; add it (grey image)")


def load_saliency(path: Path | str, size: tuple[int, int]) -> NDArray[np.float32]:
    """Read a grey image as saliency at the size (H, W) of its photo.

    A map of another size must have the photo's proportions: at the map's own scale, a side may be
    one pixel off. It is then resized bilinearly, with pixels averaged where it shrinks.

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
            "make the saliency map again from this photo, at its size or in its proportions"
        )
    if (rows, columns) == (height, width):
        return values
    resized = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized).clip(0, 1)


def _grey(path: Path) -> NDArray[np.float32]:
    """(h, w) float32 in 0 .. 1 from the file's own range."""
    with reading(path) as image:
        if image.mode not in ("1", "L") and not image.mode.startswith("I"):
            advice = "save it as a grey image of 8 or 16 bits (0 background, highest value salient)"
            raise InputError(f"{path}: a saliency map in mode {image.mode}: {advice}")
        highest = {"1": 1, "L": 255}.get(image.mode, 65535)
        values = np.asarray(image).astype(np.float32)
    if values.min() < 0 or values.max() > highest:
        raise InputError(f"{path}: grey values outside 0 .. 65535: save it with 8 or 16 bits")
    return values / np.float32(highest)
