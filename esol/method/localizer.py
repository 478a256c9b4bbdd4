"""The classifier with Expansion and Shrinkage: what makes the maps of the method esol."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esol.method.classifier import Classifier
from esol.method.expansion import Expansion
from esol.method.shrinkage import Shrinkage
from esol.networks.backbone import Backbone
from esol.settings import Settings


class Localizer(nn.Module):
    """The frozen classifier, Expansion on its W1, and Shrinkage on its W2 and V.

    With X1 = Expansion(F) the three kinds of maps are, before ReLU

        cam = V * ReLU(W2 * ReLU(W1 * F)),
        expansion = V * ReLU(W2 * X1),
        shrinkage = Shrinkage(X1)
    """

    def __init__(self, classifier: Classifier, expansion: Expansion, shrinkage: Shrinkage) -> None:
        super().__init__()
        self.classifier = classifier.requires_grad_(False)
        self.expansion = expansion
        self.shrinkage = shrinkage

    @classmethod
    def start(cls, settings: Settings, classifier: Classifier) -> Self:
        """Localizer with both untrained: maps are the CAM's except for clipping."""
        head = classifier.head
        expansion = Expansion(head.w1.weight, settings.expand)
        return cls(classifier, expansion, Shrinkage(head.w2.weight, head.v.weight, settings.shrink))

    @property
    def backbone(self) -> Backbone:
        """The classifier's."""
        return self.classifier.backbone

    @torch.no_grad()
    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> the (N, K, h, w) maps by their kind, before ReLU."""
        head = self.classifier.head
        activations, x1 = self.expansion.beside_plain(features)
        if self.expansion.learns_w1:  # it is no longer the classifier's
            activations = F.relu(head.w1(features))
        x2, shrinkage = self.shrinkage.beside_plain(x1)
        return {
            "cam": head.after_w1(activations),
            "expansion": head.after_w2(x2),
            "shrinkage": shrinkage,
        }
