"""Resized maps lie where the network's cells lie."""

import pytest
import torch
from torch import nn

from esol.ops.resize import resize_maps

STRIDE = 16


def lying_over() -> nn.Module:
    """Four stride-2 convolutions that pass their centre on: cell i is pixel 16 i."""
    layers = []
    for _ in range(4):
        layer = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
        nn.init.zeros_(layer.weight)
        layer.weight.data[0, 0, 1, 1] = 1
        layers.append(layer)
    return nn.Sequential(*layers).requires_grad_(False)


@pytest.mark.parametrize("size", [(320, 320), (321, 321), (224, 400)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_ramp_stays_in_place(size, mirrored):
    """Cells that carry their pixel's position give every grid cell its own position."""
    height, width = size
    y = torch.arange(height, dtype=torch.float32)[:, None].expand(size)
    x = torch.arange(width, dtype=torch.float32)[None, :].expand(size)
    for ramp, length, axis in ((y, height, 0), (x, width, 1)):
        image = (ramp.flip(1) if mirrored else ramp)[None, None]
        maps = lying_over()(image)
        grid = (height // 4, width // 4)
        found = resize_maps(maps, grid, size, STRIDE, mirrored=mirrored)[0, 0]
        expected = (torch.arange(grid[axis]) + 0.5) * (length / grid[axis]) - 0.5
        expected = expected[:, None] if axis == 0 else expected[None, :]
        inner = (slice(5, -5), slice(5, -5))
        torch.testing.assert_close(found[inner], expected.expand(grid)[inner], rtol=0, atol=1e-2)


def test_border_is_repeated():
    maps = torch.tensor([[[[1.0, 2.0]]]])
    found = resize_maps(maps, (1, 32), (16, 32), STRIDE, mirrored=False)[0, 0, 0]
    assert found[0] == 1
    assert found[16:].tolist() == [2.0] * 16
    mirrored = resize_maps(maps, (1, 32), (16, 32), STRIDE, mirrored=True)[0, 0, 0]
    assert torch.equal(mirrored, found.flip(0))
