"""Feature extractors from timm at any output stride, with weights by name or from a file."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import timm
import torch
from torch import Tensor, nn

from esol.errors import InputError, is_shortage, one_line
from esol.networks.dilation import dilate
from esol.networks.folding import fold_batch_norm, hold_batch_norm
from esol.networks.pretrained import classifier_prefixes, normalisation_of
from esol.networks.weights import prefix_advice, read_weights
from esol.settings import BackboneSettings

_ADVICE = "take another network, such as resnet50, convnext_tiny or mobilenetv2_100"
"""For a network that does not fit; docs/backbones.md has more."""


SIDE = 64
"""Side of the photo that strides are measured on, pixels; twice the coarsest stride."""


class Keys(NamedTuple):
    """What messages call the settings of a backbone."""

    name: str = "backbone.name"
    weights: str = "backbone.weights"
    stride: str = "backbone.stride"
    learn: str = "backbone.learn"


_KEYS = Keys()


class Backbone(nn.Module):
    """A convolutional network without its classifier, dilated where timm cannot set the stride.

    Args:
        settings: name, initial weights, stride, what learns, batch norm.
        keys: what messages call these settings.

    Attributes:
        channels: C, the number of feature channels.
        normalisation: that of the photos it is given.

    Raises:
        InputError: unknown name, no feature maps, impossible stride, weights that are not available
            or do not fit, a prefix that matches nothing.
    """

    def __init__(self, settings: BackboneSettings, keys: Keys = _KEYS) -> None:
        super().__init__()
        weights = settings.weights
        self.normalisation = normalisation_of(settings)
        network: Any = _create(settings, keys, pretrained=weights == "imagenet")
        self.channels = _fit_stride(network, settings, keys)
        if weights not in ("imagenet", "none"):
            _load(network, settings, keys)
        self.network = network
        self._forward = network.forward_features
        self.norm = settings.norm
        self._freeze_all_but(settings.learn, keys)

    @classmethod
    def fixed(cls, settings: BackboneSettings) -> Self:
        """Backbone with nothing that learns and random weights, to load trained ones into."""
        normalised = asdict(normalisation_of(settings))
        return cls(replace(settings, weights="none", learn=(), norm="frozen", **normalised))

    def _freeze_all_but(self, learn: tuple[str, ...], keys: Keys) -> None:
        names = [name for name, _ in self.network.named_parameters()]
        for prefix in learn:
            if prefix != "*" and not any(name.startswith(prefix) for name in names):
                tops = ", ".join(sorted({name.split(".")[0] for name in names}))
                fault = f"no parameter begins with that; there are: {tops}, and '*' for all"
                raise InputError(f"{keys.learn} = {prefix!r}: {fault}")
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(any(p == "*" or name.startswith(p) for p in learn))

    @property
    def frozen(self) -> bool:
        """Whether no parameter learns and no statistic changes."""
        return self.norm == "frozen" and not any(p.requires_grad for p in self.parameters())

    def train(self, mode: bool = True) -> "Backbone":
        """Training mode; frozen batch norms stay at their running statistics."""
        super().train(mode and not self.frozen)
        if self.norm == "frozen":
            hold_batch_norm(self.network)
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
            return self._forward(images)


def _create(settings: BackboneSettings, keys: Keys, *, pretrained: bool) -> nn.Module:
    """Network of timm with the stride of the settings, if timm can set it."""
    name = settings.name
    model = name.split(".")[0]
    if not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model[:6]}*")[:5]) or "resnet50"
        raise InputError(f"{keys.name} = {name!r}: timm has no such network (near: {near})")
    make = partial(timm.create_model, name, pretrained=pretrained, num_classes=0, global_pool="")
    try:
        try:
            return make(output_stride=settings.stride)
        except (TypeError, AssertionError):
            return make()  # with the network's own stride
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        if is_shortage(error):
            raise
        reason = one_line(error, lines=1, length=200)
        if not pretrained or isinstance(error, TypeError | AssertionError):
            raise InputError(f"{keys.name} = {name!r}: {reason}; {_ADVICE}") from error
        raise InputError(
            f"{keys.weights} = 'imagenet': {name} could not be downloaded ({reason}); give a"
            " .safetensors file, or 'none' to start from random weights"
        ) from error


def _fit_stride(network: nn.Module, settings: BackboneSettings, keys: Keys) -> int:
    """Dilate a network that is coarser than the settings; returns the number of channels."""
    stride = settings.stride
    shape = _shape(network, settings, keys)
    native = SIDE // shape[-1]
    if native > stride:
        shape = _dilated_shape(network, settings, keys) or shape
    if SIDE // shape[-1] != stride:
        finer = [s for s in (8, 16) if stride < s < native]
        near = [s for s in finer if _can_have(replace(settings, stride=s), keys)]
        raise InputError(
            f"{keys.name} = {settings.name!r}, {keys.stride} = {stride}: out of reach of this"
            f" network; set {keys.stride}: {' or '.join(map(str, [*near, native]))}, or {_ADVICE}"
        )
    return shape[1]


def _dilated_shape(
    network: nn.Module, settings: BackboneSettings, keys: Keys
) -> tuple[int, ...] | None:
    """Shape of the features of the dilated network; None if dilation fails."""
    try:
        dilate(network, settings.stride, feature_map, SIDE)
        return _shape(network, settings, keys)
    except (InputError, RuntimeError, TypeError, ValueError):
        return None


def _can_have(settings: BackboneSettings, keys: Keys) -> bool:
    shape = _dilated_shape(_create(settings, keys, pretrained=False), settings, keys)
    return shape is not None and SIDE // shape[-1] == settings.stride


def _shape(network: nn.Module, settings: BackboneSettings, keys: Keys) -> tuple[int, ...]:
    """(1, C, h, h) of the features of a blank square photo; InputError if they have no such one."""
    name = f"{keys.name} = {settings.name!r}"
    try:
        shape = tuple(feature_map(network).shape)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        if is_shortage(error):
            raise
        fault = f"does not take photos of any size ({one_line(error, lines=1, length=200)})"
        raise InputError(f"{name}: {fault}; {_ADVICE}") from error
    if len(shape) != 4 or shape[2] != shape[3] or SIDE % shape[3]:
        fault = f"but {shape} for a photo of {SIDE} x {SIDE} pixels"
        raise InputError(
            f"{name}: gives no feature maps (N, C, H / stride, W / stride), {fault}; {_ADVICE}"
        )
    return shape


def _load(network: nn.Module, settings: BackboneSettings, keys: Keys) -> None:
    """Load strictly, without the classifier's parameters, which the file may have."""
    path, name = Path(settings.weights), settings.name
    state, classifier = read_weights(path, keys.weights), classifier_prefixes(name)
    try:
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith(classifier)})
    except RuntimeError as error:
        if is_shortage(error):
            raise
        reason = one_line(error, lines=2, length=200)
        advice = prefix_advice(path, state, network.state_dict().__contains__)
        raise InputError(f"{keys.weights}: {path} does not fit {name}: {reason}{advice}") from error


@torch.no_grad()
def feature_map(network: Any) -> Tensor:
    """Features of a blank photo of SIDE x SIDE pixels by timm's network, which stays unchanged."""
    mode = network.training
    try:
        blank = next(network.parameters()).new_zeros(1, 3, SIDE, SIDE)
        return network.eval().forward_features(blank)
    finally:
        network.train(mode)
