"""The baseline classifier, whose class activation maps are the CAM baseline."""

from torch import Tensor, nn
from torch.nn import functional as F

from esol.networks.backbone import Backbone


class Head(nn.Module):
    """Convolution W1, ReLU, convolution W2, ReLU, 1 x 1 classifier V; no biases.

    Both later stages take their fixed weights from here: Expansion samples with W1, Shrinkage with
    W2 (paper A.1.3: "the convolutional weights obtained from our baseline model").

    Args:
        channels: C of the features.
        width: D, channels of W1 and W2.
        classes: K.
        kernel: side of W1 and W2, odd.
    """

    def __init__(self, channels: int, width: int, classes: int, kernel: int) -> None:
        super().__init__()
        self.w1 = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
        self.w2 = nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False)
        self.v = nn.Conv2d(width, classes, 1, bias=False)
        for convolution in (self.w1, self.w2):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.normal_(self.v.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, K, h, w) maps, before ReLU."""
        return self.after_w1(F.relu(self.w1(features)))

    def after_w1(self, x1: Tensor) -> Tensor:
        """(N, D, h, w) activations of W1 -> (N, K, h, w) maps."""
        maps: Tensor = self.v(F.relu(self.w2(x1)))
        return maps


class Classifier(nn.Module):
    """Backbone and head."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images -> (N, K, h, w) maps, before ReLU."""
        maps: Tensor = self.head(self.backbone(images))
        return maps

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> the (N, K, h, w) maps by their kind, before ReLU."""
        return {"cam": self.head(features)}
