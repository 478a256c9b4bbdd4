"""Expansion and Shrinkage: offset branches on the baseline's frozen convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esol.method.sampling import OffsetBranch, sampled_convolution


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
        x1 = F.relu(sampled_convolution(features, self.w1, self.sampler))
        return clip_features(x1, self.clip)
