"""Settings of the choice of method and of the compared methods."""

from dataclasses import dataclass
from typing import Annotated, Literal

from esol.settings.checks import BELOW_1, BETWEEN, NOT_NEGATIVE, POSITIVE, UP_TO_1, at_least
from esol.settings.inputs import Fit

Method = Literal["esol", "cam", "sccam", "drs", "eps", "lpcam"]

MapKind = Literal["cam", "expansion", "shrinkage", "sccam", "drs", "drs_refined", "eps", "lpcam"]
MAP_KINDS: tuple[MapKind, ...] = ("cam", "expansion", "shrinkage")
"""Those of the method esol."""

KINDS: dict[Method, tuple[MapKind, ...]] = {
    "esol": MAP_KINDS,
    "cam": ("cam",),
    "sccam": ("sccam",),
    "drs": ("drs", "drs_refined"),
    "eps": ("eps",),
    "lpcam": ("lpcam",),
}
"""Method -> the kinds of maps it makes; the last one becomes seeds."""

LEARNS: dict[Method, tuple[str, ...]] = {
    "esol": ("classify", "expand", "shrink"),
    "cam": ("classify",),
    "sccam": ("classify", "peer"),
    "drs": ("peer",),
    "eps": ("peer",),
    "lpcam": ("classify", "peer"),
}
"""Method -> the stages that train what makes its maps."""

MAKES: dict[MapKind, tuple[str, ...]] = {
    "cam": ("classify",),
    "expansion": ("classify", "expand"),
    "shrinkage": ("classify", "expand", "shrink"),
}
"""Kind of maps that the stage peer may learn from -> the stages that train what makes them."""


@dataclass(frozen=True)
class Sccam:
    """Method sccam (Chang et al., CVPR 2020): the classifier also learns sub-categories, which are
    clusters of each class's features. Every round is one training by classify.fit.
    """

    clusters: Annotated[int, at_least(2)] = 10
    """Sub-categories per class."""

    rounds: Annotated[int, POSITIVE] = 3
    """Trainings with sub-categories; the first clusters the plain classifier's features."""

    weight: Annotated[float, NOT_NEGATIVE] = 5.0
    """Weight of the loss over sub-categories."""

    iterations: Annotated[int, POSITIVE] = 300
    """At most this many iterations of k-means."""


@dataclass(frozen=True)
class Drs:
    """Method drs (Kim et al., AAAI 2021): no activation may exceed a share of its channel's
    maximum; a second network then learns the first one's maps. The first trains by classify.fit.
    """

    delta: Annotated[float, UP_TO_1] = 0.0
    """The share, fixed; 0: predicted per channel by a learned layer."""

    everywhere: bool = True
    """Also after every ReLU of the backbone, as published; false: in the head alone."""

    maps: Literal["drs", "cam", "shrinkage"] = "drs"
    """Maps that the second network learns: the first network's, as published. cam and shrinkage
    are controls, which tell what the second network brings by itself: plain CAM, and ESOL."""

    fit: Fit = Fit(epochs=30, optimizer="adamw", lr=1e-4, weight_decay=0.0)
    """Optimisation of the second network; its lr is that of W1 and W2."""


@dataclass(frozen=True)
class Eps:
    """Method eps (Lee et al., CVPR 2021): saliency maps as feedback on foreground and background.
    Trains by classify.fit. The maps are those of masks.saliency.
    """

    tau: Annotated[float, BELOW_1] = 0.4
    """A class's map counts as foreground if more than this share of it is salient."""

    foreground: Annotated[float, UP_TO_1] = 0.5
    """Share of the foreground maps, beside the background map, in the estimated saliency (the
    paper's lambda; 0.9 for COCO)."""


@dataclass(frozen=True)
class Lpcam:
    """Method lpcam (Chen and Sun, CVPR 2023): maps are likeness to prototypes, which are clusters
    of a class's features over its photos. Nothing is trained but the classifier. Defaults are the
    published ones for VOC, but for photos.
    """

    clusters: Annotated[int, POSITIVE] = 12
    """Prototypes of a class, and of its context, before some are left out (the paper's K; 20 for
    COCO)."""

    photos: Annotated[int, POSITIVE] = 100
    """At most this many photos of each class are clustered, drawn by the seed (published for COCO;
    for VOC all of the list train)."""

    maps: Literal["cam", "expansion", "shrinkage"] = "cam"
    """Maps that tell a photo's places of the class from its context: plain CAM, as published, or
    ESOL's."""

    threshold: Annotated[float, BELOW_1] = 0.1
    """Of these maps: places above it are of the class, below it of the context (0.25 for COCO)."""

    foreground: Annotated[float, BELOW_1] = 0.9
    """Prototypes of the class have a probability above this (the paper's mu_f)."""

    background: Annotated[tuple[float, float], BETWEEN] = (0.05, 0.9)
    """Prototypes of its context have a probability between these (the paper's mu_b is the second;
    0 and 0.5 for COCO)."""
