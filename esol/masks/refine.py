"""Refinement of one photo's maps: boundaries, random walk, affinities."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from esol.data.transforms import reduced, squash, to_tensor
from esol.maps.files import Maps, grid
from esol.maps.localize import Reader, View
from esol.networks.affinity import AffinityNet
from esol.networks.similarity import CellSimilarity
from esol.ops.affinity import in_boxes, spread
from esol.ops.grids import resize
from esol.ops.walk import random_walk
from esol.settings import Input, Similarity, Walk
from esol.system.precision import Asked, half


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
