"""Feature extractors from timm at any output stride, with weights by name or from a file."""

import functools
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import timm
import torch
from torch import Tensor, nn

from esol.data.batch import Batch
from esol.errors import InputError, is_shortage, one_line
from esol.networks.checkpoints import Wanted, read_checkpoint
from esol.networks.dilation import dilate
from esol.networks.downloads import announce_timm, refuse
from esol.networks.folding import fold_batch_norm, hold_batch_norm
from esol.networks.initial import NAMED
from esol.networks.levels import PREFERRED, Levels, OneSizeError, OutOfReachError, find_levels
from esol.networks.pretrained import classifier_prefixes, normalisation_of, without_weights
from esol.networks.published import published, unreadable
from esol.ops.depthwise import use_fast_gradients
from esol.settings import BackboneSettings
from esol.settings.inputs import STRIDES
from esol.system.precision import Asked, half, resolved, single

_ADVICE = "take another network, such as resnet50, convnext_tiny or mobilenetv2_100"
"""For a network that does not fit; docs/backbones.md has more."""

_TRANSFORMER = "a transformer has its own recipe, the configuration tags-folder-vit"


SIDE = 64
"""Side of the photo that strides are measured on, pixels; twice the coarsest stride."""


PIXELS = {"no": 1 << 17, "bf16": 1 << 19}
"""Precision -> pixels that enter a backbone at once on a CPU: activations that outgrow its caches,
and are given back to the system after every layer, take up to twice the time per photo. In bfloat16
they are half as large, and their convolutions are faster with several photos than with one."""


class Keys(NamedTuple):
    """What messages call the settings of a backbone."""

    name: str = "backbone.name"
    weights: str = "backbone.weights"
    stride: str = "backbone.stride"
    learn: str = "backbone.learn"


_KEYS = Keys()


class Backbone(nn.Module):
    """A network without its classifier, dilated where timm cannot set the stride.

    Args:
        settings: name, initial weights, stride, what learns, batch norm.
        keys: what messages call these settings.
        side: of its square inputs, if all have one size, pixels; else 0.

    Attributes:
        channels: C, the number of feature channels.
        stride: input pixels per feature cell.
        side: the only side that the network takes; 0: any size.
        normalisation: that of the photos it is given.

    Raises:
        InputError: unknown name, no feature maps, impossible stride, weights that are not available
            or do not fit, a prefix that matches nothing.
    """

    def __init__(self, settings: BackboneSettings, keys: Keys = _KEYS, side: int = 0) -> None:
        super().__init__()
        self.normalisation = normalisation_of(settings)
        self.power = settings.power
        self.name, self.final_norm = settings.name, settings.final_norm
        self._levels: Levels | None = None
        try:
            network, shape = _fit_stride(settings, keys)
            self.channels, self.stride, self.side = shape[1], SIDE // shape[-1], 0
        except _NoMapError as refusal:
            self._levels = levels = _levels(settings, keys, side, refusal)
            network, self.channels = levels.network, levels.channels
            self.stride, self.side = levels.stride, levels.side
        if settings.final_norm != "auto" and not (self._levels and self._levels.is_last):
            raise InputError(
                f"backbone.final_norm = {settings.final_norm}: {settings.name} has no norm after"
                " the features that are read; set it to auto"
            )
        if (file := _file_of(settings, keys)) is not None:
            _load(network, settings, keys, file)
        self.network = network
        forward: Any = self._levels.features if self._levels else network.forward_features
        self._forward: Callable[[Tensor], Tensor] = forward
        self.norm = settings.norm
        self._freeze_all_but(settings.learn, keys)

    @classmethod
    def fixed(cls, settings: BackboneSettings, side: int = 0) -> Self:
        """Backbone with nothing that learns and random weights, to load trained ones into."""
        return cls(replace(without_weights(settings), learn=(), norm="frozen"), side=side)

    def _freeze_all_but(self, learn: tuple[str, ...], keys: Keys) -> None:
        names = [name for name, _ in self.network.named_parameters()]
        for prefix in learn:
            if prefix != "*" and not any(name.startswith(prefix) for name in names):
                tops = ", ".join(sorted({name.split(".")[0] for name in names}))
                fault = f"no parameter begins with that; there are: {tops}, and '*' for all"
                raise InputError(f"{keys.learn} = {prefix!r}: {fault}")
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(any(p == "*" or name.startswith(p) for p in learn))
        if learn:
            use_fast_gradients(self.network)

    @property
    def makes_tokens(self) -> bool:
        """Whether it is a plain transformer: tokens of one stride from the first block on."""
        return self._levels is not None and self._levels.plain

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
        """(N, 3, H, W) normalised images -> (N, C, ~H / stride, ~W / stride) features to the power.

        Raises:
            InputError: the network takes one size, and this is another.
        """
        self._check_size(images)
        frozen = self.frozen
        if frozen:
            # The layout in which convolutions are computed.
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            return _raised(self._forward(images), self.power)

    def stages(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) normalised images -> features of the network's stages, fine to coarse.

        Raises:
            AttributeError, NotImplementedError, RuntimeError, TypeError: timm gives none.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        if self._levels:
            self._check_size(images)
            return self._levels.stages(images)
        network: Any = self.network
        return network.forward_intermediates(images, intermediates_only=True)

    def _check_size(self, images: Tensor) -> None:
        if self.side and images.shape[-2:] != (self.side, self.side):
            raise InputError(
                f"backbone.name = {self.name!r}: takes photos of {self.side} x {self.side} pixels"
                f" (input.size) only, not of {' x '.join(map(str, images.shape[-2:]))}; set"
                f" cams.scales and segment.scales: [1.0], or {_ADVICE}"
            )


