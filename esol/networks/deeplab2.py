"""DeepLab-v2: four dilated convolutions on a backbone, at three input scales, by their maximum."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esol.networks.backbone import Backbone

RATES = (6, 12, 18, 24)
"""Dilations of the head's convolutions, in feature cells."""

SCALES = ((3, 4), (1, 2))
"""Further input scales as fractions: whole numbers keep an exported graph's sizes exact."""


class DeepLabV2(nn.Module):
    """Backbone and summed dilated convolutions; no batch norm in the head.

    Args:
        encoder: the backbone, (N, 3, H, W) -> (N, C, H / stride, W / stride).
        stride: the backbone's.
        labels: L, background included.
    """

    def __init__(self, encoder: Backbone, stride: int, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.stride = stride
        self.aspp = nn.ModuleList(
            nn.Conv2d(encoder.channels, labels, 3, padding=rate, dilation=rate) for rate in RATES
        )
        for convolution in self.aspp:
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.bias is not None
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.zeros_(convolution.bias)

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Logits of the scales 1, 3/4 and 1/2, each at its own resolution, and their maximum.

        Args:
            images: (N, 3, H, W) normalised.

        Returns:
            Four (N, L, h, w) tensors, h and w the sides times the scale over the stride, rounded
            up; the last, the element-wise maximum, at the first one's resolution.
        """
        height, width = images.shape[-2:]
        logits = [self._logits(images)]
        for over, under in SCALES:
            size = (height * over // under, width * over // under)
            smaller = F.interpolate(images, size, mode="bilinear", align_corners=False)
            logits.append(self._logits(smaller))
        highest = logits[0]
        for other in logits[1:]:
            stretched = F.interpolate(
                other, logits[0].shape[-2:], mode="bilinear", align_corners=False
            )
            highest = torch.maximum(highest, stretched)
        return [*logits, highest]

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images -> (N, L, H, W) logits: the maximum over the scales, stretched."""
        return F.interpolate(
            self.all_logits(images)[-1], images.shape[-2:], mode="bilinear", align_corners=False
        )

    def _logits(self, images: Tensor) -> Tensor:
        features = self.encoder(padded(images, self.stride))
        total: Tensor = self.aspp[0](features)
        for convolution in self.aspp[1:]:
            total = total + convolution(features)
        return total


def padded(images: Tensor, multiple: int) -> Tensor:
    """Zeros, the mean colour, below and to the right up to the next multiple of both sides."""
    # Written so that the exporter sees padded sizes as whole multiples, and can then prove that
    # the sizes of all features agree.
    short = [multiple * ((n + multiple - 1) // multiple) - n for n in images.shape[-2:]]
    return F.pad(images, (0, short[1], 0, short[0]))
