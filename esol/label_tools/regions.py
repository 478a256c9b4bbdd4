"""Regions: a mask split by class, and put together again."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from esol.label_tools.album import Album

Region = tuple[int, NDArray[np.bool_]]
"""Mask value, and (H, W) where it is."""


def regions(mask: NDArray[np.uint8]) -> Iterator[Region]:
    """One region per mask value other than 0, in the order of values."""
    for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist():
        if value:
            yield value, mask == value


def paint(layers: Iterable[Region], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) mask of regions; later ones cover earlier ones."""
    mask = np.zeros(size, np.uint8)
    for value, region in layers:
        mask[region] = value
    return mask


def used_values(album: Album, used: Iterable[int]) -> dict[str, int]:
    """Labels of an export and their values: all classes, and ignored pixels if there are any."""
    values = {name: k for k, name in enumerate(album.classes, start=1)}
    return values | {album.label(value): value for value in used if value > len(album.classes)}