def features_of(backbone: Backbone, batch: Batch) -> Tensor:
    """(N, C, h, w) features of a batch, computed unless they were cached."""
    return batch.inputs if batch.cached else backbone(batch.inputs)


def features_of_photos(backbone: Backbone, images: Tensor, precision: Asked) -> Tensor:
    """(N, 3, H, W) normalised images -> (N, C, h, w) float32 features, in a precision.

    On a CPU they are computed a few at a time, always a power of two: then every photo of a batch
    of 8 or 16 is computed among as many others, on which its last bit may depend.
    """
    count, pixels = len(images), images.shape[2] * images.shape[3]
    if images.device.type == "cpu":
        most = max(1, PIXELS[resolved(precision, images.device)] // pixels)
        count = 1 << (most.bit_length() - 1)
    with half(images.device, precision):
        parts = [backbone(part) for part in torch.split(images, count)]
    return single(torch.cat(parts) if len(parts) > 1 else parts[0])


class StrideError(InputError):
    """The network cannot have the stride; others it can."""


def _raised(features: Tensor, power: float) -> Tensor:
    """Features to a power, with their signs; the slope is finite at 0 too."""
    if power == 1:
        return features
    return features.sign() * features.abs().clamp_min(1e-6).pow(power)


class _NoMapError(InputError):
    """The network gives no feature maps of photos of any size by itself."""


def _make(settings: BackboneSettings, keys: Keys) -> Callable[..., nn.Module]:
    """How timm makes the network, without its classifier; with weights where they are its own.

    Raises:
        InputError: timm has no such network.
    """
    model = settings.name.split(".")[0]
    if ":" not in settings.name and not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model[:6]}*")[:5]) or "resnet50"
        fault = f"timm has no such network (near: {near})"
        raise InputError(f"{keys.name} = {settings.name!r}: {fault}")
    name, pretrained = settings.name, settings.weights == "imagenet"
    if pretrained:
        announce_timm(name, keys.weights)
    try:
        found = published(name, weights=pretrained)
    except (OSError, ValueError) as error:
        raise unreadable(name, keys.name, error) from error
    if found is not None:
        # Some versions of timm execute what a file of weights holds: see _file_of.
        name, pretrained = f"local-dir:{found.folder}", False
    return partial(timm.create_model, name, pretrained=pretrained, num_classes=0)


def _create(settings: BackboneSettings, keys: Keys, stride: int) -> nn.Module:
    """Network of timm with a stride, if timm can set it."""
    name, make = settings.name, _make(settings, keys)
    try:
        for arguments in ({"output_stride": stride, "global_pool": ""}, {"global_pool": ""}):
            with suppress(TypeError, AssertionError):
                return make(**arguments)
        return make()  # with the network's own stride, and a classifier that cannot be left out
    except Exception as error:
        if is_shortage(error):
            raise
        if ":" in name:  # a damaged description may raise anything
            raise unreadable(name, keys.name, error) from error
        if not isinstance(error, OSError | RuntimeError | ValueError | TypeError | AssertionError):
            raise
        reason = one_line(error, lines=1, length=200)
        if settings.weights != "imagenet" or isinstance(error, TypeError | AssertionError):
            raise InputError(f"{keys.name} = {name!r}: {reason}; {_ADVICE}") from error
        refuse(name, keys.weights, error)


def _fit_stride(settings: BackboneSettings, keys: Keys) -> tuple[nn.Module, tuple[int, ...]]:
    """The network, dilated if it is coarser than the settings, and the shape of its features."""
    auto = settings.stride == "auto"
    stride = PREFERRED if isinstance(settings.stride, str) else settings.stride
    network = _create(settings, keys, stride)
    shape = _shape(network, settings, keys)
    native = SIDE // shape[-1]
    if native > stride:
        shape = _dilated_shape(network, stride, settings, keys) or shape
    if SIDE // shape[-1] == stride:
        return network, shape
    if auto:  # dilating has changed the network
        network = _create(settings, keys, native)
        return network, _shape(network, settings, keys)
    finer = [s for s in (8, 16) if stride < s < native]
    near = [s for s in finer if _can_have(s, replace(settings, weights="none"), keys)]
    raise _out_of_reach([*near, native], settings, keys)


