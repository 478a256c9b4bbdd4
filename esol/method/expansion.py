"""Stage 2, Expansion: W1 samples beyond the discriminative parts, then features are clipped."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esol.method.sampling import OffsetBranch, plain_and_sampled, sampled_convolution
from esol.settings import Expand


class Expansion(nn.Module):
    """X1 = clip(ReLU(W1 *_o F)), o = offset branch of F.

    *_o is a deformable convolution with offsets o (DT_e in the paper's Table 1), clip is
    :func:`clip_features` (FL there). The expanded maps are V * ReLU(W2 * X1). W1 stays as the
    classifier left it (A.1.3); the offset branch alone learns, by maximising the classification
    loss (:func:`esol.method.losses.expand_losses`).

    Args:
        w1: (D, C, k, k) weight of the classifier's first convolution, copied.
        settings: what learns ("offsets": the method; "offsets+w1", "w1", "nothing": controls of
            A.1.3, A.1.1 and Table 1), the sampler, and the share at which features are clipped.
            Without "offsets" W1 is a plain convolution.
    """

    def __init__(self, w1: Tensor, settings: Expand) -> None:
        super().__init__()
        self.learns_w1 = "w1" in settings.learn
        self.w1 = nn.Parameter(w1.detach().clone(), requires_grad=self.learns_w1)
        self.sampler = (
            OffsetBranch(w1.shape[1], w1[0, 0].numel(), settings.sampler)
            if "offsets" in settings.learn
            else None
        )
        self.clip = settings.clip

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, D, h, w) clipped activations, 0 or more."""
        x1 = F.relu(sampled_convolution(features, self.w1, self.sampler))
        return clip_features(x1, self.clip)

    def beside_plain(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """ReLU of the plain W1 * F, and what ``forward`` gives; together little more than one."""
        plain, x1 = plain_and_sampled(features, self.w1, self.sampler)
        return F.relu(plain), clip_features(F.relu(x1), self.clip)


def clip_features(x: Tensor, share: float | Tensor) -> Tensor:
    """Feature clipping: min(x, share * max(x)), the maximum over each image and channel.

    This is min-max normalisation, a clamp and the channel's scale restored, with 0 for the minimum
    of activations after ReLU. Less discriminative regions then weigh as much as the most
    discriminative one. DRS suppresses activations by the same formula (Kim et al., AAAI 2021,
    section 3.2).

    Args:
        x: (N, D, h, w) activations, 0 or more.
        share: in [0, 1], one for all or (N, D, 1, 1); 1 changes nothing.
    """
    if isinstance(share, float) and share >= 1:
        return x
    return torch.minimum(x, share * x.amax(dim=(2, 3), keepdim=True))
