"""Resizing of feature-sized maps that keeps them on the photo."""

import torch
from torch import Tensor
from torch.nn import functional as F


def resize_maps(
    maps: Tensor, grid: tuple[int, int], input: tuple[int, int], stride: int, *, mirrored: bool
) -> Tensor:
    """Resize maps to a grid laid over the photo, by where their cells really lie.

    A convolution of odd kernel k, padding k // 2 and stride 2 puts output cell i over input pixel
    2 i. So cell i of a network of stride s lies over pixel s * i, not over s * i + (s - 1) / 2 as
    ``interpolate(align_corners=False)`` takes it: half a cell of error, in opposite directions for
    a photo and its mirror image.

    Args:
        maps: (N, K, h, w).
        grid: cells of the result, (h', w'), stretched over the photo (align_corners=False).
        input: height and width of the network's input, pixels.
        stride: input pixels per cell of ``maps``.
        mirrored: the input was mirrored left to right; the result is mirrored back.

    Returns:
        (N, K, h', w'), bilinear; beyond the outermost cells the value of the border.
    """
    rows = _cells(grid[0], input[0], stride, mirrored=False, like=maps)
    columns = _cells(grid[1], input[1], stride, mirrored=mirrored, like=maps)
    h, w = maps.shape[2:]
    y, x = (2 * cells / max(n - 1, 1) - 1 for cells, n in ((rows, h), (columns, w)))
    places = torch.stack([x.expand(grid), y[:, None].expand(grid)], dim=-1)
    places = places.expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, places, align_corners=True, padding_mode="border")


def _cells(count: int, length: int, stride: int, *, mirrored: bool, like: Tensor) -> Tensor:
    """Along one axis, the cell coordinate under the centre of each of ``count`` grid cells."""
    centre = torch.arange(count, device=like.device, dtype=like.dtype) + 0.5
    pixel = centre * (length / count) - 0.5
    return (length - 1 - pixel if mirrored else pixel) / stride