def _out_of_reach(strides: list[int], settings: BackboneSettings, keys: Keys) -> StrideError:
    return StrideError(
        f"{keys.name} = {settings.name!r}, {keys.stride} = {settings.stride}: out of reach of this"
        f" network; set {keys.stride}: {' or '.join(map(str, strides))}, or {_ADVICE}"
    )


def _levels(settings: BackboneSettings, keys: Keys, side: int, refusal: InputError) -> Levels:
    """The level of a network that gives no single map; the refusal if it has no levels either."""
    norm = None if settings.final_norm == "auto" else settings.final_norm
    try:
        levels = find_levels(_make(settings, keys), settings.stride, norm, side)
    except OutOfReachError as error:
        if near := [stride for stride in error.strides if stride in STRIDES]:
            fault = _out_of_reach(near, settings, keys)
            # Levels of one stride are a plain transformer's.
            if keys == _KEYS and len(set(error.strides)) == 1:
                fault = StrideError(f"{fault}; {_TRANSFORMER}")
            raise fault from error
        raise refusal from error
    except OneSizeError as error:
        # A segmentation network reads its photos at several sizes.
        squash = "set input.resize: squash, or " if keys == _KEYS else ""
        raise InputError(
            f"{keys.name} = {settings.name!r}: takes photos of one size only; {squash}{_ADVICE}"
        ) from error
    if levels is None:
        raise refusal
    return levels


def _dilated_shape(
    network: nn.Module, stride: int, settings: BackboneSettings, keys: Keys
) -> tuple[int, ...] | None:
    """Shape of the features of the dilated network; None if dilation fails."""
    try:
        dilate(network, stride, feature_map, SIDE)
        return _shape(network, settings, keys)
    except (InputError, RuntimeError, TypeError, ValueError):
        return None


def _can_have(stride: int, settings: BackboneSettings, keys: Keys) -> bool:
    shape = _dilated_shape(_create(settings, keys, stride), stride, settings, keys)
    return shape is not None and SIDE // shape[-1] == stride


def _shape(network: nn.Module, settings: BackboneSettings, keys: Keys) -> tuple[int, ...]:
    """(1, C, h, h) of the features of a blank square photo; _NoMapError if there are none."""
    name = f"{keys.name} = {settings.name!r}"
    try:
        shape = tuple(feature_map(network).shape)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        if is_shortage(error):
            raise
        fault = f"does not take photos of any size ({one_line(error, lines=1, length=200)})"
        raise _NoMapError(f"{name}: {fault}; {_ADVICE}") from error
    if len(shape) != 4 or shape[2] != shape[3] or SIDE % shape[3]:
        fault = f"but {shape} for a photo of {SIDE} x {SIDE} pixels"
        raise _NoMapError(
            f"{name}: gives no feature maps (N, C, H / stride, W / stride), {fault}; {_ADVICE}"
        )
    return shape


def _file_of(settings: BackboneSettings, keys: Keys) -> Path | None:
    """The file that initial weights are read from; None for random ones and timm's own."""
    if settings.weights not in NAMED:
        return Path(settings.weights)
    if settings.weights == "none":
        return None
    try:
        found = published(settings.name, weights=True)
        return None if found is None else found.weights()
    except (OSError, ValueError) as error:
        raise unreadable(settings.name, keys.name, error) from error


def _load(network: nn.Module, settings: BackboneSettings, keys: Keys, file: Path) -> None:
    """Load a file, which may have the classifier's parameters too, and those of later levels."""
    classifier = classifier_prefixes(settings.name)

    @functools.cache
    def pruned() -> set[str]:
        """Names of the whole network, of which what comes after a level is left out."""
        with torch.device("meta"):
            return set(_make(replace(settings, weights="none"), keys)().state_dict())

    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    wanted = Wanted(
        settings.name,
        keys.weights,
        network.state_dict(),
        lambda name: name.startswith(classifier) or name in pruned(),
        converted=convert and (lambda state: convert(state, network)),
    )
    # Of what is not in the file, all was checked.
    network.load_state_dict(read_checkpoint(file, wanted), strict=False)


@torch.no_grad()
def feature_map(network: Any) -> Tensor:
    """Features of a blank photo of SIDE x SIDE pixels by timm's network, which stays unchanged."""
    mode = network.training
    try:
        blank = next(network.parameters()).new_zeros(1, 3, SIDE, SIDE)
        return network.eval().forward_features(blank)
    finally:
        network.train(mode)
