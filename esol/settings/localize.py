"""Settings of stages 1 to 5: from the classifier to the seeds."""

from dataclasses import dataclass
from typing import Annotated, Literal

from esol.settings.checks import BELOW_1, NOT_NEGATIVE, POSITIVE, SCALES, SHARE, one_of
from esol.settings.inputs import Fit
from esol.settings.methods import MapKind


@dataclass(frozen=True)
class HeadSettings:
    """Convolution W1, ReLU, convolution W2, ReLU, 1 x 1 classifier V, pooling."""

    width: Annotated[int, POSITIVE] = 512
    """Channels of W1 and W2."""

    kernel: Annotated[int, one_of(1, 3, 5)] = 3
    """Side of W1 and W2, cells."""

    decay: Annotated[float, SHARE] = 1.0
    """How a class's score is pooled from its map: its r-th highest cell counts decay^r. 1: the
    mean; a transformer's maps are better below it (docs/backbones.md)."""


@dataclass(frozen=True)
class Classify:
    """Stage 1: the multi-label classifier, whose maps are the CAM baseline."""

    init: str = ""
    """Folder of an earlier run, whose classifier this one starts from; its classes are found by
    name, and features of its photos are reused (docs/data.md). Empty: a new head."""

    fit: Fit = Fit()
    """Optimisation; its lr is the rate of W1 and W2."""

    backbone_lr: Annotated[float, POSITIVE] = 1.0
    """Rate of the backbone's learning parameters, as a multiple of fit.lr."""

    classifier_lr: Annotated[float, POSITIVE] = 10.0
    """Rate of V, as a multiple of fit.lr."""


@dataclass(frozen=True)
class Sampler:
    """Offset branch of a frozen-weight deformable convolution."""

    kernel: Annotated[int, one_of(1, 3, 5)] = 3
    """Side of the offset branch's convolution, cells."""

    bound: Annotated[float, NOT_NEGATIVE] = 1.0
    """An offset is bound * tanh(raw / bound), cells; 0: unbounded."""

    centre: bool = True
    """Subtract each image's mean offset, so that the map cannot be shifted as a whole."""

    clamp: bool = True
    """Keep the centre of every sampling window on the map."""


@dataclass(frozen=True)
class Expand:
    """Stage 2: Expansion. A sampler on W1 learns by loss maximisation; its output is clipped."""

    learn: Literal["offsets", "offsets+w1", "w1", "nothing"] = "offsets"
    """offsets: the method. offsets+w1: the control of A.1.3. w1: no deformable layer, the control
    of A.1.1. nothing: no sampler either (the paper's "w/o DT_e"); this stage trains nothing."""

    clip: Annotated[float, SHARE] = 0.25
    """Feature clipping: each channel is cut at this share of its maximum over the image; 1: off."""

    alpha: Annotated[float, POSITIVE] = 0.01
    """Weight of the maximised classification loss (paper A.1.2)."""

    objective: Literal["maximise", "minimise"] = "maximise"
    """Direction; minimise is a control, not the method."""

    sampler: Sampler = Sampler()
    """Offset branch on W1."""

    fit: Fit = Fit(steps=60, lr=1.0, momentum=0.9, weight_decay=0.0)
    """Optimisation of the offset branch."""


@dataclass(frozen=True)
class Shrink:
    """Stage 3: Shrinkage. A sampler on W2 learns by classification plus an area loss."""

    learn: Literal["offsets", "offsets+v", "v", "nothing"] = "offsets"
    """offsets: the method. v: no sampler, the classifier V learns (the paper's "w/o DT_s").
    nothing: no sampler and nothing learns."""

    area: Annotated[float, NOT_NEGATIVE] = 2.0
    """Weight of the area loss; 0: off."""

    sampler: Sampler = Sampler()
    """Offset branch on W2."""

    fit: Fit = Fit(steps=80, optimizer="adamw", lr=1e-3, weight_decay=0.0)
    """Optimisation of the offset branch."""


@dataclass(frozen=True)
class Cams:
    """Stage 4: localization maps of the tagged classes, on a stride-4 grid."""

    scales: Annotated[tuple[float, ...], SCALES] = (1.0, 0.5, 1.5, 2.0)
    """Input scales whose maps are added."""

    flip: bool = True
    """Add the maps of the mirrored photo."""

    lists: tuple[str, ...] = ()
    """Photo lists to map; empty: data.train and data.evaluate."""


@dataclass(frozen=True)
class Seeds:
    """Stage 5: seed masks."""

    kind: MapKind | Literal["auto"] = "auto"
    """Which maps become seeds; auto: those the method ends with (esol: shrinkage)."""

    threshold: Annotated[float, BELOW_1] = 0.15
    """Score above which a pixel takes its best tagged class; the one fixed, common threshold."""
