"""SC-CAM (Chang et al., CVPR 2020): the classifier also learns sub-categories of each class."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from esol.data.batch import Batch, Losses
from esol.method.classifier import Head
from esol.method.losses import classification_loss
from esol.networks.backbone import Backbone, features_of
from esol.peers.kmeans import clusters_of
from esol.system.precision import single


class BothMaps(NamedTuple):
    """Maps of one pass, before ReLU: (N, K, h, w) of classes, (N, S, h, w) of sub-categories."""

    classes: Tensor
    subcategories: Tensor


class SubcategoryClassifier(nn.Module):
    """The plain classifier with a second 1 x 1 classifier on the activations that V reads.

    Args:
        backbone: feature extractor, for the first clustering that of a trained plain classifier.
        head: the K-way head, likewise.
        subcategories: S, columns of the sub-labels.

    Attributes:
        sub: D -> S, no bias; starts like V and may learn at its rate.
    """

    def __init__(self, backbone: Backbone, head: Head, subcategories: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.sub = nn.Conv2d(head.v.in_channels, subcategories, 1, bias=False)
        nn.init.normal_(self.sub.weight, std=0.01)

    def both(self, features: Tensor) -> BothMaps:
        """(N, C, h, w) features -> maps of classes and of sub-categories."""
        x2 = self.head.activations(features)
        return BothMaps(single(self.head.v(x2)), single(self.sub(x2)))

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> "sccam": (N, K, h, w) maps of the K-way head, before ReLU."""
        return {"sccam": self.head(features)}

    def vectors(self, features: Tensor) -> Tensor:
        """(N, C, h, w) features -> (N, D) means over the map of the activations that V reads."""
        return single(self.head.activations(features)).mean(dim=(2, 3))


def subcategories(
    vectors: Tensor, tags: Tensor, clusters: int, *, seed: int, iterations: int
) -> Tensor:
    """Sub-labels: k-means within each class, over the photos that have its tag.

    The best of 10 starts, scikit-learn's default when the paper appeared. A class with fewer
    distinct vectors than ``clusters`` has one cluster for each; its other columns are 0.

    Args:
        vectors: (N, D), finite.
        tags: (N, K) bool.
        clusters: sub-categories per class (paper: 10).
        seed: of the starts.
        iterations: at most this many per start (published code: 300).

    Returns:
        (N, K * clusters) uint8, 0 or 1; class k's sub-categories are the columns from
        k * clusters on, and a photo has exactly one of them if it has the class, else none.

    Raises:
        ValueError: ``vectors`` and ``tags`` differ in rows, or a value is not finite.
    """
    if len(vectors) != len(tags):
        raise ValueError(f"{len(vectors)} vectors, but tags of {len(tags)} photos")
    if not vectors.isfinite().all():
        raise ValueError("vectors with values that are not finite")
    labels = torch.zeros(len(tags), tags.shape[1] * clusters, dtype=torch.uint8)
    for k in range(tags.shape[1]):
        rows = tags[:, k].nonzero()[:, 0].cpu()
        if len(rows):
            members = vectors.cpu()[rows].float()
            cluster = clusters_of(members, clusters, seed=seed, starts=10, iterations=iterations)
            labels[rows, k * clusters + cluster] = 1
    return labels


def sccam_losses(
    model: SubcategoryClassifier, batch: Batch, *, sublabels: Mapping[str, Tensor], weight: float
) -> Losses:
    """L_cls over classes + weight * L_cls over sub-categories (published code: weight 5).

    ``sublabels``: name -> (S,) row of :func:`subcategories`, for every photo of the batch.
    """
    maps = model.both(features_of(model.backbone, batch))
    rows = torch.stack([sublabels[name] for name in batch.names]).to(batch.tags)
    classification = classification_loss(model.head.scores(maps.classes), batch.tags)
    finer = classification_loss(model.head.scores(maps.subcategories), rows)
    return {
        "loss": classification + weight * finer,
        "classification": classification.detach(),
        "subcategories": finer.detach(),
    }
