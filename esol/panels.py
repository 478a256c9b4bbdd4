"""Scores and masks as pictures."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data.images import palette

_LEVELS = (0.0, 0.35, 0.65, 1.0)
_COLOURS = ((60, 20, 110), (190, 40, 90), (250, 140, 30), (255, 240, 110))
"""Violet over red and orange to light yellow: brightness rises with the score, so that the order
is seen without telling red from green."""


def heat(scores: NDArray[np.floating], photo: Image.Image) -> Image.Image:
    """Lay scores over a photo, the higher the brighter and the less transparent.

    Args:
        scores: (H, W), 0 .. 1; values outside are drawn as the nearer end.
        photo: the photo, W x H pixels.

    Returns:
        W x H picture in mode "RGB".

    Raises:
        ValueError: the sizes differ.
    """
    if scores.shape != (photo.height, photo.width):
        raise ValueError(f"scores {scores.shape}, photo {photo.height} x {photo.width}")
    level = np.clip(scores.astype(np.float32), 0, 1)
    ramp = np.asarray(_COLOURS, np.float32)
    tint = np.stack([np.interp(level, _LEVELS, ramp[:, band]) for band in range(3)], -1)
    # The power lifts weak scores, which a plain share would leave invisible.
    share = 0.75 * level[..., None] ** 0.75
    mixed = (1 - share) * np.asarray(photo.convert("RGB"), np.float32) + share * tint
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def colour(mask: NDArray[np.uint8]) -> Image.Image:
    """Picture of a mask in the VOC colours.

    Args:
        mask: (H, W): 0 background, class index + 1, 255 ignored.

    Returns:
        W x H picture in mode "P"; its pixel values are the mask's.
    """
    picture = Image.fromarray(mask)
    picture.putpalette(palette().tobytes())
    return picture
