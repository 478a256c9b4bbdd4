"""Finer features from a network that was not made for it: strides become dilations.

The way of DeepLab (Chen et al., 2015), by which timm's own ``output_stride`` works as well: where a
convolution or a pooling would make cells coarser than wanted it no longer skips cells, and
everything after it reads cells as far apart as before. Weights stay; every cell that the network
had before keeps its value, but for layers that look at the whole map.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 64
"""Side of the photo that strides are measured on, pixels; twice the coarsest stride."""

_Pool = nn.MaxPool2d | nn.AvgPool2d
_Layer = nn.Conv2d | _Pool


def dilate(network: nn.Module, stride: int) -> None:
    """Change a network so that no feature cell is larger than ``stride`` photo pixels.

    Args:
        network: convolutional; changed in place where it would be coarser.
        stride: wanted, a power of 2.
    """
    coarse = _cells(network)
    # At run time: children are replaced on the way.
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child not in coarse or not isinstance(child, _Layer):
                continue
            cell = coarse[child]
            apart = max(1, cell // stride)
            step = max(1, min(_one(child.stride), stride // cell)) if cell < stride else 1
            if isinstance(child, nn.Conv2d):
                _spread(child, apart, step)
            elif (apart, step) != (1, _one(child.stride)):
                setattr(parent, name, SpreadPool(child, apart, step))


class SpreadPool(nn.Module):
    """A pooling whose window reads cells that lie apart; with ``step`` 1 the map keeps its size.

    Args:
        pool: to be replaced.
        apart: cells from one read cell to the next.
        step: cells from one result to the next.
    """

    def __init__(self, pool: _Pool, apart: int, step: int) -> None:
        super().__init__()
        self.largest = isinstance(pool, nn.MaxPool2d)
        self.kernel, self.apart, self.step = _one(pool.kernel_size), apart, step
        self.before = _one(pool.padding) * apart
        self.after = (self.kernel - 1) * apart - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, ceil(h / step), ceil(w / step))."""
        sides = (self.before, self.after) * 2
        if self.largest:
            padded = F.pad(x, sides, value=float("-inf"))
            return F.max_pool2d(padded, self.kernel, self.step, dilation=self.apart)
        # What lies outside does not count: the mean is of the map's own border.
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
def _cells(network: nn.Module) -> dict[nn.Module, int]:
    """Photo pixels per cell of what each convolution and pooling reads."""
    found: dict[nn.Module, int] = {}

    def read(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[module] = SIDE // max(1, inputs[0].shape[-1])

    layers = [module for module in network.modules() if isinstance(module, _Layer)]
    hooks = [layer.register_forward_pre_hook(read) for layer in layers]
    try:
        feature_map(network)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def feature_map(network: Any) -> Tensor:
    """What timm's network makes of a blank photo of SIDE x SIDE pixels; changes nothing in it."""
    mode = network.training
    try:
        blank = next(network.parameters()).new_zeros(1, 3, SIDE, SIDE)
        return network.eval().forward_features(blank)
    finally:
        network.train(mode)


def _one(value: int | tuple[int, ...]) -> int:
    """Equal in both directions, as in every network that photos of any shape go through."""
    return value if isinstance(value, int) else value[0]
