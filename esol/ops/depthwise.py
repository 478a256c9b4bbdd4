"""Gradients of depthwise convolutions on a CPU, where PyTorch's are slow.

PyTorch computes the forward pass of a depthwise convolution in a few milliseconds, and the gradient
of its weights up to forty times as slowly where the convolution is dilated, as all those of a
last stage are at stride 16, or has more than 3 x 3 weights. Both gradients are computed by what is
fast: that of the input is a convolution with the mirrored weights; that of the weights falls apart
into those of 3 x 3 weights without dilation, on every ``dilation``-th cell.
``benchmarks/depthwise.py`` has the figures.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

_weight_gradient_of: Any = conv2d_weight  # without types


_MOST_APART = 4
"""Dilations above, such as DeepLabV3+'s, leave too few cells together: PyTorch is faster."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of stride 1 that keeps the size; see the module."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        learns = self.weight.requires_grad or x.requires_grad
        if x.device.type != "cpu" or not (learns and torch.is_grad_enabled()):
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            x, weight = x.to(half), weight.to(half)
        result: Tensor = _Depthwise.apply(x, weight, self.dilation[0])
        return result if self.bias is None else result + self.bias.to(result.dtype)[:, None, None]


def use_fast_gradients(network: nn.Module) -> None:
    """Make the depthwise convolutions of a network, where they can be, ``DepthwiseConv2d``s."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = DepthwiseConv2d


def _fits(layer: nn.Conv2d) -> bool:
    side, apart = layer.kernel_size[0], layer.dilation[0]
    return (
        layer.groups == layer.in_channels == layer.out_channels > 1
        and layer.kernel_size == (side, side)
        and side > 1
        and side % 2 == 1
        and layer.stride == (1, 1)
        and layer.dilation == (apart, apart)
        and apart <= _MOST_APART
        and layer.padding == (side // 2 * apart,) * 2
        and layer.padding_mode == "zeros"
    )


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, apart: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.apart = apart
        return _convolved(x, weight, apart)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = _convolved(gradient, weight.flip(2, 3), ctx.apart)
        if ctx.needs_input_grad[1]:
            seen, wanted = _phases(x, ctx.apart), _phases(gradient, ctx.apart)
            of_weight = _weight_gradient(seen, wanted, weight.shape[-1])
        return of_input, of_weight, None


def _convolved(x: Tensor, weight: Tensor, apart: int) -> Tensor:
    padding = weight.shape[-1] // 2 * apart
    return F.conv2d(x, weight, padding=padding, dilation=apart, groups=x.shape[1])


def _phases(x: Tensor, apart: int) -> Tensor:
    """(N, C, h, w) -> (N apart^2, C, ceil(h / apart), ceil(w / apart)): every apart-th cell."""
    if apart == 1:
        return x
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % apart, 0, -height % apart)).permute(0, 2, 3, 1)
    n, height, width, channels = x.shape
    x = x.reshape(n, height // apart, apart, width // apart, apart, channels)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)


def _weight_gradient(x: Tensor, gradient: Tensor, side: int) -> Tensor:
    """(C, 1, side, side), of a convolution without dilation, 3 x 3 weights at a time."""
    (height, width), channels, margin = x.shape[-2:], x.shape[1], side // 2
    x = F.pad(x, (margin,) * 4)
    result = x.new_empty(channels, 1, side, side)
    for top in range(0, side - 2, 2):
        for left in range(0, side - 2, 2):
            seen = x[:, :, top : top + height + 2, left : left + width + 2]
            result[:, :, top : top + 3, left : left + 3] = _weight_gradient_of(
                seen.contiguous(memory_format=torch.channels_last),
                (channels, 1, 3, 3),
                gradient,
                groups=channels,
            )
    return result
