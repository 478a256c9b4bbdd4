"""Grids of cells over photos."""

from torch import Tensor
from torch.nn import functional as F


def cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Cells (h, w) of ``stride`` x ``stride`` pixels that cover a photo of ``size`` (H, W)."""
    return -(-size[0] // stride), -(-size[1] // stride)


def resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, C, h, w) -> (N, C, *size), bilinear; both grids cover the photo from edge to edge."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
