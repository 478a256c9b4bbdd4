"""Feature extractors from timm, at any output stride, with weights by name or from a file."""

from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from esol.errors import InputError
from esol.networks.dilation import SIDE, dilate, feature_map
from esol.networks.folding import fold_batch_norm
from esol.networks.weights import classifier_prefixes, read_weights, reason

OTHER = "take another network, such as resnet50, convnext_tiny or mobilenetv2_100"
"""The way out of a network that does not fit; docs/backbones.md has more."""


class Backbone(nn.Module):
    """A convolutional network without its classifier.

    Args:
        name: timm's name.
        weights: "imagenet" (downloaded by timm), "none" (random) or a .safetensors file.
        stride: input pixels per feature cell, 2 to 32; a network that cannot be asked for it is
            dilated here.
        learn: prefixes of the parameters that learn; ("*",) all; () none.
        norm: "frozen" keeps batch norm at its running statistics, "learned" updates them.

    Attributes:
        channels: C, the number of feature channels.

    Raises:
        InputError: unknown name, no feature maps, stride the network cannot have, weights that
            cannot be had or do not fit, a prefix that matches nothing.
    """

    def __init__(
        self, name: str, *, weights: str, stride: int, learn: tuple[str, ...], norm: str
    ) -> None:
        super().__init__()
        network: Any = _create(name, stride, pretrained=weights == "imagenet")
        self.channels = _fit_stride(network, name, stride)
        if weights not in ("imagenet", "none"):
            _load(network, name, Path(weights))
        self.network = network
        self._forward = network.forward_features
        self.norm = norm
        self._freeze_all_but(learn)

    def _freeze_all_but(self, learn: tuple[str, ...]) -> None:
        names = [name for name, _ in self.network.named_parameters()]
        for prefix in learn:
            if prefix != "*" and not any(name.startswith(prefix) for name in names):
                tops = ", ".join(sorted({name.split(".")[0] for name in names}))
                raise InputError(
                    f"backbone.learn = {prefix!r}: no parameter starts so; there are: {tops}, and"
                    " '*' for all"
                )
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(any(p == "*" or name.startswith(p) for p in learn))

    @property
    def frozen(self) -> bool:
        """Whether no parameter learns and no statistic moves."""
        return self.norm == "frozen" and not any(p.requires_grad for p in self.parameters())

    def train(self, mode: bool = True) -> "Backbone":
        """Training mode; frozen batch norms stay at their running statistics."""
        super().train(mode and not self.frozen)
        if self.norm == "frozen":
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def fold(self) -> "Backbone":
        """Make a frozen backbone faster, in place; its weights can no longer be loaded or saved.

        Raises:
            ValueError: something in it learns.
        """
        if not self.frozen:
            raise ValueError("only a frozen backbone can be folded")
        fold_batch_norm(self.eval().network)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> (N, C, ~H / stride, ~W / stride) features."""
        frozen = self.frozen
        if frozen:
            # The layout in which convolutions are computed.
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            features: Tensor = self._forward(images)
        return features


def _create(name: str, stride: int, *, pretrained: bool) -> nn.Module:
    """Network of timm with cells of ``stride`` pixels: by its own means, else dilated here."""
    if not timm.is_model(name.split(".")[0]):
        close = ", ".join(timm.list_models(f"*{name.split('.')[0][:6]}*")[:5]) or "resnet50"
        raise InputError(f"backbone.name = {name!r}: timm has no such network (near: {close})")
    make = partial(timm.create_model, name, pretrained=pretrained, num_classes=0, global_pool="")
    try:
        try:
            network: nn.Module = make(output_stride=stride)
        except (TypeError, AssertionError):
            # It cannot be asked for this stride, or for any.
            network = make()
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        if not pretrained or isinstance(error, TypeError | AssertionError):
            raise InputError(f"backbone.name = {name!r}: {reason(error)}; {OTHER}") from error
        raise InputError(
            f"backbone.weights = 'imagenet': {name} could not be downloaded ({reason(error)});"
            " give a .safetensors file, or 'none' to start from random weights"
        ) from error
    return network


def _fit_stride(network: nn.Module, name: str, stride: int) -> int:
    """Give a network that stride, if it lacks it; returns the number of feature channels.

    Raises:
        InputError: it gives no feature maps, or cannot have that stride.
    """
    found = _shape(network, name)
    own = SIDE // found[-1]
    if own > stride:
        found = _dilated(network, name, stride) or found
    if SIDE // found[-1] != stride:
        near = [s for s in (8, 16) if stride < s < own and _can_have(name, s)]
        raise InputError(
            f"backbone.name = {name!r}, backbone.stride = {stride}: out of reach of this network;"
            f" set backbone.stride: {' or '.join(map(str, [*near, own]))}, or {OTHER}"
        )
    return found[1]


def _dilated(network: nn.Module, name: str, stride: int) -> tuple[int, ...] | None:
    """Shape of the features of the dilated network; None if it has come to grief."""
    try:
        dilate(network, stride)
        return _shape(network, name)
    except (InputError, RuntimeError, TypeError, ValueError):
        return None


def _can_have(name: str, stride: int) -> bool:
    shape = _dilated(_create(name, stride, pretrained=False), name, stride)
    return shape is not None and SIDE // shape[-1] == stride


def _shape(network: nn.Module, name: str) -> tuple[int, ...]:
    """(1, C, h, h) of the features of a blank square photo.

    Raises:
        InputError: they have no such shape.
    """
    try:
        shape = tuple(feature_map(network).shape)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"backbone.name = {name!r}: does not take photos of any size ({reason(error)}); {OTHER}"
        ) from error
    if len(shape) != 4 or shape[2] != shape[3] or SIDE % shape[3]:
        raise InputError(
            f"backbone.name = {name!r}: gives no feature maps (N, C, H / stride, W / stride), but"
            f" {shape} for a photo of {SIDE} x {SIDE} pixels; {OTHER}"
        )
    return shape


def _load(network: nn.Module, name: str, path: Path) -> None:
    """Strict loading; only the classifier, which we do not use, may be left over in the file."""
    state, spare = read_weights(path, "backbone.weights"), classifier_prefixes(name)
    try:
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith(spare)})
    except RuntimeError as error:
        raise InputError(
            f"backbone.weights: {path} does not fit {name}: {reason(error, lines=2)}"
        ) from error
