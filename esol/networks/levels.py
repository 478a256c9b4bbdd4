"""Feature maps of networks that make tokens, or maps at several levels: timm's transformers.

They have no output stride to choose and no single map to give, so timm is asked for the level that
has the stride, by ``forward_intermediates``: (N, C, h, w), without class and register tokens.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from esol.errors import is_shortage
from esol.ops.grids import cut, padded

PREFERRED = 16
"""Stride that "auto" takes where a network has it."""

_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""Arguments with which timm's networks take photos of any size; each knows one of them at most."""

_FAILURES = (
    AssertionError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


class OutOfReachError(Exception):
    """No level has the stride.

    Attributes:
        strides: those of the levels.
    """

    def __init__(self, strides: list[int]) -> None:
        super().__init__(strides)
        self.strides = strides


class OneSizeError(Exception):
    """The network takes photos of one size only, and they have several."""


@dataclass(frozen=True)
class Levels:
    """A network of timm, without what comes after the level that is read.

    Attributes:
        network: the network.
        index: of that level, the last of its stride.
        strides: of this level and those before it, photo pixels per cell.
        channels: C.
        norm: whether the network's last norm is applied.
        side: the only side of square photos that it takes, pixels; 0: any size.
    """

    network: Any
    index: int
    strides: tuple[int, ...]
    channels: int
    norm: bool
    side: int

    @property
    def is_last(self) -> bool:
        """Whether it is the network's last level, after which its last norm comes."""
        return self.index == len(self.network.feature_info) - 1

    @property
    def plain(self) -> bool:
        """Whether all levels have one stride, as blocks of plain transformers do."""
        return len(self.strides) > 1 and len(set(self.strides)) == 1

    @property
    def stride(self) -> int:
        """Of the level that is read."""
        return self.strides[self.index]

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, C, ceil(H / stride), ceil(W / stride)), see ``stages``."""
        return self._read(images, [self.index])[0]

    def stages(self, images: Tensor) -> list[Tensor]:
        """Maps of all levels, each from edge to edge of the photos.

        Photos are filled up to whole cells with zeros, the mean colour, and what lies beyond them
        is cut off again: features lie where their pixels are.
        """
        return self._read(images, list(range(self.index + 1)))

    def _read(self, images: Tensor, indices: list[int]) -> list[Tensor]:
        levels = self.network.forward_intermediates(
            padded(images, self.stride),
            indices=indices,
            norm=self.norm,
            stop_early=True,
            intermediates_only=True,
        )
        size = (images.shape[-2], images.shape[-1])
        pairs = zip(indices, levels, strict=True)
        return [cut(level, size, self.strides[index]) for index, level in pairs]


def find_levels(
    make: Callable[..., nn.Module], stride: int | Literal["auto"], norm: bool | None, side: int
) -> Levels | None:
    """The level of a network that has a stride; None if timm gives no maps of its levels.

    Args:
        make: makes the network, with more of timm's arguments.
        stride: photo pixels per cell; "auto": 16 where a level has it, else that of the last.
        norm: whether the network's last norm is applied; None: where timm can.
        side: of the square photos, if all have one size; else 0.

    Raises:
        OutOfReachError: no level has the stride.
        OneSizeError: the network wants photos of one size, and ``side`` is 0.
    """
    for network in _made(make, _ANY_SIZE):
        if (found := _level(network, stride, norm, 0)) is not None:
            return found
    one_size = list(_made(make, ({"img_size": side or 16 * PREFERRED},)))
    if one_size and not side and _level(one_size[0], stride, norm, 16 * PREFERRED):
        raise OneSizeError
    return _level(one_size[0], stride, norm, side) if one_size and side else None


def _made(
    make: Callable[..., nn.Module], choices: tuple[dict[str, Any], ...]
) -> Iterator[nn.Module]:
    """The networks that there are with some arguments, one after the other."""
    for arguments in choices:
        try:
            network = make(**arguments)
        except _FAILURES as error:
            if is_shortage(error):
                raise
            continue
        if hasattr(network, "forward_intermediates") and hasattr(network, "feature_info"):
            yield network


def _level(
    network: Any, stride: int | Literal["auto"], norm: bool | None, side: int
) -> Levels | None:
    """The level of a network, which loses what comes after it; None if it gives no map there."""
    strides = [int(level["reduction"]) for level in network.feature_info]
    if stride == "auto":
        stride = PREFERRED if PREFERRED in strides else strides[-1]
    if stride not in strides:
        raise OutOfReachError(sorted(set(strides)))
    index = max(i for i, cell in enumerate(strides) if cell == stride)
    # The last norm is one of the last level's channels.
    norms = (norm,) if norm is not None else (True, False)
    for wanted in norms if index == len(strides) - 1 else (False,):
        try:
            size = (side, side) if side else (4 * stride, 6 * stride)
            found = Levels(network, index, tuple(strides[: index + 1]), 0, wanted, side)
            shape = _shape(found, size)
        except _FAILURES as error:
            if is_shortage(error):
                raise
            continue
        if shape[2:] != (-(-size[0] // stride), -(-size[1] // stride)):
            return None
        if hasattr(network, "prune_intermediate_layers"):
            network.prune_intermediate_layers([index], prune_norm=not wanted, prune_head=True)
        return Levels(network, index, found.strides, shape[1], wanted, side)
    return None


@torch.no_grad()
def _shape(levels: Levels, size: tuple[int, int]) -> tuple[int, ...]:
    """Of the features of a blank photo; the network stays as it is."""
    network, mode = levels.network, levels.network.training
    try:
        blank = next(network.parameters()).new_zeros(1, 3, *size)
        network.eval()
        return tuple(levels.features(blank).shape)
    finally:
        network.train(mode)
