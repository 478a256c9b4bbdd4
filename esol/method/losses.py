"""Losses: one function per trained stage, (model, batch) -> scalars; "loss" is minimised."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from esol.data.sample import IGNORE
from esol.models.affinity import AffinityNet
from esol.models.backbone import Backbone
from esol.models.classifier import Classifier
from esol.models.samplers import Localizer
from esol.models.segmenter import Segmenter
from esol.ops.pairs import pair_losses
from esol.system.distributed import divisor


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


Losses = dict[str, Tensor]


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


def affinity_losses(model: AffinityNet, batch: Batch, *, radius: int) -> Losses:
    """Stage 6: IRN's pair losses on the confident labels of the batch."""
    edge, displacement = model(batch.inputs)
    return pair_losses(edge, displacement, _labels(batch, edge), radius)


def segment_losses(model: Segmenter, batch: Batch) -> Losses:
    """Stage 8: cross-entropy with the masks, ignoring 255, mean over the network's outputs."""
    outputs = model.all_logits(batch.inputs)
    losses = []
    for logits in outputs:
        labels = _labels(batch, logits)
        total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        losses.append(total / divisor((labels != IGNORE).sum()))
    return {"loss": torch.stack(losses).mean()}


def _labels(batch: Batch, output: Tensor) -> Tensor:
    """(N, h, w) labels at the output's resolution: those of the pixels at its cells' centres."""
    if batch.masks is None:
        raise ValueError("a batch without masks")
    size = output.shape[-2:]
    if batch.masks.shape[-2:] == size:
        return batch.masks
    # In floats, which hold 0 .. 255 exactly: the resize takes no integers of 64 bits.
    small = F.interpolate(batch.masks[:, None].float(), size, mode="nearest-exact")
    return small[:, 0].long()
