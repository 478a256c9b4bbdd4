"""Learned sampling: where a fixed convolution reads its input. Used by Expansion and Shrinkage."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from esol.ops.deform import Projected, deform_conv2d_frozen
from esol.settings import Sampler
from esol.system.precision import single, whole


class OffsetBranch(nn.Module):
    """Convolution that predicts an offset for every tap of a kernel at every position.

    A kernel with taps p_k then computes y(p) = sum_k W_k x(p + p_k + o_k(p)) instead of
    sum_k W_k x(p + p_k), x being read bilinearly (A.1.1, A.1.2: the "learning offset branch").
    With o' = B * x + b, minus its mean over the image if ``centre``, and r = ``bound``:

        o = r tanh(o' / r), then :func:`keep_on_map` if ``clamp``

    B and b are zero at the start, so nothing moves. The bound, centring and clamping are ours:
    unbounded offsets run away under loss maximisation.

    Args:
        channels: of x.
        taps: taps of the kernel that samples: k * k.
        settings: kernel of B, bound in cells (0: none), centring, clamping.
    """

    def __init__(self, channels: int, taps: int, settings: Sampler) -> None:
        super().__init__()
        padding = settings.kernel // 2
        self.predict = nn.Conv2d(channels, 2 * taps, settings.kernel, padding=padding)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 2 * taps, h, w) offsets in cells, (y, x) per tap."""
        # A bfloat16 tells positions a quarter of a cell apart where a map has 64.
        with whole(x.device):
            offset = self.predict(single(x))
        if self.settings.centre:
            offset = offset - offset.mean(dim=(2, 3), keepdim=True)
        if (bound := self.settings.bound) > 0:
            offset = bound * torch.tanh(offset / bound)
        return keep_on_map(offset) if self.settings.clamp else offset


def keep_on_map(offset: Tensor) -> Tensor:
    """Shorten offsets so that p + o_k(p) stays on the map for every position p and tap k.

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
    """Stride-1, same-size convolution of x, read where the sampler says; None: a plain one.

    Args:
        x: (N, C, h, w).
        weight: (D, C, k, k). If it learns, torchvision's layer computes its gradient too.
        sampler: predicts offsets from x.
    """
    padding = weight.shape[-1] // 2
    if sampler is None:
        return F.conv2d(x, weight, padding=padding)
    offset = sampler(x)
    if not weight.requires_grad:
        return deform_conv2d_frozen(x, offset, weight, padding=padding)
    with whole(x.device):  # torchvision has no other on CPUs
        return deform_conv2d(single(x), offset, weight, padding=padding)


def plain_and_sampled(
    x: Tensor, weight: Tensor, sampler: OffsetBranch | None
) -> tuple[Tensor, Tensor]:
    """The plain convolution of x, and :func:`sampled_convolution`, which share their products."""
    padding = weight.shape[-1] // 2
    if sampler is None or weight.requires_grad:
        plain = F.conv2d(x, weight, padding=padding)
        return plain, plain if sampler is None else sampled_convolution(x, weight, sampler)
    products = Projected(x, weight, padding)
    return products.plain(), products.at(sampler(x))
