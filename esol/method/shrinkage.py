"""Stage 3, Shrinkage: W2 samples so that maps cover less and still tell the class."""

from torch import Tensor, nn
from torch.nn import functional as F

from esol.method.sampling import OffsetBranch, plain_and_sampled, sampled_convolution
from esol.settings import Shrink
from esol.system.precision import single


class Shrinkage(nn.Module):
    """M = V * ReLU(W2 *_o X1), o = offset branch of X1, the activations that Expansion clipped.

    *_o is a deformable convolution with offsets o (DT_s in the paper's Table 1). W2 stays as
    the classifier left it, and V unless it is set to learn; the offset branch learns by
    :func:`esol.method.losses.shrink_losses`, and nothing of Expansion does.

    Args:
        w2: (D, D, k, k) weight of the classifier's second convolution, copied.
        v: (K, D, 1, 1) weight of its last one, copied.
        settings: what learns ("offsets": the method; "offsets+v", "v", "nothing": controls), and
            the sampler. Without "offsets" W2 is a plain convolution.
    """

    def __init__(self, w2: Tensor, v: Tensor, settings: Shrink) -> None:
        super().__init__()
        learned = settings.learn.split("+")
        self.w2 = nn.Parameter(w2.detach().clone(), requires_grad=False)
        self.v = nn.Parameter(v.detach().clone(), requires_grad="v" in learned)
        self.sampler = (
            OffsetBranch(w2.shape[1], w2[0, 0].numel(), settings.sampler)
            if "offsets" in learned
            else None
        )

    def forward(self, x1: Tensor) -> Tensor:
        """(N, D, h, w) expanded activations -> (N, K, h, w) maps, before ReLU."""
        return self._map(sampled_convolution(x1, self.w2, self.sampler))

    def beside_plain(self, x1: Tensor) -> tuple[Tensor, Tensor]:
        """ReLU of the plain W2 * X1, and what ``forward`` gives; together little more than one."""
        plain, x2 = plain_and_sampled(x1, self.w2, self.sampler)
        return F.relu(plain), self._map(x2)

    def _map(self, x2: Tensor) -> Tensor:
        return single(F.conv2d(F.relu(x2), self.v))
