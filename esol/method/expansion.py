"""Expansion and Shrinkage: offset branches on the baseline's frozen convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from esol.models.backbone import Backbone
from esol.models.classifier import Classifier
from esol.ops.deform import deform_conv2d_frozen


class OffsetBranch(nn.Module):
    """Convolution that predicts the sampling offsets; zero at the start, so nothing moves.

    Args:
        channels: of its input.
        taps: k * k of the convolution that samples.
        kernel: side of this branch's own convolution, odd.
        bound: offsets are bound * tanh(raw / bound), cells; 0: unbounded.
        centre: subtract each image's mean offset per tap and axis.
        clamp: keep the displaced centre of each sampling window on the map.
    """

    def __init__(
        self, channels: int, taps: int, *, kernel: int, bound: float, centre: bool, clamp: bool
    ) -> None:
        super().__init__()
        self.predict = nn.Conv2d(channels, 2 * taps, kernel, padding=kernel // 2)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]
        self.bound = bound
        self.centre = centre
        self.clamp = clamp

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 2 * taps, h, w) offsets in cells, (y, x) per tap."""
        raw: Tensor = self.predict(x)
        if self.centre:
            raw = raw - raw.mean(dim=(2, 3), keepdim=True)
        offset = self.bound * torch.tanh(raw / self.bound) if self.bound > 0 else raw
        return keep_on_map(offset) if self.clamp else offset


def keep_on_map(offset: Tensor) -> Tensor:
    """Shorten offsets so that every window's displaced centre stays on the map.

    Args:
        offset: (N, 2 * taps, h, w) in cells, (y, x) per tap.
    """
    n, _, h, w = offset.shape
    moves = offset.view(n, -1, 2, h, w)
    y = torch.arange(h, device=offset.device, dtype=offset.dtype)[:, None]
    x = torch.arange(w, device=offset.device, dtype=offset.dtype)
    move_y = (y + moves[:, :, 0]).clamp(0, h - 1) - y
    move_x = (x + moves[:, :, 1]).clamp(0, w - 1) - x
    return torch.stack([move_y, move_x], dim=2).flatten(1, 2)


def clip_features(x: Tensor, share: float) -> Tensor:
    """Feature clipping: cut every channel at a share of its own maximum over the image.

    Min-max normalisation, a clamp and the channel's scale restored; for activations after ReLU the
    minimum is 0. Less discriminative regions then weigh as much as the most discriminative one.

    Args:
        x: (N, D, h, w) activations, 0 or more.
        share: in (0, 1]; 1 changes nothing.
    """
    if share >= 1:
        return x
    return torch.minimum(x, share * x.amax(dim=(2, 3), keepdim=True))


class Expansion(nn.Module):
    """Stage 2: W1 samples where the offset branch sends it, then features are clipped.

    Args:
        w1: (D, C, k, k) weight of the baseline's first convolution, copied.
        sampler: offset branch on the features; None: W1 stays a plain convolution.
        clip: share of ``clip_features``.
        learn_w1: W1 learns (controls of paper A.1.1 and A.1.3); the method keeps it fixed.
    """

    def __init__(
        self, w1: Tensor, sampler: OffsetBranch | None, *, clip: float, learn_w1: bool = False
    ) -> None:
        super().__init__()
        self.w1 = nn.Parameter(w1.detach().clone(), requires_grad=learn_w1)
        self.sampler = sampler
        self.clip = clip

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, D, h, w) clipped activations, 0 or more."""
        x1 = F.relu(_convolve(features, self.w1, self.sampler))
        return clip_features(x1, self.clip)


class Shrinkage(nn.Module):
    """Stage 3: W2 samples the expanded activations where a second offset branch sends it.

    Args:
        w2: (D, D, k, k) weight of the baseline's second convolution, copied and fixed.
        v: (K, D, 1, 1) weight of the baseline's classifier, copied.
        sampler: offset branch on the expanded activations; None: W2 stays a plain convolution.
        learn_v: V learns.
    """

    def __init__(
        self, w2: Tensor, v: Tensor, sampler: OffsetBranch | None, *, learn_v: bool = False
    ) -> None:
        super().__init__()
        self.w2 = nn.Parameter(w2.detach().clone(), requires_grad=False)
        self.v = nn.Parameter(v.detach().clone(), requires_grad=learn_v)
        self.sampler = sampler

    def forward(self, x1: Tensor) -> Tensor:
        """(N, D, h, w) expanded activations -> (N, K, h, w) maps, before ReLU."""
        return F.conv2d(F.relu(_convolve(x1, self.w2, self.sampler)), self.v)


def _convolve(x: Tensor, weight: Tensor, sampler: OffsetBranch | None) -> Tensor:
    """Stride-1, same-size convolution of x, at positions that the sampler predicts from x."""
    padding = weight.shape[-1] // 2
    if sampler is None:
        return F.conv2d(x, weight, padding=padding)
    offset = sampler(x)
    if not weight.requires_grad:
        return deform_conv2d_frozen(x, offset, weight, padding=padding)
    sampled: Tensor = deform_conv2d(x, offset, weight, padding=padding)
    return sampled


class Localizer(nn.Module):
    """The frozen classifier with Expansion and Shrinkage on its head."""

    def __init__(self, classifier: Classifier, expansion: Expansion, shrinkage: Shrinkage) -> None:
        super().__init__()
        self.classifier = classifier.requires_grad_(False)
        self.expansion = expansion
        self.shrinkage = shrinkage

    @property
    def backbone(self) -> Backbone:
        """The classifier's."""
        return self.classifier.backbone

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> (N, K, h, w) maps of the three phases, before ReLU, without
        gradients.
        """
        with torch.no_grad():
            head = self.classifier.head
            x1 = self.expansion(features)
            return {
                "cam": head(features),
                "expansion": head.after_w1(x1),
                "shrinkage": self.shrinkage(x1),
            }
