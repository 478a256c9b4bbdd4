"""Losses of classify, expand and shrink: (model, batch) -> named terms; "loss" is minimised."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from esol.data.batch import Batch, Losses, Mean
from esol.method.classifier import Classifier
from esol.method.localizer import Localizer
from esol.networks.backbone import features_of


def classification_loss(scores: Tensor, tags: Tensor) -> Tensor:
    """L_cls: multi-label soft margin on (N, K) class scores and (N, K) tags."""
    return F.multilabel_soft_margin_loss(scores, tags)


def area_loss(maps: Tensor, tags: Tensor) -> Mean:
    """L_area: mean of ReLU(M) / max ReLU(M) over positions, then over all tags of the batch.

    The maximum over the image is held constant, so that the loss cannot be lowered by raising one
    peak. Photos without a tag do not count. The paper names this loss (Table 1), the form is ours.

    Args:
        maps: (N, K, h, w), before ReLU.
        tags: (N, K), 1 where the photo has the tag.
    """
    positive = F.relu(maps)
    peak = positive.detach().amax(dim=(2, 3), keepdim=True).clamp_min(1e-5)
    area = (positive / peak).mean(dim=(2, 3))
    return Mean.of((area * tags).sum(), tags.sum())


def classify_losses(model: Classifier, batch: Batch) -> Losses:
    """Stage 1: L_cls of the plain head."""
    maps = model.head(features_of(model.backbone, batch))
    return {"loss": classification_loss(model.head.scores(maps), batch.tags)}


def expand_losses(
    model: Localizer, batch: Batch, *, alpha: float, objective: Literal["maximise", "minimise"]
) -> Losses:
    """Stage 2: L = -alpha L_cls of the expanded maps, so that training maximises L_cls (A.1.2).

    Gradients stop before the backbone. The objective "minimise" is a control: L = alpha L_cls.
    """
    head = model.classifier.head
    x1 = model.expansion(features_of(model.backbone, batch).detach())
    classification = classification_loss(head.scores(head.after_w1(x1)), batch.tags)
    sign = -1 if objective == "maximise" else 1
    return {"loss": sign * alpha * classification, "classification": classification.detach()}


def shrink_losses(model: Localizer, batch: Batch, *, area: float) -> Losses:
    """Stage 3: L = L_cls + area * L_area of the shrunken maps; Expansion is detached.

    ``area`` is the weight of L_area (Table 1).
    """
    with torch.no_grad():
        x1 = model.expansion(features_of(model.backbone, batch))
    maps = model.shrinkage(x1)
    classification = classification_loss(model.classifier.head.scores(maps), batch.tags)
    covered = area_loss(maps, batch.tags)
    return {
        "loss": Mean.weighted((1, classification), (area, covered)),
        "classification": classification.detach(),
        "area": covered.detach(),
    }
