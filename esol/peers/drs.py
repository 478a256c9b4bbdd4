"""DRS (Kim et al., AAAI 2021): discriminative regions suppressed, then the maps relearned."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from esol.data.batch import Batch, Losses
from esol.errors import InputError
from esol.method.classifier import Classifier, Head
from esol.method.expansion import clip_features
from esol.method.losses import classification_loss
from esol.networks.backbone import Backbone, features_of
from esol.system.precision import single

_PROBE = 64
"""Side in pixels of the image that traces a network's ReLUs; two cells at stride 32."""


class Suppression(nn.Module):
    """Suppression of C ``channels`` by a fixed share, or by one per channel that is learned.

    Args:
        channels: C.
        delta: the share, in (0, 1]; 0: sigmoid(linear(mean over the map)), about 0.5 at the start.
    """

    def __init__(self, channels: int, delta: float) -> None:
        super().__init__()
        if not 0 <= delta <= 1:
            raise ValueError(f"delta = {delta}: not in 0 .. 1")
        self.delta = delta
        self.controller = nn.Linear(channels, channels) if delta == 0 else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) activations, 0 or more -> the same, suppressed."""
        if self.controller is None:
            return clip_features(x, self.delta)
        share = torch.sigmoid(self.controller(x.mean(dim=(2, 3))))
        return clip_features(x, share[:, :, None, None])

    def hook(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Forward hook of an activation. A method: a copied network calls the copied module."""
        return self(output)


class SuppressedClassifier(nn.Module):
    """The plain classifier with suppression after its ReLUs.

    Args:
        backbone: feature extractor; ``everywhere`` changes it in place, so that its features are
            suppressed for every holder.
        head: the K-way head.
        delta: of ``Suppression`` (published code: 0.55 or 0.6 if fixed).
        everywhere: also after every ReLU of the backbone that acts on a map, as published.

    Attributes:
        suppressors: of W1, of W2, then of the backbone's ReLUs in the order of their first use;
            without parameters if ``delta`` is fixed.

    Raises:
        InputError: ``everywhere`` in a backbone without ReLUs, or, where shares are learned, with
            a ReLU that serves layers of several widths.
    """

    def __init__(self, backbone: Backbone, head: Head, *, delta: float, everywhere: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.delta = delta
        self.everywhere = everywhere
        relus = _relus(backbone) if everywhere else {}
        widths = [_width(channels) if delta == 0 else 0 for channels in relus.values()]
        inside = [Suppression(width, delta) for width in widths]
        of_head = [Suppression(w.out_channels, delta) for w in (head.w1, head.w2)]
        self.suppressors = nn.ModuleList([*of_head, *inside])
        for relu, suppression in zip(relus, inside, strict=True):
            relu.register_forward_hook(suppression.hook)

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features of this backbone -> "drs": (N, K, h, w) maps, before ReLU."""
        x1 = self.suppressors[0](F.relu(self.head.w1(features)))
        x2 = self.suppressors[1](F.relu(self.head.w2(x1)))
        return {"drs": single(self.head.v(x2))}


def _relus(backbone: Backbone) -> dict[nn.Module, set[int]]:
    """The network's ReLUs that act on maps -> their numbers of channels.

    Not those of gates (squeeze and excitation), where one value per channel is the maximum itself.
    """
    channels: dict[nn.Module, set[int]] = {}

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if output.dim() == 4 and output.shape[2:].numel() > 1:
            channels.setdefault(module, set()).add(output.shape[1])

    relus = [m for m in backbone.network.modules() if isinstance(m, nn.ReLU | nn.ReLU6)]
    if relus:
        hooks = [module.register_forward_hook(note) for module in relus]
        modes = [(module, module.training) for module in backbone.modules()]
        try:
            with torch.no_grad():
                probe = next(backbone.parameters()).new_zeros(1, 3, _PROBE, _PROBE)
                backbone.eval()(probe)
        finally:
            for hook in hooks:
                hook.remove()
            for module, training in modes:
                module.training = training
    if not channels:
        raise InputError(
            "drs.everywhere: this backbone has no ReLU to suppress; set drs.everywhere: false, or"
            " backbone.name to a network with ReLUs (resnet50)"
        )
    return channels


def _width(channels: set[int]) -> int:
    if len(channels) > 1:
        raise InputError(
            f"drs.delta: 0 cannot be learned where one ReLU serves {sorted(channels)} channels;"
            " set drs.delta: 0.55 or drs.everywhere: false"
        )
    return next(iter(channels))


def drs_losses(model: SuppressedClassifier, batch: Batch) -> Losses:
    """The classification loss of the suppressed maps.

    Raises:
        ValueError: suppression inside the backbone, and the batch holds features, which are not
            suppressed, or the backbone is frozen although shares should be learned.
    """
    if model.everywhere and batch.cached:
        raise ValueError("drs.everywhere: needs images, not cached features")
    if model.everywhere and model.delta == 0 and model.backbone.frozen:
        raise ValueError(
            "drs.everywhere: shares in a frozen backbone learn nothing; set backbone.learn, or"
            " drs.everywhere: false"
        )
    maps = model.maps(features_of(model.backbone, batch))["drs"]
    return {"loss": classification_loss(model.head.scores(maps), batch.tags)}


class RefinedClassifier(Classifier):
    """A plain network that learns the suppressed classifier's maps (refinement learning)."""

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> "drs_refined": (N, K, h, w) maps, before ReLU."""
        return {"drs_refined": self.head(features)}


def refinement_targets(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep only the largest class at every place; of equal ones, the first.

    Args:
        maps: (K', h, w) maps of a photo's tagged classes, 0 .. 1; K' may be 0.

    Returns:
        (K', h, w), 0 where another class is larger. (Published code stores them in 8 bits.)
    """
    if not len(maps):
        return maps.copy()
    classes = np.arange(len(maps))[:, None, None]
    return np.where(classes == maps.argmax(axis=0), maps, np.float32(0))


def refine_losses(model: RefinedClassifier, batch: Batch) -> Losses:
    """Mean squared error between the maps, before ReLU, and the targets of all K classes.

    Targets, (N, K, h', w'), are averaged over each cell of the maps' grid (area interpolation).
    Classes without tag count too, with targets 0.

    Raises:
        ValueError: the batch has no targets.
    """
    if batch.targets is None:
        raise ValueError("a batch without targets")
    maps = model.maps(features_of(model.backbone, batch))["drs_refined"]
    targets = F.interpolate(batch.targets, maps.shape[-2:], mode="area")
    return {"loss": F.mse_loss(maps, targets)}
