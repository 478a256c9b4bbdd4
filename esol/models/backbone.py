"""Feature extractors from timm, at any output stride, with weights by name or from a file."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from esol.errors import InputError


class Backbone(nn.Module):
    """A convolutional network without its classifier.

    Args:
        name: timm's name.
        weights: "imagenet" (downloaded by timm), "none" (random) or a .safetensors file.
        stride: input pixels per feature cell.
        learn: prefixes of the parameters that learn; ("*",) all; () none.
        norm: "frozen" keeps batch norm at its running statistics, "learned" updates them.

    Attributes:
        channels: C, the number of feature channels.

    Raises:
        InputError: unknown name, stride the network cannot have, weights that cannot be had or do
            not fit, a prefix that matches nothing.
    """

    def __init__(
        self, name: str, *, weights: str, stride: int, learn: tuple[str, ...], norm: str
    ) -> None:
        super().__init__()
        network: Any = _create(name, stride, pretrained=weights == "imagenet")
        if weights not in ("imagenet", "none"):
            _load(network, name, Path(weights))
        self.network = network
        self.channels: int = network.num_features
        self._forward = network.forward_features
        self.norm = norm
        self._freeze_all_but(learn)

    def _freeze_all_but(self, learn: tuple[str, ...]) -> None:
        names = [name for name, _ in self.network.named_parameters()]
        for prefix in learn:
            if prefix != "*" and not any(name.startswith(prefix) for name in names):
                tops = ", ".join(sorted({name.split(".")[0] for name in names}))
                raise InputError(
                    f"backbone.learn = {prefix!r}: no parameter starts so; there are: {tops}"
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

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> (N, C, ~H / stride, ~W / stride) features."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features: Tensor = self._forward(images)
        return features


def _create(name: str, stride: int, *, pretrained: bool) -> nn.Module:
    if not timm.is_model(name.split(".")[0]):
        close = ", ".join(timm.list_models(f"*{name.split('.')[0][:6]}*")[:5]) or "resnet50"
        raise InputError(f"backbone.name = {name!r}: timm has no such network (near: {close})")
    try:
        network: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, global_pool="", output_stride=stride
        )
    except (TypeError, AssertionError) as error:
        raise InputError(
            f"backbone.name = {name!r}: not a network that can have backbone.stride = {stride}"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        if not pretrained:
            raise InputError(
                f"backbone.name = {name!r}, backbone.stride = {stride}: {_line(error)}"
            ) from error
        raise InputError(
            f"backbone.weights = 'imagenet': {name} could not be downloaded ({_line(error)});"
            " give a .safetensors file, or 'none' to start from random weights"
        ) from error
    return network


def _load(network: nn.Module, name: str, path: Path) -> None:
    """Strict loading; only the classifier, which we do not use, may be left over in the file."""
    if not path.is_file():
        raise InputError(f"backbone.weights = {path}: no such file; give a .safetensors file")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"backbone.weights: {path} is not a safetensors file ({_line(error)})"
        ) from error
    classifier = timm.get_pretrained_cfg_value(name.split(".")[0], "classifier") or "classifier"
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(f"{n}." for n in names))}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"backbone.weights: {path} does not fit {name}: {_line(error, lines=2)}"
        ) from error


def _line(error: BaseException, lines: int = 1) -> str:
    parts = [part.strip() for part in str(error).splitlines() if part.strip()]
    return " ".join(parts[:lines])[:200] or type(error).__name__
