"""Affinities of the cells of one photo, and maps spread by them: refinement without training.

Lin et al., CLIP is also an efficient segmenter (CLIP-ES), CVPR 2023, section 3.3, spreads maps by a
transformer's attention. Cosines of features do the same for networks without attention.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from esol.ops.grids import resize

_ROUNDS = 3
"""Of columns and rows normalised in turn; CLIP-ES's."""

_LEAST = 1e-8
"""Sums below this count as this."""


def attention_affinity(attention: Tensor) -> Tensor:
    """Attention of a transformer's layers as one symmetric affinity, CLIP-ES's.

    The mean over layers and heads, whose columns and then rows are divided by their sums, three
    times: a cell that all others look at no longer counts more than they do. Then the mean of
    both directions. CLIP-ES squares the result: two steps of :func:`spread`.

    Args:
        attention: (L, n, n), or (L, heads, n, n), 0 or more; a row sums to 1 over what a cell looks
            at, without class tokens to less.

    Returns:
        (n, n), symmetric, 0 or more; rows sum to about 1.
    """
    affinity = attention.float().flatten(0, -3).mean(0)
    for _ in range(_ROUNDS):
        affinity = affinity / affinity.sum(0, keepdim=True).clamp_min(_LEAST)
        affinity = affinity / affinity.sum(1, keepdim=True).clamp_min(_LEAST)
    return (affinity + affinity.T) / 2


def feature_affinity(
    levels: Sequence[Tensor], size: tuple[int, int], beta: float = 1.0, common: float = 0.0
) -> Tensor:
    """Cosine similarity of the features of all pairs of cells, to a power.

    Args:
        levels: (C, h, w) features each, of grids from edge to edge of the photo; their cosines are
            averaged.
        size: grid of the cells, (h, w) with n cells.
        beta: the power, greater than 0. Cosines below 0 count as 0.
        common: share of the mean over the cells that is subtracted from their features first.

    Returns:
        (n, n), symmetric, in 0 .. 1; 1 on the diagonal, or 0 where all features are 0.
    """
    cosines = torch.zeros(size[0] * size[1], size[0] * size[1], device=levels[0].device)
    for level in levels:
        features = resize(level.float()[None], size)[0].flatten(1)
        direction = F.normalize(features - common * features.mean(1, keepdim=True), dim=0)
        cosines += direction.T @ direction
    return (cosines / len(levels)).clamp_(0, 1).pow_(beta)


def nearness(size: tuple[int, int], reach: float, device: torch.device | None = None) -> Tensor:
    """exp(-d^2 / 2 reach^2) of the distance d of all pairs of cells of a grid (h, w), (n, n)."""
    y, x = (torch.arange(n, dtype=torch.float32, device=device) for n in size)
    rows, columns = ((-((p[:, None] - p) ** 2) / (2 * reach**2)).exp() for p in (y, x))
    return torch.kron(rows, columns)


def in_boxes(maps: Tensor, share: float) -> Tensor:
    """(K, h, w) maps, 0 outside the boxes of what stands out in them (CLIP-ES's box mask).

    A box is the smallest one around a connected part of a map, diagonals included, in which it
    exceeds ``share`` of its maximum.
    """
    inside = np.zeros(maps.shape, np.bool_)
    for mask, one in zip(inside, maps.cpu().numpy(), strict=True):
        parts, _ = ndimage.label(one > share * one.max(), np.ones((3, 3)))
        for box in ndimage.find_objects(parts):
            mask[box] = True
    return maps * torch.from_numpy(inside).to(maps.device)


def spread(maps: Tensor, affinity: Tensor, steps: int) -> Tensor:
    """Spread maps: at each step a cell takes the mean of all cells, weighted by its affinities.

    Args:
        maps: (K, h, w), 0 or more.
        affinity: (n, n) of the h * w cells in row-major order, 0 or more; its rows are divided by
            their sums.
        steps: 0 or more.

    Returns:
        (K, h, w), no greater than the maximum of each map.
    """
    rows = affinity / affinity.sum(1, keepdim=True).clamp_min(_LEAST)
    columns = maps.flatten(1).T
    for _ in range(steps):
        columns = rows @ columns
    return columns.T.reshape(maps.shape)
