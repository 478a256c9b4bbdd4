"""The baseline classifier, whose class activation maps are the CAM baseline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esol.networks.backbone import Backbone
from esol.networks.weights import load_weights
from esol.settings import HeadSettings, Settings
from esol.system.precision import single


class Head(nn.Module):
    """Head of the classifier: M = V * ReLU(W2 * ReLU(W1 * F)), without biases, and class scores.

    F are the backbone's features, * is convolution, V is 1 x 1. Channel k of ReLU(M), divided by
    its maximum over the image, is the CAM of class k (summed over scales: esol/maps/localize.py).
    Both later stages take their fixed weights from here: Expansion samples with W1, Shrinkage with
    W2 (A.1.3).

    Args:
        channels: C, of the features.
        classes: K.
        settings: D, the width of W1 and W2, the side of their kernels, and the pooling.
    """

    def __init__(self, channels: int, classes: int, settings: HeadSettings) -> None:
        super().__init__()
        width, kernel = settings.width, settings.kernel
        self.decay = settings.decay
        self.w1 = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
        self.w2 = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)
        self.v = nn.Conv2d(width, classes, 1, bias=False)
        for convolution in (self.w1, self.w2):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.normal_(self.v.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, K, h, w) maps, before ReLU."""
        return self.after_w2(self.activations(features))

    def activations(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, D, h, w) activations that V reads, 0 or more."""
        return F.relu(self.w2(F.relu(self.w1(features))))

    def after_w1(self, x1: Tensor) -> Tensor:
        """(N, D, h, w) activations of W1 -> (N, K, h, w) maps, before ReLU."""
        return self.after_w2(F.relu(self.w2(x1)))

    def after_w2(self, x2: Tensor) -> Tensor:
        """(N, D, h, w) activations of W2 -> (N, K, h, w) maps, before ReLU."""
        return single(self.v(x2))

    def scores(self, maps: Tensor) -> Tensor:
        """(N, K, h, w) maps, before ReLU -> (N, K) class scores."""
        return ranked_mean(maps, self.decay)


def ranked_mean(maps: Tensor, decay: float) -> Tensor:
    """Global weighted rank pooling: the r-th highest cell of a map counts decay^r.

    Kolesnikov and Lampert, Seed, expand and constrain, ECCV 2016, section 3.2.

    Args:
        maps: (N, K, h, w).
        decay: in (0, 1]; 1: the mean, global average pooling.

    Returns:
        (N, K) weighted means.
    """
    if decay == 1:
        return maps.mean(dim=(2, 3))
    ranked = maps.flatten(2).sort(dim=2, descending=True).values
    # In float32 at least: half precision would lose the small weights.
    weights = decay ** torch.arange(ranked.shape[2], dtype=torch.float32, device=maps.device)
    return (ranked * weights).sum(dim=2) / weights.sum()


class Classifier(nn.Module):
    """M = head(F), F = backbone(image); the score of class k is what the head pools of M_k."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @classmethod
    def start(cls, settings: Settings, classes: int) -> Self:
        """Classifier as training starts with it: the backbone's weights, a random head."""
        backbone = Backbone(settings.backbone, side=settings.input.one_side)
        return cls(backbone, Head(backbone.channels, classes, settings.head))

    @classmethod
    def trained(cls, settings: Settings, classes: int, weights: Path, *, fold: bool = True) -> Self:
        """Classifier as stage 1 left it: nothing learns, batch norms are folded, evaluation mode.

        Without ``fold`` its backbone is slower, and can be saved.

        Raises:
            InputError: the file is missing, damaged or of another network.
        """
        backbone = Backbone.fixed(settings.backbone, settings.input.one_side)
        classifier = cls(backbone, Head(backbone.channels, classes, settings.head))
        load_weights(classifier, weights)
        if fold:
            backbone.fold()
        return classifier.requires_grad_(False).eval()

    def start_from(self, weights: Path, rows: Mapping[int, int]) -> None:
        """Take over an earlier classifier: backbone, W1, W2, and the rows of V of known classes.

        Args:
            weights: file of a classifier with such a backbone and head.
            rows: class here -> class there; the other classes keep the rows that they have.

        Raises:
            InputError: the file is missing, damaged or of another network.
        """

        def fitted(state: dict[str, Tensor]) -> dict[str, Tensor]:
            v = self.head.v.weight.detach().clone()
            v[list(rows)] = state["head.v.weight"][list(rows.values())]
            return {**state, "head.v.weight": v}

        load_weights(self, weights, fitted)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> (N, K, h, w) maps, before ReLU."""
        return self.head(self.backbone(images))

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> the (N, K, h, w) maps by their kind, before ReLU."""
        return {"cam": self.head(features)}
