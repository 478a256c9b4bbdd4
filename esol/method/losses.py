"""Losses: one function per trained stage, (model, batch) -> scalars; "loss" is minimised."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from esol.data.batch import Batch, Losses
from esol.method.classifier import Classifier
from esol.method.localizer import Localizer
from esol.networks.backbone import Backbone
from esol.system.distributed import divisor


def classification_loss(maps: Tensor, tags: Tensor) -> Tensor:
    """Multi-label soft margin on globally averaged (N, K, h, w) maps and (N, K) tags."""
    return F.multilabel_soft_margin_loss(maps.mean(dim=(2, 3)), tags)


def area_loss(maps: Tensor, tags: Tensor) -> Tensor:
    """Mean activated area of the tagged classes' maps, in 0 .. 1.

    A map is ReLU(map) / its maximum over the image, the maximum held constant so that the loss
    cannot be lowered by raising one peak. Photos without a tag do not count.
    """
    positive = F.relu(maps)
    peak = positive.detach().amax(dim=(2, 3), keepdim=True).clamp_min(1e-5)
    area = (positive / peak).mean(dim=(2, 3))
    return (area * tags).sum() / divisor(tags.sum())


def features_of(backbone: Backbone, batch: Batch) -> Tensor:
    """(N, C, h, w) features of a batch, computed unless they were cached."""
    features: Tensor = batch.inputs if batch.cached else backbone(batch.inputs)
    return features


def classify_losses(model: Classifier, batch: Batch) -> Losses:
    """Stage 1: the classification loss of the plain head."""
    maps = model.head(features_of(model.backbone, batch))
    return {"loss": classification_loss(maps, batch.tags)}


def expand_losses(
    model: Localizer, batch: Batch, *, alpha: float, objective: Literal["maximise", "minimise"]
) -> Losses:
    """Stage 2: loss maximisation, L = -alpha * L_cls (paper A.1.2)."""
    classifier = model.classifier
    x1 = model.expansion(features_of(classifier.backbone, batch).detach())
    classification = classification_loss(classifier.head.after_w1(x1), batch.tags)
    sign = -1 if objective == "maximise" else 1
    return {"loss": sign * alpha * classification, "classification": classification.detach()}


def shrink_losses(model: Localizer, batch: Batch, *, area: float) -> Losses:
    """Stage 3: L_cls + area * L_area, everything of stage 2 detached."""
    with torch.no_grad():
        x1 = model.expansion(features_of(model.classifier.backbone, batch))
    maps = model.shrinkage(x1)
    classification, covered = classification_loss(maps, batch.tags), area_loss(maps, batch.tags)
    return {
        "loss": classification + area * covered,
        "classification": classification.detach(),
        "area": covered.detach(),
    }
