"""A dense CRF on the seeds of one photo."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from esol.data.sample import IGNORE
from esol.data.transforms import reduced
from esol.maps.files import Maps
from esol.ops.crf import photo_crf, unary_from_labels
from esol.ops.grids import resize
from esol.settings import Refine


def crf_masks(
    photo: Image.Image,
    maps: Maps,
    thresholds: Sequence[float],
    settings: Refine,
    device: torch.device,
) -> list[NDArray[np.uint8]]:
    """Seeds at some thresholds, refined by a dense CRF that trusts its labels to a degree.

    The labels of the CRF are background and the photo's tagged classes. It starts from the seed,
    not from the scores: localization maps are not probabilities, and where they are low, their
    small differences let the CRF erase whole objects (docs/LOG.md). The photo is upright RGB; a
    threshold is the height of the background, 0 .. 1. Seeds of one photo share its lattice, so
    that three of them take half the time of three calls.

    Returns:
        For each threshold an (H, W) mask: 0 background, class index + 1 elsewhere.
    """
    masks = crf_seeds(photo, maps, thresholds, settings, device)
    return [_full_size(mask, photo) for mask in masks]


def confident_labels(front: NDArray[np.uint8], back: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels for IRNet: where two thresholds, each refined by a CRF, agree (IRN's recipe).

    Args:
        front: (H, W) mask of :func:`crf_masks` at the higher threshold, of sure classes.
        back: (H, W) mask at the lower threshold, of sure background.

    Returns:
        (H, W) labels: the class of ``front``, 0 where both are background, 255 elsewhere.
    """
    return np.where((front == 0) & (back > 0), np.uint8(IGNORE), front)


def crf_seeds(
    photo: Image.Image,
    maps: Maps,
    thresholds: Sequence[float],
    settings: Refine,
    device: torch.device,
) -> list[NDArray[np.uint8]]:
    """The seed at each threshold after the CRF, (h, w) at the size at which the CRF works."""
    small = reduced(photo, settings.longest)
    size = (small.height, small.width)
    if not len(maps.classes):
        return [np.zeros(size, np.uint8) for _ in thresholds]
    scores = resize(torch.from_numpy(maps.maps).to(device)[None], size)[0]
    heights = torch.tensor(thresholds, device=device).view(-1, 1, 1, 1)
    labels = torch.cat([heights.expand(-1, 1, *size), scores.expand(len(heights), -1, -1, -1)], 1)
    unary = unary_from_labels(labels.argmax(1), len(scores) + 1, settings.confidence)
    probabilities = photo_crf(unary, small, settings.crf.kernels())
    values = np.concatenate([[0], maps.classes + 1]).astype(np.uint8)
    return list(values[probabilities.argmax(1).cpu().numpy()])


def _full_size(mask: NDArray[np.uint8], photo: Image.Image) -> NDArray[np.uint8]:
    """A mask at the photo's size, by nearest neighbour."""
    if mask.shape == (photo.height, photo.width):
        return mask
    return np.array(Image.fromarray(mask).resize(photo.size, Image.Resampling.NEAREST))
