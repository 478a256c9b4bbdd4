"""Regions: a mask split by class or object, and put together again."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from esol.data.sample import IGNORE
from esol.label_tools.album import Album, Photo

Region = tuple[int, NDArray[np.bool_]]
"""Mask value, and (H, W) where it is."""

Masks = Callable[[Photo], NDArray[np.uint8]]
"""Gives the (H, W) mask of a photo."""

Regions = Callable[[Photo], Iterable[Region]]
"""Gives the regions of a photo, which do not overlap; none of them is empty."""


def without_specks(mask: NDArray[np.uint8], smallest: int) -> NDArray[np.uint8]:
    """(H, W) mask whose parts of fewer pixels, holes too, have the value of the nearest other."""
    kept = np.zeros(mask.shape, bool)
    for value in np.flatnonzero(np.bincount(mask.ravel())).tolist():
        # As in parts; the background is connected at sides alone.
        labels, _ = ndimage.label(mask == value, np.ones((3, 3)) if value else None)
        kept |= (labels > 0) & (np.bincount(labels.ravel()) >= smallest)[labels]
    if kept.all() or not kept.any():
        return mask
    nearest = ndimage.distance_transform_edt(~kept, return_distances=False, return_indices=True)
    return mask[tuple(nearest)]


def regions(mask: NDArray[np.uint8]) -> Iterator[Region]:
    """One region per mask value other than 0, in the order of values."""
    for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist():
        if value:
            yield value, mask == value


def parts(mask: NDArray[np.uint8]) -> Iterator[Region]:
    """One region per connected part of each class; ignored pixels are one region.

    Pixels that touch at a corner are connected, as in OpenCV's contours.
    """
    for value, region in regions(mask):
        if value == IGNORE:
            yield value, region
            continue
        labels, count = ndimage.label(region, np.ones((3, 3)))
        for number in range(1, count + 1):
            yield value, labels == number


def instances(mask: NDArray[np.uint8], objects: NDArray[np.uint8]) -> Iterator[Region]:
    """One region per class and object; ignored pixels are one region.

    The objects may come from another mask of the photo. Each is of the class that most of its
    pixels have; a pixel of this class outside such objects belongs to the nearest of them. A class
    without objects is one region.

    Args:
        mask: (H, W).
        objects: (H, W): 0 without an object, else its number.
    """
    pairs = np.bincount(objects.ravel().astype(np.intp) * 256 + mask.ravel(), minlength=1 << 16)
    pixels = pairs.reshape(256, 256)
    pixels[0] = 0
    pixels[:, (0, IGNORE)] = 0
    class_of = pixels.argmax(axis=1)
    for value, region in regions(mask):
        numbers = np.flatnonzero((class_of == value) & pixels.any(axis=1))
        if value == IGNORE or len(numbers) < 2:
            yield value, region
            continue
        elsewhere = ~(region & np.isin(objects, numbers))
        nearest = ndimage.distance_transform_edt(
            elsewhere, return_distances=False, return_indices=True
        )
        object_of = objects[tuple(nearest)]
        for number in numbers.tolist():
            yield value, region & (object_of == number)


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
