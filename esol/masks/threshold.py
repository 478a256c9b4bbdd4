"""A threshold from the maps alone, without ground truth and photos.

``studies/thresholds.py`` has other rules that were measured, docs/masks.md the numbers.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from esol.errors import InputError
from esol.maps.files import Maps
from esol.masks.seeds import strongest

_STEPS = 255
"""Scores in the cache are multiples of 1/255."""


def choose_threshold(photos: Iterable[Maps]) -> float:
    """The mean score of a list of photos: foreground is what scores above the average pixel.

    Every cell of the cached grid counts alike, with its highest score among the photo's tagged
    classes. The mean rises with the height of the background, with the share of foreground and
    with the number of high scores, and so does the best threshold. One threshold holds for the
    whole list, as each map has been divided by its photo's maximum. The maps, all of one kind, are
    read once, in any order; photos without a tag do not count.

    Returns:
        Threshold in 0 .. 1, a multiple of 0.01 as in the curves of :mod:`esol.metrics.curves`.

    Raises:
        InputError: there is no map, or all scores are equal.
    """
    counts = np.zeros(_STEPS + 1, np.int64)
    for maps in photos:
        if len(maps.classes):
            counts += top_counts(maps)
    if np.count_nonzero(counts) < 2:
        state = "all scores are equal" if counts.any() else "no photo has a map"
        raise InputError(f"masks.threshold = auto: {state}; give a number")
    return round(int(counts @ np.arange(_STEPS + 1)) / int(counts.sum()) / _STEPS, 2)


def top_counts(maps: Maps) -> NDArray[np.int64]:
    """(256,) cells of one photo by their highest score in steps of 1/255."""
    levels = np.rint(strongest(maps.maps)[0] * np.float32(_STEPS)).astype(np.intp)
    return np.bincount(levels.ravel(), minlength=_STEPS + 1).astype(np.int64)
