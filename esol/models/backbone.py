"""Feature extractors from timm, at any output stride, with weights by name or from a file."""

from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from esol.errors import InputError
from esol.models.folding import fold_batch_norm
from esol.models.weights import classifier_prefixes, read_weights, reason


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
                f"backbone.name = {name!r}, backbone.stride = {stride}: {reason(error)}"
            ) from error
        raise InputError(
            f"backbone.weights = 'imagenet': {name} could not be downloaded ({reason(error)});"
            " give a .safetensors file, or 'none' to start from random weights"
        ) from error
    return network


def _load(network: nn.Module, name: str, path: Path) -> None:
    """Strict loading; only the classifier, which we do not use, may be left over in the file."""
    state, spare = read_weights(path, "backbone.weights"), classifier_prefixes(name)
    try:
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith(spare)})
    except RuntimeError as error:
        raise InputError(
            f"backbone.weights: {path} does not fit {name}: {reason(error, lines=2)}"
        ) from error
