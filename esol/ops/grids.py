"""Grids of cells over photos."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from esol.ops.cells import bands, cells


def resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, C, h, w) -> (N, C, *size), bilinear; both grids cover the photo from edge to edge."""
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def padded(images: Tensor, multiple: int) -> Tensor:
    """Pad with zeros, the mean colour, below and to the right up to the next multiples."""
    # The exporter sees in this form that padded sizes are multiples, and so that the sizes of all
    # features agree.
    short = [multiple * ((n + multiple - 1) // multiple) - n for n in images.shape[-2:]]
    return F.pad(images, (0, short[1], 0, short[0]))


def cut(maps: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """(N, C, h, w) cells of ``stride`` pixels, of a photo of ``size`` (H, W) that was padded ->
    the ceil(H / stride), ceil(W / stride) cells that cover the photo from edge to edge.

    Where a side is no multiple, its cells are a little smaller, and read bilinearly.
    """
    rows, columns = cells(size, stride)
    maps = maps[..., :rows, :columns]
    y, x = size[0] / (rows * stride), size[1] / (columns * stride)
    if (y, x) == (1, 1):
        return maps
    inside = torch.tensor([[x, 0, x - 1], [0, y, y - 1]], device=maps.device)
    places = F.affine_grid(inside.expand(len(maps), 2, 3), list(maps.shape), align_corners=False)
    shown = F.grid_sample(maps.float(), places, padding_mode="border", align_corners=False)
    return shown.to(maps.dtype)


def stretched(values: Tensor, size: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
    """Resize (N, L, h, w) float32 values to ``size`` (H, W) bilinearly (align_corners=False), some
    rows at a time: yields rows of the result, and (N, L, rows, W) values.
    """
    old, new = values.shape[2], size[0]
    for rows in bands(new):
        if values.shape[2:] == size:
            yield rows, values[:, :, rows]
            continue
        place = torch.arange(rows.start, rows.stop, device=values.device, dtype=torch.float64)
        place = ((place + 0.5) * (old / new) - 0.5).clamp_(min=0)
        above = place.long()
        below = (above + 1).clamp_(max=old - 1)
        share = (place - above).to(values.dtype)[:, None]
        band = torch.lerp(values[:, :, above], values[:, :, below], share)
        yield rows, resize(band, (len(place), size[1]))
