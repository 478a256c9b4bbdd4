"""What a network found in one photo."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data.images import save_mask
from esol.errors import InputError
from esol.predict.overlay import draw_overlay

_SHOWN = 4
"""Classes named by ``repr``, at most."""


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Segmentation of one photo.

    Attributes:
        mask: (H, W) uint8 at the photo's size: 0 background, v the class ``names[v]``.
        classes: names of the classes in the mask, without the background, most pixels first.
        scores: (K + 1, H, W) float32 probabilities, 0 .. 1, background first; after the CRF, if it
            runs.
        names: K + 1 names, "background" first: ``names[v]`` is what mask value v means.
        photo: W x H pixels, the photo as the network saw it: upright 8-bit RGB.

    Examples:
        >>> from esol import load
        >>> prediction = load("runs/mine").predict("photos/images/00002.jpg")
        >>> prediction.save("mask.png")
        >>> prediction.overlay().save("overlay.jpg")
        >>> prediction.mask.shape, prediction.photo.size, prediction.names[:2]
        ((64, 49), (49, 64), ('background', 'anchor'))
    """

    mask: NDArray[np.uint8]
    classes: tuple[str, ...]
    scores: NDArray[np.float32]
    names: tuple[str, ...]
    photo: Image.Image

    def __repr__(self) -> str:
        height, width = self.mask.shape
        shares = [
            f"{name} {100 * np.mean(self.mask == self.names.index(name, 1)):.1f} %"
            for name in self.classes[:_SHOWN]
        ]
        if more := len(self.classes) - len(shares):
            shares.append(f"{more} more")
        return f"Prediction({width} x {height} pixels: {', '.join(shares) or 'background only'})"

    def save(self, path: Path | str) -> None:
        """Write the mask as palette PNG with the VOC colours, as ``esol predict`` does.

        The names are in the file, too: its text "classes" is a JSON list, "background" first.

        Raises:
            InputError: the name does not end in .png, or the file cannot be written.
        """
        if Path(path).suffix.lower() != ".png":
            raise InputError(
                f"{path}: a mask is saved as PNG, which keeps its values: name it .png"
            )
        save_mask(self.mask, path, self.names)

    def overlay(self) -> Image.Image:
        """The photo with the mask's colours blended in, and a strip below that names them, RGB."""
        return draw_overlay(self.photo, self.mask, self.names[1:])
