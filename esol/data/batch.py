"""Batch of training inputs."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Batch(NamedTuple):
    """Training batch.

    Attributes:
        inputs: (N, 3, H, W) normalised images, or (N, C, h, w) features if ``cached``.
        tags: (N, K) float, 1 where the photo has the tag.
        names: the photos' names, for error messages.
        cached: whether ``inputs`` are the frozen backbone's features.
        masks: (N, H, W) int64 labels of the inputs' pixels, 0 background, 255 ignored; None where
            the stage learns from tags.
        targets: (N, P, h', w') float planes in 0 .. 1 that lie over the inputs, at any resolution;
            0 beside the photo. None where the stage needs none.
    """

    inputs: Tensor
    tags: Tensor
    names: tuple[str, ...]
    cached: bool
    masks: Tensor | None = None
    targets: Tensor | None = None

    def labels(self, output: Tensor) -> Tensor:
        """(N, h, w) labels at an output's resolution: of the pixels at its cells' centres."""
        if self.masks is None:
            raise ValueError("a batch without masks")
        size = output.shape[-2:]
        if self.masks.shape[-2:] == size:
            return self.masks
        # In floats, which hold 0 .. 255 exactly: the resize takes no integers of 64 bits.
        small = F.interpolate(self.masks[:, None].float(), size, mode="nearest-exact")
        return small[:, 0].long()


Losses = dict[str, Tensor]
"""Name -> scalar; "loss" is minimised."""
