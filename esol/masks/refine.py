"""Refinement of one photo's maps: dense CRF, confident labels, random walk."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from esol.data.sample import IGNORE
from esol.data.transforms import reduced, squash, to_tensor
from esol.maps.files import Maps, grid
from esol.networks.affinity import AffinityNet
from esol.ops.crf import photo_crf, unary_from_labels
from esol.ops.walk import random_walk
from esol.settings import Input, Refine, Walk


def crf_mask(
    photo: Image.Image, maps: Maps, threshold: float, settings: Refine, device: torch.device
) -> NDArray[np.uint8]:
    """Seed at a threshold, refined by a dense CRF that trusts its labels to a degree.

    The labels of the CRF are background and the photo's tagged classes. It starts from the seed,
    not from the scores: localization maps are no probabilities, and where they are low, the
    scores' small differences let the CRF erase whole objects (docs/LOG.md).

    Args:
        photo: upright RGB.
        maps: of its tagged classes.
        threshold: height of the background plane, 0 .. 1.
        settings: the CRF, its confidence, and the longest side at which it works.
        device: where to compute.

    Returns:
        (H, W) mask: 0 background, class index + 1 elsewhere.
    """
    (mask,) = _refined(photo, maps, (threshold,), settings, device)
    return _full_size(mask, photo)


def confident_labels(
    photo: Image.Image, maps: Maps, settings: Refine, device: torch.device
) -> NDArray[np.uint8]:
    """Labels for IRNet: where two thresholds, each refined by a CRF, agree (IRN's recipe).

    A pixel is a class where the seed at the higher threshold is that class after the CRF,
    background where the seed at the lower threshold is background after the CRF as well as that at
    the higher one, and 255 elsewhere.

    Args:
        photo: upright RGB.
        maps: of its tagged classes.
        settings: thresholds (``affinity``), and the CRF as in :func:`crf_mask`.
        device: where to compute.

    Returns:
        (H, W) labels at photo size: 0 background, class index + 1, 255.
    """
    chosen = settings.affinity
    planes = (chosen.foreground, chosen.background)
    front, back = _refined(photo, maps, planes, settings, device)
    return _full_size(np.where((front == 0) & (back > 0), np.uint8(IGNORE), front), photo)


def _refined(
    photo: Image.Image,
    maps: Maps,
    thresholds: tuple[float, ...],
    settings: Refine,
    device: torch.device,
) -> list[NDArray[np.uint8]]:
    """Per threshold the seed after the CRF, at the size at which the CRF works."""
    small = reduced(photo, settings.longest)
    size = (small.height, small.width)
    if not len(maps.classes):
        return [np.zeros(size, np.uint8) for _ in thresholds]
    scores = _at(torch.from_numpy(maps.maps).to(device), size)
    values = np.concatenate([[0], maps.classes + 1]).astype(np.uint8)
    found = []
    for threshold in thresholds:
        labels = torch.cat([torch.full_like(scores[:1], threshold), scores]).argmax(0)
        unary = unary_from_labels(labels, len(scores) + 1, settings.confidence)
        found.append(
            values[photo_crf(unary, small, settings.crf.kernels()).argmax(0).cpu().numpy()]
        )
    return found


def _full_size(mask: NDArray[np.uint8], photo: Image.Image) -> NDArray[np.uint8]:
    """A mask at the photo's size, by nearest neighbour."""
    if mask.shape == (photo.height, photo.width):
        return mask
    return np.array(Image.fromarray(mask).resize(photo.size, Image.Resampling.NEAREST))


@torch.no_grad()
def boundaries(
    net: AffinityNet, photo: Image.Image, inputs: Input, longest: int
) -> tuple[Tensor, Tensor | None]:
    """Edge map and displacement field of a photo.

    Args:
        net: trained, in evaluation mode, on its device.
        photo: upright RGB.
        inputs: resize "squash" looks at the photo as it was trained, "crop" at its own size.
        longest: longest side at which it is looked at, pixels; 0: its own.

    Returns:
        (h, w) edge probabilities on the stride-4 grid of what was looked at, the mean of the photo
        and its mirror image in logits; (2, h, w) displacements in cells, None if the network does
        not predict them.
    """
    small = squash(photo, inputs.size) if inputs.resize == "squash" else reduced(photo, longest)
    image = to_tensor(small).to(next(net.branches.parameters()).device)
    edges, displacement = net(torch.stack([image, image.flip(2)]))
    edge = torch.sigmoid((edges[0] + edges[1].flip(1)) / 2)
    return edge, None if displacement is None else displacement[0]


def walked(maps: Maps, edge: Tensor, settings: Walk) -> NDArray[np.float32]:
    """Maps spread by a random walk that does not cross edges.

    Args:
        maps: of the photo's tagged classes.
        edge: (h, w) edge probabilities.
        settings: the walk.

    Returns:
        (K', ceil(H / 4), ceil(W / 4)) in 0 .. 1, divided by the maximum over all classes.
    """
    if not len(maps.classes):
        return maps.maps
    start = _at(torch.from_numpy(maps.maps).to(edge.device), (edge.shape[0], edge.shape[1]))
    spread = random_walk(
        start**settings.power,
        edge,
        radius=settings.radius,
        beta=settings.beta,
        steps=settings.steps,
    )
    spread = _at(spread, grid(maps.size))
    return (spread / spread.max().clamp_min(1e-5)).cpu().numpy()


def _at(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) to (C, *size), bilinear, edge to edge."""
    if tuple(values.shape[1:]) == size:
        return values
    return F.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
