"""Pseudo masks, from which a segmentation network learns, with their confidence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import IGNORE
from esol.masks.fusion import fuse
from esol.masks.seeds import check_scores, seed_mask, strongest


@dataclass(frozen=True, eq=False)
class PseudoMask:
    """One photo's pseudo mask.

    Attributes:
        mask: (H, W) uint8: 0 background, class index + 1, 255 unsure.
        confidence: 0 .. 1, how little the mask depends on the exact threshold
            (:func:`confidence`); NaN if unknown.
        coverage: share of the pixels with a class, 0 .. 1.
        ignored: share of the pixels that are 255, 0 .. 1.
    """

    mask: NDArray[np.uint8]
    confidence: float
    coverage: float
    ignored: float


Bands = Iterable[tuple[slice, NDArray[np.float32]]]
"""Rows of a photo from the top on, and its (K', rows, W) scores there."""


def pseudo_mask(
    bands: Bands,
    classes: NDArray[np.integer],
    *,
    threshold: float,
    margin: float,
    saliency: NDArray[np.float32] | None = None,
    salient: float = 0.5,
) -> PseudoMask:
    """Scores, with or without a saliency map, to a pseudo mask.

    Without saliency the mask is the seed (:func:`esol.masks.seeds.seed_mask`), with it the fusion
    (:func:`esol.masks.fusion.fuse`). Then pixels whose best score is nearer than ``margin`` to the
    threshold become 255, except the background that a saliency map decided. A photo without a tag
    is all background.

    Args:
        bands: maps of the photo's tagged classes at photo size, 0 .. 1, as from ``Maps.bands``.
        classes: (K',) their indices, 0 .. K-1, strictly increasing; K' may be 0.
        threshold: score above which a pixel has a class, 0 .. 1.
        margin: 0 .. 1; 0: none. Above ``threshold`` not even a score of 0 is background.
        saliency: (H, W), 0 .. 1, or None.
        salient: saliency from which a pixel is salient.

    Raises:
        ValueError: shapes or order are not as above.
    """
    masks, counts = [], np.zeros((len(classes), 2), np.int64)
    for rows, scores in bands:
        if saliency is None:
            mask, trusted = seed_mask(scores, classes, threshold), scores
        else:
            salience = saliency[rows]
            mask = fuse(scores, classes, salience, salient=salient, threshold=threshold)
            # The product ranks photos by their true IoU far better than the scores (docs/masks.md).
            trusted = scores * salience
        if margin > 0 and len(classes):
            top = strongest(scores)[0]
            near = (top > np.float32(threshold - margin)) & (top < np.float32(threshold + margin))
            mask[near if saliency is None else near & (mask != 0)] = IGNORE
        masks.append(mask)
        counts += _leads(trusted, threshold)
    return _with_shares(np.concatenate(masks), _firmness(counts))


def from_mask(mask: NDArray[np.uint8]) -> PseudoMask:
    """A finished (H, W) mask, such as the CRF's, as a pseudo mask of unknown confidence."""
    return _with_shares(mask, float("nan"))


def confidence(
    scores: NDArray[np.float32], classes: NDArray[np.integer], threshold: float
) -> float:
    """How clear the decisions behind a seed are, for ranking photos.

    A class's lead at a pixel is its score less the greater of the threshold and the other classes'
    best score; the seed gives it the pixels where its lead is above 0. Its firmness is the number
    of pixels where the lead exceeds d over the number where it exceeds -d: the IoU between a
    strict and a lenient mask of the class. d is half the way from the threshold to 0 or 1,
    whichever is nearer. The confidence is the mean firmness of the tagged classes; a class that
    comes near the threshold nowhere counts 0. Stretching all scores away from the threshold never
    lowers it.

    The arguments and errors are those of :func:`esol.masks.seeds.seed_mask`.

    Returns:
        0 .. 1; 1 for a photo without a tag, whose mask is certainly background.
    """
    check_scores(scores, classes)
    return _firmness(_leads(scores, threshold))


def _leads(scores: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """(K', 2) pixels of each class whose lead exceeds d, and whose lead exceeds -d."""
    step, counts = min(threshold, 1 - threshold) / 2, np.zeros((len(scores), 2), np.int64)
    plane = np.full((1, *scores.shape[1:]), threshold, np.float32)
    for index in range(len(scores)):
        lead = scores[index] - np.concatenate([plane, np.delete(scores, index, 0)]).max(0)
        counts[index] = (lead > step).sum(), (lead > -step).sum()
    return counts


def _firmness(counts: NDArray[np.int64]) -> float:
    """Confidence by a photo's counts of leads."""
    if not len(counts):
        return 1.0
    return float(np.mean([strict / lenient if lenient else 0.0 for strict, lenient in counts]))


def statistics(
    photos: Iterable[tuple[NDArray[np.uint8], Sequence[int]]], classes: Sequence[str]
) -> dict[str, Any]:
    """Counts over a list of (H, W) pseudo masks with their tags, read once, and K class names.

    Returns:
        Plain values: ``{"photos", "pixels", "background", "ignored", "empty", "per_class": {name:
        {"tagged", "missing", "pixels", "share"}}}``. ``background``, ``ignored`` and ``share`` are
        shares of all pixels (0 without any); ``empty`` counts photos with a tag and without a pixel
        of any class, ``tagged`` photos with the tag, ``missing`` tagged photos without a pixel of
        the class.

    Raises:
        ValueError: a mask has a value between K and 255.
    """
    pixels = np.zeros(256, np.int64)
    tagged, missing = np.zeros((2, len(classes)), np.int64)
    number = empty = 0
    for mask, tags in photos:
        counts = np.bincount(mask.ravel(), minlength=256)
        pixels += counts
        number += 1
        empty += len(tags) > 0 and not counts[1:IGNORE].any()
        for tag in tags:
            tagged[tag] += 1
            missing[tag] += counts[tag + 1] == 0
    if pixels[len(classes) + 1 : IGNORE].any():
        raise ValueError(f"a mask value above {len(classes)} other than {IGNORE}")
    total = int(pixels.sum())
    shares = pixels / max(total, 1)
    per_class = {
        name: {
            "tagged": int(tagged[index]),
            "missing": int(missing[index]),
            "pixels": int(pixels[index + 1]),
            "share": float(shares[index + 1]),
        }
        for index, name in enumerate(classes)
    }
    return {
        "photos": number,
        "pixels": total,
        "background": float(shares[0]),
        "ignored": float(shares[IGNORE]),
        "empty": empty,
        "per_class": per_class,
    }


def _with_shares(mask: NDArray[np.uint8], confidence: float) -> PseudoMask:
    ignored = mask == IGNORE
    return PseudoMask(
        mask, confidence, float(((mask != 0) & ~ignored).mean()), float(ignored.mean())
    )
