"""LPCAM (Chen and Sun, CVPR 2023): maps are likeness to parts of the class, found by clustering."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esol.method.classifier import Classifier
from esol.networks.weights import load_tensors, save_tensors
from esol.peers.kmeans import clusters_of
from esol.system.precision import single, whole

_ITERATIONS = 300
"""At most, of k-means; published code stops where the centres hardly move."""


class Prototypes(NamedTuple):
    """Activations that V reads, typical of a class: (P, D) of the class, (Q, D) of its context."""

    own: Tensor
    context: Tensor


def centres(activations: Tensor, clusters: int, *, seed: int) -> Tensor:
    """Clusters of activations by their direction, as published: k-means by cosine.

    k-means runs on the vectors divided by their lengths, from one start, chosen by k-means++ where
    published code draws it evenly.

    Args:
        activations: (n, D), finite; n may be 0. Those that are all 0 have no direction: left out.
        clusters: at most this many; fewer where there are fewer distinct directions.
        seed: of the start.

    Returns:
        (c, D) means of the activations in each cluster, not divided by their lengths.
    """
    activations = activations[activations.any(dim=1)].float()
    if not len(activations):
        return activations
    directions = F.normalize(activations, dim=1)
    labels = clusters_of(directions, clusters, seed=seed, starts=1, iterations=_ITERATIONS)
    return torch.stack(
        [
            activations[labels == label].mean(dim=0)
            for label in range(clusters)
            if (labels == label).any()
        ]
    )


def chosen(
    own: Tensor,
    context: Tensor,
    v: Tensor,
    k: int,
    foreground: float,
    background: tuple[float, float],
) -> Prototypes:
    """The centres that serve as prototypes of class k, by the classifier's probability of k.

    That is the softmax over the classes of V times the centre.

    Args:
        own: (c, D) centres of where the class is likely; c may be 0.
        context: (c', D) centres of where it is not; c' may be 0.
        v: (K, D) weights of V.
        k: the class.
        foreground: those of the class have a probability above this, or else, as published for
            COCO, the highest.
        background: those of the context have a probability between these two.
    """
    likely = (own @ v.T).softmax(dim=1)[:, k]
    above = likely > foreground
    if len(own) and not above.any():
        above = likely == likely.max()
    low, high = background
    between = (context @ v.T).softmax(dim=1)[:, k]
    return Prototypes(own[above], context[(between > low) & (between < high)])


def weights_of(prototypes: Sequence[Prototypes]) -> Tensor:
    """(K, D) weights of maps: how much more like the class than like its context a vector is.

    The mean of a vector's cosines with several prototypes is its direction times the mean of
    theirs. Activations are 0 or more, so a class without prototypes has no value above 0.
    """
    return torch.stack([_mean(own) - _mean(context) for own, context in prototypes])


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
    """(n, D) -> (D,) mean of their directions; 0 of none."""
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
        """(N, C, h, w) features -> "lpcam": (N, K, h, w) maps in -1 .. 1, before ReLU."""
        activations = single(self.head.activations(features))
        with whole(activations.device):
            maps = F.conv2d(F.normalize(activations, dim=1), self.weights[:, :, None, None])
        return {"lpcam": maps}
