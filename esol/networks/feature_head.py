"""The lightest segmentation network: two convolutions on a backbone that does not learn."""

import torch.nn.functional as F
from torch import Tensor, nn

from esol.networks.backbone import Backbone

WIDTH = 128
"""Channels between the convolutions: with 256, training takes 2.6 times as long (docs/LOG.md)."""

FINER = 4
"""Logits are learned at so many cells per feature cell and side."""


class FeatureHead(nn.Module):
    """A 1 x 1 and a 3 x 3 convolution, and one for the labels, on the features of a backbone.

    It has no batch norm, so what it makes of a photo does not depend on the others of its batch.

    Args:
        encoder: the backbone, with nothing that learns; (N, 3, H, W) -> (N, C, H / stride,
            W / stride).
        labels: L, background included.
    """

    def __init__(self, encoder: Backbone, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = nn.Sequential(
            *_convolution(encoder.channels, kernel=1),
            *_convolution(WIDTH, kernel=3),
            nn.Conv2d(WIDTH, labels, 1),
        )

    def logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, L, 4 h, 4 w) logits."""
        logits: Tensor = self.layers(features)
        return F.interpolate(logits, scale_factor=FINER, mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images, sides multiples of the stride -> (N, L, H, W) logits."""
        logits = self.logits(self.encoder(images))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def _convolution(channels: int, kernel: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, WIDTH, kernel, padding=kernel // 2, bias=False)
    return convolution, nn.GroupNorm(WIDTH // 8, WIDTH), nn.ReLU()
