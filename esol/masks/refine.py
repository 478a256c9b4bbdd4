"""Refinement of one photo's maps: dense CRF, confident labels, random walk, affinities."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from esol.data.sample import IGNORE
from esol.data.transforms import reduced, squash, to_tensor
from esol.maps.files import Maps, grid
from esol.maps.localize import Reader, View
from esol.networks.affinity import AffinityNet
from esol.networks.similarity import CellSimilarity
from esol.ops.affinity import in_boxes, spread
from esol.ops.crf import photo_crf, unary_from_labels
from esol.ops.grids import resize
from esol.ops.walk import random_walk
from esol.settings import Input, Refine, Similarity, Walk
from esol.system.precision import Asked, half


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


@torch.no_grad()
def boundaries(
    net: AffinityNet, photo: Image.Image, inputs: Input, longest: int, precision: Asked = "no"
) -> tuple[Tensor, Tensor | None]:
    """Edge map and displacement field of a photo.

    Args:
        net: trained, in evaluation mode, on its device.
        photo: upright RGB.
        inputs: "squash" resizes the photo as in training, "crop" keeps its size up to the largest
            of the training.
        longest: for "crop", longest side of the network's input, pixels; 0: the photo's.
        precision: in which the network computes.

    Returns:
        (h, w) edge probabilities on the stride-4 grid of the network's input, from the mean logits
        of the photo and its mirror image; (2, h, w) displacements in cells, None if the network
        does not predict them.
    """
    if inputs.resize == "squash":
        small = squash(photo, inputs.size)
    else:
        small = reduced(photo, inputs.shown(min(max(photo.size), longest or max(photo.size))))
    image = to_tensor(small, net.backbone.normalisation)
    image = image.to(next(net.branches.parameters()).device)
    with half(image.device, precision):
        edges, displacement = net(torch.stack([image, image.flip(2)]))
    edge = torch.sigmoid((edges[0] + edges[1].flip(1)) / 2)
    return edge, None if displacement is None else displacement[0]


def spread_maps(maps: Maps, edge: Tensor, settings: Walk) -> NDArray[np.float32]:
    """Maps spread by a random walk that does not cross edges, (h, w) probabilities on any grid.

    Returns:
        (K', ceil(H / 4), ceil(W / 4)) in 0 .. 1, divided by the maximum over all classes.
    """
    if not len(maps.classes):
        return maps.maps
    start = resize(torch.from_numpy(maps.maps).to(edge.device)[None], edge.shape)[0]
    radius, beta, steps = settings.radius, settings.beta, settings.steps
    walked = random_walk(start**settings.power, edge, radius=radius, beta=beta, steps=steps)
    walked = resize(walked[None], grid(maps.size))[0]
    return (walked / walked.max().clamp_min(1e-5)).cpu().numpy()


def similar_maps(
    maps: Maps, similarity: CellSimilarity, reader: Reader, settings: Similarity
) -> NDArray[np.float32]:
    """Maps that have gone over to cells alike.

    Args:
        maps: of the photo.
        similarity: of the backbone that made them.
        reader: of this photo alone.
        settings: of the spreading.

    Returns:
        (K', ceil(H / 4), ceil(W / 4)) in 0 .. 1, each divided by its maximum.
    """
    if not len(maps.classes):
        return maps.maps
    if similarity.reads_features:
        features = reader.features(similarity.backbone, View(1.0, mirrored=False))
        affinity, size = similarity.of_features([features[0]])
    else:
        photo = reader.pixels(1.0, similarity.backbone.normalisation)[0]
        affinity, size = similarity.of_photo(photo)
    start = resize(torch.from_numpy(maps.maps).to(affinity.device)[None], size)[0]
    if settings.box:
        start = in_boxes(start, settings.box)
    scores = spread(start**settings.power, affinity, settings.steps)
    scores = resize(scores[None], grid(maps.size))[0]
    # Each on its own: means take more of its height from what is small than from what is large.
    return (scores / scores.amax((1, 2), keepdim=True).clamp_min(1e-5)).cpu().numpy()
