"""The lightest segmentation network: a few convolutions on a backbone that does not learn."""

import torch.nn.functional as F
from torch import Tensor, nn

from esol.networks.backbone import Backbone

WIDTH = 128
"""Channels between the convolutions: with 256, training takes more than twice as long."""

FINER = 4
"""Logits are learned at so many cells per feature cell and side."""


class FeatureHead(nn.Module):
    """A 1 x 1 convolution, two of 3 x 3 cells, the second dilated, and one for the labels.

    Args:
        encoder: the backbone, with nothing that learns; (N, 3, H, W) -> (N, C, H / stride,
            W / stride).
        labels: L, background included.
    """

    def __init__(self, encoder: Backbone, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = nn.Sequential(
            *_layer(encoder.channels, kernel=1),
            *_layer(WIDTH, kernel=3),
            *_layer(WIDTH, kernel=3, dilation=2),
            nn.Conv2d(WIDTH, labels, 1),
        )

    def logits(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, L, 4 h, 4 w) logits."""
        logits: Tensor = self.layers(features)
        return F.interpolate(logits, scale_factor=FINER, mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> (N, L, H, W) logits.

        As in training, and as maps are read, features cover the photo from edge to edge.
        """
        logits = self.logits(self.encoder(images))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def _layer(channels: int, kernel: int, dilation: int = 1) -> tuple[nn.Module, ...]:
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(channels, WIDTH, kernel, padding=padding, dilation=dilation, bias=False)
    return convolution, nn.BatchNorm2d(WIDTH), nn.ReLU()
