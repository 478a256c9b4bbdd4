"""Localizer."""

from pathlib import Path

import torch
from torch import Tensor, nn

from esol.method.classifier import Classifier, Head
from esol.method.expansion import Expansion
from esol.method.sampling import OffsetBranch
from esol.method.shrinkage import Shrinkage
from esol.networks.backbone import Backbone
from esol.networks.build import fixed_backbone, new_backbone
from esol.networks.weights import load_weights
from esol.settings import Sampler, Settings


class Localizer(nn.Module):
    """The frozen classifier with Expansion and Shrinkage on its head."""

    def __init__(self, classifier: Classifier, expansion: Expansion, shrinkage: Shrinkage) -> None:
        super().__init__()
        self.classifier = classifier.requires_grad_(False)
        self.expansion = expansion
        self.shrinkage = shrinkage

    @property
    def backbone(self) -> Backbone:
        """The classifier's."""
        return self.classifier.backbone

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> (N, K, h, w) maps of the three phases, before ReLU, without
        gradients.
        """
        with torch.no_grad():
            head = self.classifier.head
            x1 = self.expansion(features)
            return {
                "cam": head(features),
                "expansion": head.after_w1(x1),
                "shrinkage": self.shrinkage(x1),
            }


def new_head(settings: Settings, backbone: Backbone, outputs: int) -> Head:
    """Head with random weights."""
    return Head(backbone.channels, settings.head.width, outputs, settings.head.kernel)


def new_classifier(settings: Settings, classes: int) -> Classifier:
    """Classifier as stage 1 starts with it: the backbone's weights, a random head."""
    backbone = new_backbone(settings)
    return Classifier(backbone, new_head(settings, backbone, classes))


def frozen_classifier(settings: Settings, classes: int, weights: Path) -> Classifier:
    """Classifier as stage 1 left it, with nothing that learns, its backbone folded."""
    backbone = fixed_backbone(settings)
    classifier = Classifier(backbone, new_head(settings, backbone, classes))
    load_weights(classifier, weights)
    backbone.fold()
    return classifier.requires_grad_(False).eval()


def new_localizer(settings: Settings, classifier: Classifier) -> Localizer:
    """Classifier with Expansion and Shrinkage, both at their start: maps equal to the CAM's but
    for feature clipping.
    """
    head, expand, shrink = classifier.head, settings.expand, settings.shrink
    expansion = Expansion(
        head.w1.weight,
        _branch(head.w1, expand.sampler) if "offsets" in expand.learn else None,
        clip=expand.clip,
        learn_w1="w1" in expand.learn,
    )
    shrinkage = Shrinkage(
        head.w2.weight,
        head.v.weight,
        _branch(head.w2, shrink.sampler) if "offsets" in shrink.learn else None,
        learn_v="v" in shrink.learn.split("+"),
    )
    return Localizer(classifier, expansion, shrinkage)


def _branch(convolution: nn.Conv2d, settings: Sampler) -> OffsetBranch:
    return OffsetBranch(
        convolution.in_channels,
        convolution.kernel_size[0] * convolution.kernel_size[1],
        kernel=settings.kernel,
        bound=settings.bound,
        centre=settings.centre,
        clamp=settings.clamp,
    )
