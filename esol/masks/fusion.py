"""Fusion of class scores with saliency."""

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import IGNORE
from esol.masks.seeds import seed_mask, strongest

_CERTAIN = np.float32(0.9)
"""Score above which a class makes a pixel doubtful that the saliency map calls not salient."""


def fuse(
    scores: NDArray[np.float32],
    classes: NDArray[np.integer],
    saliency: NDArray[np.float32],
    *,
    salient: float,
    threshold: float,
) -> NDArray[np.uint8]:
    """Mask from class scores and saliency, as DRS joins them.

    A salient pixel takes its best tagged class if that scores above ``threshold``, a low cut;
    otherwise it is 255: something stands there, and no map says what. A pixel that is not salient
    is background, except that it is 255 if it scores above both 0.9 and ``threshold``: on real
    photos a quarter to a half of these show an object, so neither label is reliable
    (docs/masks.md). A photo without a class is all background, whatever is salient in it.

    Args:
        scores: (K', H, W) maps of the photo's tagged classes, 0 .. 1.
        classes: (K',) their indices, 0 .. K-1, strictly increasing; K' may be 0.
        saliency: (H, W), 0 .. 1.
        salient: saliency from which (included) a pixel is salient.
        threshold: score above which a salient pixel has a class, compared as in ``seed_mask``.

    Returns:
        (H, W) mask: 0 background, class index + 1, 255 undecided.

    Raises:
        ValueError: shapes or order are not as above.
    """
    if saliency.shape != scores.shape[1:]:
        raise ValueError(f"saliency {saliency.shape} and scores {scores.shape} differ in size")
    seed = seed_mask(scores, classes, threshold)
    if not len(classes):
        return seed
    inside = np.where(seed == 0, np.uint8(IGNORE), seed)
    doubtful = (strongest(scores)[0] > _CERTAIN) & (seed != 0)
    outside = np.where(doubtful, np.uint8(IGNORE), np.uint8(0))
    return np.where(saliency >= np.float32(salient), inside, outside)
