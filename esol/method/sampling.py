"""Offset branches, and convolutions that sample where they say."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from esol.ops.deform import deform_conv2d_frozen


class OffsetBranch(nn.Module):
    """Convolution that predicts the sampling offsets; zero at the start, so nothing moves.

    Args:
        channels: of its input.
        taps: k * k of the convolution that samples.
        kernel: side of this branch's own convolution, odd.
        bound: offsets are bound * tanh(raw / bound), cells; 0: unbounded.
        centre: subtract each image's mean offset per tap and axis.
        clamp: keep the displaced centre of each sampling window on the map.
    """

    def __init__(
        self, channels: int, taps: int, *, kernel: int, bound: float, centre: bool, clamp: bool
    ) -> None:
        super().__init__()
        self.predict = nn.Conv2d(channels, 2 * taps, kernel, padding=kernel // 2)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]
        self.bound = bound
        self.centre = centre
        self.clamp = clamp

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 2 * taps, h, w) offsets in cells, (y, x) per tap."""
        raw: Tensor = self.predict(x)
        if self.centre:
            raw = raw - raw.mean(dim=(2, 3), keepdim=True)
        offset = self.bound * torch.tanh(raw / self.bound) if self.bound > 0 else raw
        return keep_on_map(offset) if self.clamp else offset


def keep_on_map(offset: Tensor) -> Tensor:
    """Shorten offsets so that every window's displaced centre stays on the map.

    Args:
        offset: (N, 2 * taps, h, w) in cells, (y, x) per tap.
    """
    n, _, h, w = offset.shape
    moves = offset.view(n, -1, 2, h, w)
    y = torch.arange(h, device=offset.device, dtype=offset.dtype)[:, None]
    x = torch.arange(w, device=offset.device, dtype=offset.dtype)
    move_y = (y + moves[:, :, 0]).clamp(0, h - 1) - y
    move_x = (x + moves[:, :, 1]).clamp(0, w - 1) - x
    return torch.stack([move_y, move_x], dim=2).flatten(1, 2)


def sampled_convolution(x: Tensor, weight: Tensor, sampler: OffsetBranch | None) -> Tensor:
    """Stride-1, same-size convolution of x, at positions that the sampler predicts from x."""
    padding = weight.shape[-1] // 2
    if sampler is None:
        return F.conv2d(x, weight, padding=padding)
    offset = sampler(x)
    if not weight.requires_grad:
        return deform_conv2d_frozen(x, offset, weight, padding=padding)
    sampled: Tensor = deform_conv2d(x, offset, weight, padding=padding)
    return sampled
