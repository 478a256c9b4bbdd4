"""Maps and tags -> seeds: the first mask of a photo."""

import numpy as np
from numpy.typing import NDArray

from esol.maps.files import Maps


def seed_mask(
    scores: NDArray[np.float32], classes: NDArray[np.integer], threshold: float
) -> NDArray[np.uint8]:
    """Give each pixel its best tagged class where that beats a background of constant height.

    A pixel belongs to the class with the highest score if that exceeds ``threshold``, otherwise (a
    tie included) to the background. Between classes of equal score the lower index wins. Scores are
    compared in float32, as in :mod:`esol.metrics.curves`, whose curves hold for exactly these
    masks. The protocol is IRN's.

    Args:
        scores: (K', H, W) maps of the photo's tagged classes, 0 .. 1, no NaN.
        classes: (K',) their indices, 0 .. K-1, strictly increasing; K' may be 0.
        threshold: height of the background plane, 0 .. 1.

    Returns:
        (H, W) mask: 0 background, class index + 1 elsewhere.

    Raises:
        ValueError: shapes or order are not as above.

    Examples:
        >>> scores = np.array([[[0.9, 0.2, 0.1]], [[0.4, 0.5, 0.3]]], np.float32)
        >>> seed_mask(scores, np.array([2, 6]), threshold=0.3)  # values 3 and 7: classes 2 and 6
        array([[3, 7, 0]], dtype=uint8)
    """
    check_scores(scores, classes)
    top, winner = strongest(scores)
    if not len(classes):
        return np.zeros(scores.shape[1:], np.uint8)
    values = (np.asarray(classes) + 1).astype(np.uint8)
    return np.where(top > np.float32(threshold), values[winner], np.uint8(0))


def photo_seed(maps: Maps, threshold: float) -> NDArray[np.uint8]:
    """:func:`seed_mask` of one photo's maps, (H, W) at its size, whatever that is."""
    mask = np.empty(maps.size, np.uint8)
    for rows, scores in maps.bands():
        mask[rows] = seed_mask(scores, maps.classes, threshold)
    return mask


def strongest(scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Highest score of each pixel, (H, W), and its map, (H, W) in 0 .. K'-1, the first of equals.

    ``scores`` is (K', H, W); without a map (K' = 0) every score counts as 0.
    """
    winner = np.zeros(scores.shape[1:], np.intp)
    if not len(scores):
        return np.zeros(scores.shape[1:], np.float32), winner
    # A running maximum: argmax over the first axis strides through memory, twice as slow.
    top = np.asarray(scores[0], np.float32)
    for position in range(1, len(scores)):
        rival = np.asarray(scores[position], np.float32)
        np.copyto(winner, position, where=rival > top)
        top = np.maximum(top, rival)
    return top, winner


def check_scores(scores: NDArray[np.float32], classes: NDArray[np.integer]) -> None:
    """Refuse maps that do not fit their class indices.

    Raises:
        ValueError: not (K', H, W) scores with K' strictly increasing indices of 0 or more.
    """
    if scores.ndim != 3 or np.shape(classes) != (len(scores),):
        raise ValueError(f"{scores.shape} scores for {np.shape(classes)} classes")
    if len(classes) and (classes[0] < 0 or np.any(np.asarray(classes)[1:] <= classes[:-1])):
        raise ValueError(f"class indices not strictly increasing: {list(classes)}")
