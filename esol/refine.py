"""Refinement of one photo's maps: dense CRF, confident labels, random walk."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from esol.data.sample import IGNORE
from esol.data.transforms import scaled, squash, to_tensor
from esol.maps import Maps, grid
from esol.models.affinity import AffinityNet
from esol.ops.crf import dense_crf, unary_from_labels, unary_from_probabilities
from esol.ops.walk import random_walk
from esol.settings import Affinity, Crf, Input, Walk


def reduced(photo: Image.Image, longest: int) -> Image.Image:
    """The photo, made smaller if its longest side is over ``longest`` pixels (0: never)."""
    side = max(photo.size)
    return scaled(photo, longest / side) if 0 < longest < side else photo


def crf_mask(
    photo: Image.Image,
    maps: Maps,
    background: float,
    settings: Crf,
    longest: int,
    device: torch.device,
) -> NDArray[np.uint8]:
    """Seed refined by a dense CRF.

    The scores of background (a constant plane) and classes, divided by their sum, are the
    probabilities that the CRF starts from; the labels are the tagged classes alone.

    Args:
        photo: upright RGB.
        maps: of its tagged classes.
        background: height of the background plane, above 0.
        settings: the CRF.
        longest: the CRF works on the photo reduced to this longest side, pixels; 0: full size.
        device: where to compute.

    Returns:
        (H, W) mask: 0 background, class index + 1 elsewhere.
    """
    if not len(maps.classes):
        return np.zeros(maps.size, np.uint8)
    small = reduced(photo, longest)
    scores = _at(torch.from_numpy(maps.maps).to(device), (small.height, small.width))
    plane = torch.full_like(scores[:1], max(background, 1e-5))
    scores = torch.cat([plane, scores])
    unary = unary_from_probabilities(scores / scores.sum(0, keepdim=True))
    probabilities = run_crf(unary, small, settings)
    if small.size != photo.size:
        probabilities = _at(probabilities, maps.size)
    values = np.concatenate([[0], maps.classes + 1]).astype(np.uint8)
    mask: NDArray[np.uint8] = values[probabilities.argmax(0).cpu().numpy()]
    return mask


def confident_labels(
    photo: Image.Image, maps: Maps, settings: Affinity, longest: int, device: torch.device
) -> NDArray[np.uint8]:
    """Labels for IRNet: where two thresholds, each refined by a CRF, agree (IRN's recipe).

    A pixel is a class where the seed at the higher threshold is that class after the CRF,
    background where the seed at the lower threshold is background after the CRF as well as that at
    the higher one, and 255 elsewhere.

    Args:
        photo: upright RGB.
        maps: of its tagged classes.
        settings: thresholds and CRF.
        longest: the labels are made on the photo reduced to this longest side, pixels.
        device: where to compute.

    Returns:
        (H, W) labels at photo size: 0 background, class index + 1, 255.
    """
    if not len(maps.classes):
        return np.zeros(maps.size, np.uint8)
    small = reduced(photo, longest)
    scores = _at(torch.from_numpy(maps.maps).to(device), (small.height, small.width))
    planes = (settings.foreground, settings.background)
    front, back = (_label_crf(scores, plane, small, settings) for plane in planes)
    values = np.concatenate([[0], maps.classes + 1]).astype(np.uint8)
    labels = values[front]
    labels[(front == 0) & (back > 0)] = IGNORE
    if small.size == photo.size:
        return labels
    full = Image.fromarray(labels).resize(photo.size, Image.Resampling.NEAREST)
    return np.array(full)


def _label_crf(
    scores: Tensor, plane: float, photo: Image.Image, settings: Affinity
) -> NDArray[np.int64]:
    seeds = torch.cat([torch.full_like(scores[:1], plane), scores]).argmax(0)
    unary = unary_from_labels(seeds, len(scores) + 1, settings.confidence)
    labels: NDArray[np.int64] = run_crf(unary, photo, settings.labels).argmax(0).cpu().numpy()
    return labels


def run_crf(unary: Tensor, photo: Image.Image, settings: Crf) -> Tensor:
    """(L, H, W) probabilities of a dense CRF on a photo of W x H pixels."""
    if not settings.iterations:
        return torch.softmax(-unary, 0)
    return dense_crf(
        unary,
        torch.from_numpy(np.array(photo)).to(unary.device),
        spatial=(settings.spatial_size, settings.spatial_weight),
        bilateral=(
            settings.bilateral_size,
            settings.bilateral_colour,
            settings.bilateral_weight,
        ),
        iterations=settings.iterations,
    )


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
    result: NDArray[np.float32] = (spread / spread.max().clamp_min(1e-5)).cpu().numpy()
    return result


def _at(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, h, w) to (C, *size), bilinear, edge to edge."""
    if tuple(values.shape[1:]) == size:
        return values
    return F.interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
