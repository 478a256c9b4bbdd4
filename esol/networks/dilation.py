"""Finer features from a network that was not made for it: strides become dilations.

As in DeepLab (Chen et al., 2015) and timm's ``output_stride``, convolutions and poolings that would
make cells too coarse skip no cells, and everything after them reads cells as far apart as before.
Weights stay; every cell that the network had before keeps its value, except after layers that read
the whole map.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Features = Callable[[nn.Module], Tensor]
"""What a network makes of a square photo of a known side."""

_Pool = nn.MaxPool2d | nn.AvgPool2d
_Layer = nn.Conv2d | _Pool


def dilate(network: nn.Module, stride: int, features: Features, side: int) -> None:
    """Change a convolutional network in place: no feature cell is over ``stride`` photo pixels.

    ``stride`` is a power of 2.
    """
    coarse = _cells(network, features, side)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):  # a list, as children are replaced
            if child not in coarse or not isinstance(child, _Layer):
                continue
            cell = coarse[child]
            apart = max(1, cell // stride)
            step = max(1, min(_side(child.stride), stride // cell)) if cell < stride else 1
            if isinstance(child, nn.Conv2d):
                _spread(child, apart, step)
            elif (apart, step) != (1, _side(child.stride)):
                setattr(parent, name, SpreadPool(child, apart, step))


class SpreadPool(nn.Module):
    """Dilated pooling: reads cells ``apart`` from each other, one result every ``step`` cells."""

    def __init__(self, pool: _Pool, apart: int, step: int) -> None:
        super().__init__()
        self.largest = isinstance(pool, nn.MaxPool2d)
        self.kernel, self.apart, self.step = _side(pool.kernel_size), apart, step
        self.before = _side(pool.padding) * apart
        self.after = (self.kernel - 1) * apart - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, ceil(h / step), ceil(w / step))."""
        sides = (self.before, self.after) * 2
        if self.largest:
            padded = F.pad(x, sides, value=float("-inf"))
            return F.max_pool2d(padded, self.kernel, self.step, dilation=self.apart)
        # Repeats the border, so that zeros beyond it do not enter the mean.
        padded = F.pad(x, sides, mode="replicate")
        weight = x.new_full((x.shape[1], 1, self.kernel, self.kernel), self.kernel**-2)
        return F.conv2d(padded, weight, stride=self.step, dilation=self.apart, groups=x.shape[1])


def _spread(convolution: nn.Conv2d, apart: int, step: int) -> None:
    convolution.stride = (step, step)
    if apart == 1 or convolution.kernel_size == (1, 1):
        return
    high, wide = convolution.dilation
    convolution.dilation = (apart * high, apart * wide)
    if not isinstance(convolution.padding, str):
        high, wide = convolution.padding
        convolution.padding = (apart * high, apart * wide)


@torch.no_grad()
def _cells(network: nn.Module, features: Features, side: int) -> dict[nn.Module, int]:
    """Photo pixels per input cell of each convolution and pooling."""
    cells: dict[nn.Module, int] = {}

    def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        cells[module] = side // max(1, inputs[0].shape[-1])

    layers = [module for module in network.modules() if isinstance(module, _Layer)]
    hooks = [layer.register_forward_pre_hook(read) for layer in layers]
    try:
        features(network)
    finally:
        for hook in hooks:
            hook.remove()
    return cells


def _side(value: int | tuple[int, ...]) -> int:
    """Equal in both directions, as in every network for photos of any shape."""
    return value if isinstance(value, int) else value[0]
