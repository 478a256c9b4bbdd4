"""Frozen-weight deformable convolution: project, then sample.

``torchvision.ops.deform_conv2d`` samples the input at every kernel tap and multiplies the samples
by the weight. Bilinear sampling is linear, so with a fixed weight the product can come first, one
matrix product without a gradient; what remains is a weighted sum of gathered rows, whose only
gradient is that of the sampling positions.
"""

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F


def deform_conv2d_frozen(
    input: Tensor, offset: Tensor, weight: Tensor, *, padding: int = 0
) -> Tensor:
    """Deformable convolution, stride 1, whose input and weight are constants.

    Equals ``torchvision.ops.deform_conv2d(input, offset, weight, padding=padding)`` in output and
    in the gradient of ``offset``; ``input`` and ``weight`` get no gradient.

    Args:
        input: (N, C, H, W) features.
        offset: (N, 2 * k * k, H', W') displacements in cells, (y, x) per kernel tap in row-major
            order, H' = H + 2 * padding - k + 1.
        weight: (O, C, k, k).
        padding: zero cells added on every side.

    Returns:
        (N, O, H', W').

    Raises:
        ValueError: the shapes do not fit.

    Examples:
        A 1 x 1 kernel that samples one cell further to the right:

        >>> row = torch.arange(4.0).view(1, 1, 1, 4)
        >>> right = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
        >>> deform_conv2d_frozen(row, right, torch.ones(1, 1, 1, 1))
        tensor([[[[1., 2., 3., 0.]]]])
    """
    n, c, h, w = input.shape
    k, k2 = weight.shape[2:]
    out_h, out_w = h + 2 * padding - k + 1, w + 2 * padding - k2 + 1
    if weight.shape[1] != c or k != k2 or offset.shape != (n, 2 * k * k, out_h, out_w):
        raise ValueError(
            f"input {tuple(input.shape)}, weight {tuple(weight.shape)}, padding {padding} need an"
            f" offset of shape {(n, 2 * k * k, out_h, out_w)}, not {tuple(offset.shape)}"
        )
    return Projected(input, weight, padding).at(offset)


class Projected:
    """What every tap of a fixed convolution adds, wherever it is read: multiplied once, summed at
    as many positions as wanted.

    Args:
        input: (N, C, H, W) features.
        weight: (O, C, k, k).
        padding: zero cells added on every side.
    """

    def __init__(self, input: Tensor, weight: Tensor, padding: int) -> None:
        self.rows = _project(input, weight)
        n, _, h, w = input.shape
        self.shape, self.kernel, self.padding = (n, h, w), weight.shape[-1], padding

    def at(self, offset: Tensor) -> Tensor:
        """(N, O, H', W') of the deformable convolution; ``offset`` as in
        :func:`deform_conv2d_frozen`.
        """
        n, h, w = self.shape
        index, coefficient = _bilinear(offset, h, w, self.kernel, self.padding)
        # Projected in bfloat16, rows are still summed in the precision of their positions.
        kind = torch.promote_types(self.rows.dtype, offset.dtype)
        rows, coefficient = self.rows.to(kind), coefficient.to(kind)
        out = F.embedding_bag(index, rows, per_sample_weights=coefficient, mode="sum")
        return out.view(n, *offset.shape[2:], -1).permute(0, 3, 1, 2)

    def plain(self) -> Tensor:
        """(N, O, H', W') of the convolution itself."""
        (n, h, w), k = self.shape, self.kernel
        taps = self.rows.view(n, h, w, k, k, -1)
        shrink = k - 1 - 2 * self.padding
        # As in ``at``, what bfloat16 has multiplied is summed in float32.
        kind = torch.promote_types(taps.dtype, torch.float32)
        out = taps.new_zeros(n, h - shrink, w - shrink, taps.shape[-1], dtype=kind)
        for y, x in itertools.product(range(k), repeat=2):
            up, down = _overlap(out.shape[1], h, y - self.padding)
            left, right = _overlap(out.shape[2], w, x - self.padding)
            out[:, up, left] += taps[:, down, right, y, x]
        return out.permute(0, 3, 1, 2)


def _overlap(length: int, other: int, shift: int) -> tuple[slice, slice]:
    """Where a row and another one, that lies ``shift`` cells before it, cover each other."""
    start, stop = max(0, -shift), min(length, other - shift)
    return slice(start, stop), slice(start + shift, stop + shift)


@torch.no_grad()
def _project(input: Tensor, weight: Tensor) -> Tensor:
    """Every tap's 1 x 1 convolution of every cell: (N * H * W * k * k, O)."""
    n, c, h, w = input.shape
    o, _, k, _ = weight.shape
    cells = input.permute(0, 2, 3, 1).reshape(n * h * w, c)
    # One product for all taps: row (cell, tap) is what that tap adds where it lies on that cell.
    taps = weight.permute(1, 2, 3, 0).reshape(c, k * k * o)
    return (cells @ taps).view(n * h * w * k * k, o)


def _bilinear(offset: Tensor, h: int, w: int, k: int, padding: int) -> tuple[Tensor, Tensor]:
    """Rows of the projected input and their coefficients: two (N * H' * W', 4 * k * k) tensors."""
    n, _, out_h, out_w = offset.shape
    shift = offset.view(n, k * k, 2, out_h, out_w)
    centre = (k - 1) / 2
    tap = torch.arange(k, device=offset.device, dtype=offset.dtype) - centre
    tap_y = tap.repeat_interleave(k).view(1, k * k, 1, 1)
    tap_x = tap.repeat(k).view(1, k * k, 1, 1)
    first = centre - padding
    y = torch.arange(out_h, device=offset.device, dtype=offset.dtype).view(1, 1, -1, 1) + first
    x = torch.arange(out_w, device=offset.device, dtype=offset.dtype).view(1, 1, 1, -1) + first
    pos_y, pos_x = y + shift[:, :, 0] + tap_y, x + shift[:, :, 1] + tap_x

    # The corner cells are constants; only the bilinear coefficients depend on the offset.
    low_y, low_x = pos_y.detach().floor(), pos_x.detach().floor()
    frac_y, frac_x = pos_y - low_y, pos_x - low_x
    photo = torch.arange(n, device=offset.device).view(n, 1, 1, 1) * (h * w)
    tap_row = torch.arange(k * k, device=offset.device).view(1, k * k, 1, 1)
    indices, coefficients = [], []
    for step_y, part_y in ((0, 1 - frac_y), (1, frac_y)):
        for step_x, part_x in ((0, 1 - frac_x), (1, frac_x)):
            cell_y, cell_x = low_y.long() + step_y, low_x.long() + step_x
            inside = (cell_y >= 0) & (cell_y < h) & (cell_x >= 0) & (cell_x < w)
            cell = photo + cell_y.clamp(0, h - 1) * w + cell_x.clamp(0, w - 1)
            indices.append(cell * (k * k) + tap_row)
            coefficients.append(part_y * part_x * inside)
    index = torch.stack(indices, dim=1).flatten(1, 2).permute(0, 2, 3, 1)
    coefficient = torch.stack(coefficients, dim=1).flatten(1, 2).permute(0, 2, 3, 1)
    return index.reshape(-1, 4 * k * k), coefficient.reshape(-1, 4 * k * k)
