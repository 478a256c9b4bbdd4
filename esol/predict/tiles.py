"""Probabilities of large photos in parts: tiles that blend, and bands of rows at the end."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esol.ops.grids import stretched

STEP = 32
"""Tiles start at multiples of this, so that the network's cells lie as in the untiled photo."""


def labelled(
    probabilities: Tensor, size: tuple[int, int], *, with_scores: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The most probable labels at a photo's ``size`` (H, W), of (1, L, h, w) probabilities.

    Returns:
        (H, W) uint8 mask, and as scores the (L, H, W) float32 probabilities at the photo's size;
        (L, 0, W) without ``with_scores``.
    """
    mask = np.empty(size, np.uint8)
    same = probabilities.shape[2:] == size
    if with_scores and same:
        scores = probabilities[0].cpu().numpy()
    else:
        height = size[0] if with_scores else 0
        scores = np.empty((probabilities.shape[1], height, size[1]), np.float32)
    for rows, values in stretched(probabilities, size):
        mask[rows] = values[0].argmax(0).to(torch.uint8).cpu().numpy()
        if with_scores and not same:
            scores[:, rows] = values[0].cpu().numpy()
    return mask, scores


def spans(length: int, tile: int) -> list[tuple[int, int]]:
    """(begin, end) of tiles along a side of ``length`` pixels: evenly spread, at multiples of
    ``STEP``, at most ``tile`` long, neighbours sharing at least tile / 8 pixels.
    """
    if length <= tile:
        return [(0, length)]
    count = 1 + math.ceil((length - tile) / (tile - tile // 8 - STEP))
    begins = [STEP * math.ceil(i * (length - tile) / (count - 1) / STEP) for i in range(count)]
    return [(begin, min(begin + tile, length)) for begin in begins]


def weights(tiles: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Weight of each pixel of each tile along one side; where tiles overlap they sum to 1.

    Where a tile ends inside the photo, its outermost pixels lack their surroundings: over a
    quarter of the overlap they weigh nothing, then the weight rises linearly.
    """
    result, total = [], torch.zeros(tiles[-1][1])
    for index, (begin, end) in enumerate(tiles):
        place = torch.arange(begin, end, dtype=torch.float32) + 0.5
        weight = torch.ones(end - begin)
        if index:
            weight *= _ramp(place, begin, tiles[index - 1][1])
        if index + 1 < len(tiles):
            weight *= 1 - _ramp(place, tiles[index + 1][0], end)
        total[begin:end] += weight
        result.append(weight)
    # Of short tiles three may meet.
    return [weight / total[begin:end] for weight, (begin, end) in zip(result, tiles, strict=True)]


def _ramp(place: Tensor, begin: int, end: int) -> Tensor:
    margin = (end - begin) / 4
    return ((place - begin - margin) / (end - begin - 2 * margin)).clamp(0, 1)
