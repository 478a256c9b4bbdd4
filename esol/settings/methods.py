"""Settings of the choice of method and of the compared methods."""

from dataclasses import dataclass, field
from typing import Literal

from esol.settings.checks import at_least_zero, check, positive
from esol.settings.inputs import Fit

Method = Literal["esol", "cam", "sccam", "drs", "eps"]

MapKind = Literal["cam", "expansion", "shrinkage", "sccam", "drs", "drs_refined", "eps"]
MAP_KINDS: tuple[MapKind, ...] = ("cam", "expansion", "shrinkage")
"""Those of the method esol."""

KINDS: dict[Method, tuple[MapKind, ...]] = {
    "esol": MAP_KINDS,
    "cam": ("cam",),
    "sccam": ("sccam",),
    "drs": ("drs", "drs_refined"),
    "eps": ("eps",),
}
"""Method -> the kinds of maps it makes; the last one becomes seeds."""

LEARNS: dict[Method, tuple[str, ...]] = {
    "esol": ("classify", "expand", "shrink"),
    "cam": ("classify",),
    "sccam": ("classify", "peer"),
    "drs": ("peer",),
    "eps": ("peer",),
}
"""Method -> the stages that train what makes its maps."""


@dataclass(frozen=True)
class Sccam:
    """Method sccam (Chang et al., CVPR 2020): the classifier also learns sub-categories, which are
    clusters of each class's features. Every round is one training by classify.fit.
    """

    clusters: int = 10
    """Sub-categories per class."""

    rounds: int = 3
    """Trainings with sub-categories; the first clusters the plain classifier's features."""

    weight: float = 5.0
    """Weight of the loss over sub-categories."""

    iterations: int = 300
    """At most this many iterations of k-means."""

    def __post_init__(self) -> None:
        check(self.clusters >= 2, "sccam.clusters", self.clusters, "2 or more")
        positive(self, "sccam", "rounds", "iterations")
        at_least_zero(self, "sccam", "weight")


@dataclass(frozen=True)
class Drs:
    """Method drs (Kim et al., AAAI 2021): no activation may exceed a share of its channel's
    maximum; a second network then learns the first one's maps. The first trains by classify.fit.
    """

    delta: float = 0.0
    """The share, fixed; 0: predicted per channel by a learned layer."""

    everywhere: bool = True
    """Also after every ReLU of the backbone, as published; false: in the head alone."""

    maps: Literal["drs", "cam", "shrinkage"] = "drs"
    """Maps that the second network learns: the first network's, as published. cam and shrinkage
    are controls, which tell what the second network brings by itself: plain CAM, and ESOL."""

    fit: Fit = field(
        default_factory=lambda: Fit(epochs=30, optimizer="adamw", lr=1e-4, weight_decay=0.0)
    )
    """Optimisation of the second network; its lr is that of W1 and W2."""

    def __post_init__(self) -> None:
        check(0 <= self.delta <= 1, "drs.delta", self.delta, "in [0, 1]")
        self.fit.check("drs.fit")


@dataclass(frozen=True)
class Eps:
    """Method eps (Lee et al., CVPR 2021): saliency maps as feedback on foreground and background.
    Trains by classify.fit. The maps are those of masks.saliency.
    """

    tau: float = 0.4
    """A class's map counts as foreground if more than this share of it is salient."""

    foreground: float = 0.5
    """Share of the foreground maps, beside the background map, in the estimated saliency (the
    paper's lambda; 0.9 for COCO)."""

    def __post_init__(self) -> None:
        check(0 <= self.tau < 1, "eps.tau", self.tau, "in [0, 1)")
        check(0 <= self.foreground <= 1, "eps.foreground", self.foreground, "in [0, 1]")
