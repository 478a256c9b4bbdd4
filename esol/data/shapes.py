"""Regions of COCO's two kinds: polygons, and run lengths down the columns."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

Mask = NDArray[np.bool_]

_FARTHEST = 1e9
"""Sensible coordinates are smaller, pixels."""

_LONGEST = 60
"""Bits of the longest run in COCO's text."""


def polygon_region(rings: Iterable[Sequence[float]], size: tuple[int, int]) -> Mask:
    """Region of polygons (x, y, x, y .. in pixels) by the rule of COCO's tools, cut to the photo.

    Raises:
        ValueError: fewer than three corners, or a coordinate that is not a number or too large.
    """
    region = np.zeros(size, bool)
    for ring in rings:
        corners = np.asarray(ring, np.float64).reshape(-1, 2)
        if len(corners) < 3:
            raise ValueError("a polygon needs three corners")
        if not (np.abs(corners) < _FARTHEST).all():
            raise ValueError("a polygon's corner is not in any photo")
        # COCO's code walks along every edge, in steps of a fifth of a pixel.
        near = _cut(corners, max(size))
        if len(near):
            coded = run_lengths.frPyObjects([near.ravel().tolist()], *size)
            region |= run_lengths.decode(coded)[..., 0].astype(bool)
    return region


def run_length_region(counts: Any, size: tuple[int, int]) -> Mask:
    """Region of run lengths down the columns, as numbers or as COCO's text.

    pycocotools does not check that the runs of a text fit the image.

    Raises:
        ValueError: they do not fill the image, or are not run lengths.
    """
    pixels = size[0] * size[1]
    runs = np.array(_numbers(counts) if isinstance(counts, str) else counts, np.int64)
    # Each is bounded, or their sum could overflow and fit by chance.
    if runs.ndim != 1 or ((runs < 0) | (runs > pixels)).any() or runs.sum() != pixels:
        raise ValueError("run lengths do not fill their image")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return inside.reshape(size, order="F")


def _cut(corners: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """A polygon's part in -side .. 2 * side, both ways (Sutherland and Hodgman 1974)."""
    for axis in (0, 1):
        for bound, sign in ((-side, 1), (2 * side, -1)):
            if not len(corners):
                break
            following = np.roll(corners, -1, axis=0)
            depth, after = (sign * (points[:, axis] - bound) for points in (corners, following))
            crosses = (depth < 0) != (after < 0)
            share = np.divide(depth, depth - after, out=np.zeros_like(depth), where=crosses)
            crossings = corners + share[:, None] * (following - corners)
            points = np.stack([corners, crossings], axis=1).reshape(-1, 2)
            corners = points[np.stack([depth >= 0, crosses], axis=1).ravel()]
    return corners


def _numbers(text: str) -> list[int]:
    """Numbers of COCO's text: 5 bits a character, lowest first; bit 5 means more characters.

    From the fourth on, each is the difference to the one before the last.
    """
    numbers: list[int] = []
    number = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift > _LONGEST:
            raise ValueError("run lengths are not COCO text")
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            number -= 1 << shift
        numbers.append(number + (numbers[-2] if len(numbers) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("run lengths are cut off")
    return numbers
