"""DeepLab-v2: four dilated convolutions on a backbone, at three input scales, by their maximum."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esol.networks.backbone import Backbone
from esol.ops.grids import padded

RATES = (6, 12, 18, 24)
"""Dilations of the head's convolutions, in feature cells."""

SCALES = ((3, 4), (1, 2))
"""Further input scales as fractions: integers keep the sizes in an exported graph exact."""


class DeepLabV2(nn.Module):
    """Backbone and summed dilated convolutions; no batch norm in the head.

    Args:
        encoder: the backbone, (N, 3, H, W) -> (N, C, H / stride, W / stride).
        stride: the backbone's.
        labels: L, background included.
    """

    def __init__(self, encoder: Backbone, stride: int, labels: int) -> None:
        super().__init__()
        self.encoder, self.stride = encoder, stride
        self.aspp = nn.ModuleList(
            nn.Conv2d(encoder.channels, labels, 3, padding=rate, dilation=rate) for rate in RATES
        )
        for convolution in self.aspp:
            nn.init.normal_(convolution.get_parameter("weight"), std=0.01)
            nn.init.zeros_(convolution.get_parameter("bias"))

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Logits of the scales 1, 3/4 and 1/2, each at its own resolution, and their maximum.

        (N, 3, H, W) normalised images -> four (N, L, h, w) tensors, h and w the sides times the
        scale over the stride, rounded up; the last, the element-wise maximum, is of scale 1.
        """
        height, width = images.shape[-2:]
        logits = [self._logits(images)]
        for over, under in SCALES:
            size = (height * over // under, width * over // under)
            logits.append(self._logits(_stretched(images, size)))
        highest = logits[0]
        for other in logits[1:]:
            highest = torch.maximum(highest, _stretched(other, highest.shape[-2:]))
        return [*logits, highest]

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images -> (N, L, H, W) logits: the maximum over the scales, stretched."""
        return _stretched(self.all_logits(images)[-1], images.shape[-2:])

    def _logits(self, images: Tensor) -> Tensor:
        features = self.encoder(padded(images, self.stride))
        total = self.aspp[0](features)
        for convolution in self.aspp[1:]:
            total = total + convolution(features)
        return total


def _stretched(images: Tensor, size: tuple[int, ...]) -> Tensor:
    # Unlike ops.grids.resize without a branch on the size, which an exported graph cannot have.
    return F.interpolate(images, size, mode="bilinear", align_corners=False)
