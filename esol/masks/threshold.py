"""A threshold chosen without ground truth: from the scores, and from what a CRF does to the seeds.

``studies/thresholds.py`` measures it beside other rules, docs/masks.md has the numbers.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from esol.data.at_once import in_order
from esol.errors import InputError
from esol.maps.files import Maps
from esol.masks.background import Background
from esol.masks.crf import crf_seeds
from esol.masks.seeds import strongest
from esol.settings import Refine

_STEPS = 255
"""Scores in the cache are multiples of 1/255."""

_START = 0.3
"""Threshold of the seeds that the CRF moves."""

_CRF = Refine(longest=160)
"""IRN's CRF on small photos: its kernels reach over a larger part of the photo than where it
refines masks, so it moves what does not follow the colours further, and costs little."""

_STRENGTH = 5.0
"""How much further than the CRF the estimate goes; found on `train` lists (docs/masks.md)."""

_REST, _CLEAR = 0.1, 0.2
"""Movements, in log-odds, up to which a CRF says nothing, and from which it is believed."""

_NO_BACKGROUND = 0.02
"""Share of background below which there is taken to be none."""


def estimate_background(
    photos: Iterable[tuple[Image.Image, Maps]], device: torch.device, workers: int = 1
) -> Background:
    """Estimate how much of the photos is background.

    The scores alone cannot tell it: each map has been divided by its maximum, so maps of photos
    that are all meadow and sky look like maps of photos with one cow. The photos can. A dense CRF
    gives pixels to the label that pixels of like colour have: it grows the background of seeds at
    0.3 where they are wider than what they belong to, and shrinks it where they are narrower. It
    moves them part of the way; the estimate goes on in the same direction, by log-odds. Seeds of
    the right width move a little too, so a small movement is no evidence.

    Args:
        photos: upright RGB, with maps of one kind; photos without a map do not count.
        device: where the CRF computes.
        workers: photos at once (:func:`esol.data.at_once.in_order`).

    Raises:
        InputError: there is no map.
    """

    def shares(one: tuple[Image.Image, Maps]) -> tuple[float, float]:
        photo, maps = one
        (mask,) = crf_seeds(photo, maps, (_START,), _CRF, device)
        return float((strongest(maps.maps)[0] <= _START).mean()), float((mask == 0).mean())

    mapped = ((photo, maps) for photo, maps in photos if len(maps.classes))
    found = [*in_order(shares, mapped, workers)]
    if not found:
        raise _nothing("no photo has a map")
    before, after = zip(*found, strict=True)
    start, end = (_log_odds(float(np.mean(each))) for each in (before, after))
    certainty = (abs(end - start) - _REST) / (_CLEAR - _REST)
    if np.mean(before) < _NO_BACKGROUND:
        certainty = 1.0  # nothing is left that a CRF could move
    share = 1 / (1 + math.exp(-(start + _STRENGTH * (end - start))))
    return Background(share, min(max(certainty, 0.0), 1.0))


def choose_threshold(photos: Iterable[Maps], background: Background) -> float:
    """The mean score, or less where there is clearly less background than that leaves.

    Cells above the average are a good foreground as long as most of the photo is background. Where
    little or none is, half of every object lies below the average; there ``background`` decides.
    A cell of the cached grid counts with its highest score among the photo's tagged classes, and
    all photos count alike, whatever their size. One threshold holds for the whole list. The maps,
    all of one kind, are read once, in any order; photos without a tag do not count.

    Args:
        photos: the maps of a list.
        background: of :func:`estimate_background`.

    Returns:
        Threshold in 0 .. 1, a multiple of 0.01 as in the curves of :mod:`esol.metrics.curves`.

    Raises:
        InputError: there is no map, or all scores are equal.
    """
    shares = _shares(photos)
    mean = float(shares @ np.arange(_STEPS + 1)) / _STEPS
    none = background.share < _NO_BACKGROUND
    low = 0.0 if none else min(mean, _covering(shares, 1 - background.share))
    return round(mean + background.certainty * (low - mean), 2)


def threshold_of_share(photos: Iterable[Maps], share: float) -> float:
    """The highest threshold, a multiple of 0.01, at which foreground is ``share`` of a photo.

    Arguments and errors are those of :func:`choose_threshold`; ``share`` is in 0 .. 1.
    """
    return _covering(_shares(photos), share)


def top_counts(maps: Maps) -> NDArray[np.int64]:
    """(256,) cells of one photo by their highest score in steps of 1/255."""
    levels = np.rint(strongest(maps.maps)[0] * np.float32(_STEPS)).astype(np.intp)
    return np.bincount(levels.ravel(), minlength=_STEPS + 1).astype(np.int64)


def _shares(photos: Iterable[Maps]) -> NDArray[np.float64]:
    """(256,) shares of the cells by their level, the mean of all photos with a map."""
    shares, number = np.zeros(_STEPS + 1), 0
    for maps in photos:
        if len(maps.classes):
            counts = top_counts(maps)
            shares += counts / counts.sum()
            number += 1
    if np.count_nonzero(shares) < 2:
        raise _nothing("all scores are equal" if number else "no photo has a map")
    return shares / number


def _covering(shares: NDArray[np.float64], share: float) -> float:
    """The highest multiple of 0.01 above which ``share`` of the cells score, or 0."""
    above = 1 - np.cumsum(shares)
    thresholds = np.arange(101) / 100
    enough = above[np.floor(thresholds * _STEPS + 1e-9).astype(np.intp)] >= share - 1e-9
    return float(thresholds[max(np.flatnonzero(enough), default=0)])


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(share / (1 - share))


class NoScoresError(InputError):
    """Maps that no threshold can be chosen for."""


def _nothing(state: str) -> NoScoresError:
    return NoScoresError(
        f"masks.threshold = auto: {state}; train longer (classify.fit), or give a number"
    )
