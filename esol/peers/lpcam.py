"""LPCAM (Chen and Sun, CVPR 2023): maps are likeness to parts of the class, found by clustering."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esol.method.classifier import Classifier, Head
from esol.networks.weights import load_tensors, save_tensors
from esol.peers.kmeans import clusters_of
from esol.system.precision import single, whole

_ITERATIONS = 300
"""At most, of k-means; published code stops where the centres hardly move."""


class Prototypes(NamedTuple):
    """Features typical of a class: (P, C) of the class, (Q, C) of its context."""

    own: Tensor
    context: Tensor


def centres(features: Tensor, clusters: int, *, seed: int) -> Tensor:
    """Clusters of features by their direction.

    k-means runs on the vectors divided by their lengths, from one start, chosen by k-means++.
    Published code draws the start evenly, and a vector is in the cluster nearest by cosine.

    Args:
        features: (n, C), finite; n may be 0. Those that are all 0 have no direction: left out.
        clusters: at most this many; fewer where there are fewer distinct directions.
        seed: of the start.

    Returns:
        (c, C) means of the features in each cluster, not divided by their lengths.
    """
    features = features[features.any(dim=1)].float()
    if not len(features):
        return features
    directions = F.normalize(features, dim=1)
    labels = clusters_of(directions, clusters, seed=seed, starts=1, iterations=_ITERATIONS)
    return torch.stack(
        [
            features[labels == label].mean(dim=0)
            for label in range(clusters)
            if (labels == label).any()
        ]
    )


def chosen(
    own: Tensor,
    context: Tensor,
    head: Head,
    k: int,
    foreground: float,
    background: tuple[float, float],
) -> Prototypes:
    """The centres that serve as prototypes of class k, by the classifier's probability of k.

    That is the softmax over the classes of what the head says of a photo all of whose cells are
    the centre.

    Args:
        own: (c, C) centres of where the class is likely; c may be 0.
        context: (c', C) centres of where it is not; c' may be 0.
        head: of the classifier, on the CPU.
        k: the class.
        foreground: those of the class have a probability above this, or else, as published for
            COCO, the highest.
        background: those of the context have a probability between these two.
    """
    likely = _probabilities(own, head)[:, k]
    above = likely > foreground
    if len(own) and not above.any():
        above = likely == likely.max()
    low, high = background
    between = _probabilities(context, head)[:, k]
    return Prototypes(own[above], context[(between > low) & (between < high)])


@torch.no_grad()
def _probabilities(vectors: Tensor, head: Head) -> Tensor:
    """(n, C) -> (n, K) probabilities."""
    # As many cells as W1 and W2 see from the middle one, whatever is around them.
    side = 1 + 2 * sum(w.kernel_size[0] // 2 for w in (head.w1, head.w2))
    cells = vectors[:, :, None, None].expand(-1, -1, side, side)
    return head(cells)[:, :, side // 2, side // 2].softmax(dim=1)


def weights_of(prototypes: Sequence[Prototypes]) -> Tensor:
    """(K, C) weights of maps: how much more like the class than like its context a vector is.

    The mean of a vector's cosines with several prototypes is its direction times the mean of
    theirs. A class without prototypes has weights 0, and so no map.
    """
    return torch.stack(
        [_mean(own) - (_mean(context) if len(own) else 0) for own, context in prototypes]
    )


def save_prototypes(path: Path, prototypes: Sequence[Prototypes]) -> None:
    """Write the prototypes of all classes."""
    named = {
        f"{k}.{name}": x for k, pair in enumerate(prototypes) for name, x in pair._asdict().items()
    }
    save_tensors(path, named)


def load_prototypes(path: Path, classes: int) -> list[Prototypes]:
    """Read what ``save_prototypes`` wrote.

    Raises:
        InputError: the file is missing, damaged or of fewer classes.
    """
    return [Prototypes(*load_tensors(path, f"{k}.own", f"{k}.context")) for k in range(classes)]


def _mean(vectors: Tensor) -> Tensor:
    """(n, C) -> (C,) mean of their directions; 0 of none."""
    return F.normalize(vectors, dim=1).sum(dim=0) / max(1, len(vectors))


class PrototypeClassifier(nn.Module):
    """A trained classifier whose maps are likeness to prototypes; nothing in it learns.

    Args:
        classifier: plain, trained.
        prototypes: of each class, on any device.
    """

    def __init__(self, classifier: Classifier, prototypes: Sequence[Prototypes]) -> None:
        super().__init__()
        self.backbone, self.head = classifier.backbone, classifier.head
        self.weights: Tensor
        self.register_buffer("weights", weights_of(prototypes).to(self.head.v.weight))

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> "lpcam": (N, K, h, w) maps in -2 .. 2, before ReLU."""
        with whole(features.device):
            directions = F.normalize(single(features), dim=1)
            maps = F.conv2d(directions, self.weights[:, :, None, None])
        return {"lpcam": maps}
