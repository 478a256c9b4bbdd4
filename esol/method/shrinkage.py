"""Shrinkage."""

from torch import Tensor, nn
from torch.nn import functional as F

from esol.method.sampling import OffsetBranch, sampled_convolution


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
        return F.conv2d(F.relu(sampled_convolution(x1, self.w2, self.sampler)), self.v)
