"""Settings of stages 6 to 8: refinement, pseudo masks, the segmentation network."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from esol.settings.checks import (
    BELOW_1,
    CONFIDENCE,
    DEVIATION,
    MEAN,
    NOT_NEGATIVE,
    POSITIVE,
    SCALES,
    SHARE,
    SIDE,
    SIDE_OR_0,
    THRESHOLD,
    UP_TO_1,
    WITHOUT_REPEATS,
    at_most,
    named,
    one_of,
    within,
)
from esol.settings.inputs import MOST_LR, STRIDES, Fit, Input
from esol.settings.methods import MapKind

RefineMethod = Literal["crf", "irn", "affinity", "distil"]

MaskSource = Literal[
    "seeds", "crf", "irn", "irn+crf", "affinity", "affinity+crf", "distil", "distil+crf"
]

REFINED_MAPS = ("irn", "affinity", "distil")
"""Refinements that make maps; crf makes masks."""


def source_parts(source: str) -> tuple[str, bool]:
    """What a value of masks.source says: the maps that are cut, and whether a CRF follows.

    >>> source_parts("irn+crf"), source_parts("crf")
    (('irn', True), ('seeds', True))
    """
    maps, _, crf = source.partition("+")
    return ("seeds", True) if maps == "crf" else (maps, bool(crf))


@dataclass(frozen=True)
class Crf:
    """Fully connected CRF: a spatial kernel exp(-d^2 / 2 size^2), and a bilateral one that also
    needs similar colours. Defaults: IRN's, for label masks.
    """

    iterations: Annotated[int, NOT_NEGATIVE] = 10
    """Mean-field steps; 0: no CRF."""

    spatial_size: Annotated[float, POSITIVE] = 3.0
    """Reach of the spatial kernel, pixels."""

    spatial_weight: Annotated[float, NOT_NEGATIVE] = 3.0
    """Weight of the spatial kernel."""

    bilateral_size: Annotated[float, POSITIVE] = 50.0
    """Reach of the bilateral kernel, pixels."""

    bilateral_colour: Annotated[float, POSITIVE] = 5.0
    """Reach of the bilateral kernel in each colour channel, 8-bit levels."""

    bilateral_weight: Annotated[float, NOT_NEGATIVE] = 10.0
    """Weight of the bilateral kernel."""

    def kernels(self) -> dict[str, Any]:
        """Arguments of :func:`esol.ops.crf.dense_crf`."""
        return {
            "spatial": (self.spatial_size, self.spatial_weight),
            "bilateral": (self.bilateral_size, self.bilateral_colour, self.bilateral_weight),
            "iterations": self.iterations,
        }


@dataclass(frozen=True)
class Affinity:
    """IRNet: learns from confident labels where one object ends. Defaults: IRN's recipe."""

    foreground: float = 0.30
    """A label is confident where a map exceeds this after refine.crf."""

    background: float = 0.05
    """Background is confident where no map exceeds this after refine.crf."""

    radius: Annotated[int, within(2, 20)] = 10
    """Pairs nearer than this are learned from, cells of 4 pixels."""

    input: Input = Input(longest=(250, 750))
    """Training inputs."""

    fit: Fit = Fit(epochs=3, batch=32)
    """Optimisation; its lr is that of the edge branch."""

    displacement_lr: Annotated[float, POSITIVE] = 10.0
    """Rate of the displacement branch, as a multiple of fit.lr."""


@dataclass(frozen=True)
class Walk:
    """Random walk of the maps over IRNet's affinities. Defaults: IRN's."""

    radius: Annotated[int, within(2, 20)] = 5
    """A step reaches cells nearer than this, cells of 4 pixels."""

    beta: Annotated[float, POSITIVE] = 10.0
    """Exponent of the affinity."""

    steps: Annotated[int, NOT_NEGATIVE] = 256
    """Steps of the walk."""

    power: Annotated[float, POSITIVE] = 1.0
    """The maps are raised to this power first."""

    start: MapKind | Literal["auto"] = "auto"
    """Maps that walk; auto: those of seeds.kind, which IRNet's labels are made of."""


@dataclass(frozen=True)
class Similarity:
    """Refinement affinity: the maps go over to cells that the trained backbone finds alike. Nothing
    is learned.
    """

    source: Literal["features", "attention"] = "features"
    """What says how alike two cells are: the cosine of their features, or a plain transformer's
    attention, which was worse where it was tried (docs/masks.md)."""

    levels: Annotated[int, NOT_NEGATIVE] = 0
    """The last so many layers' attention, or levels' features, are averaged; 0: 8 layers of
    attention, 1 level of features."""

    beta: Annotated[float, POSITIVE] = 1.0
    """features: exponent of the cosine."""

    common: Annotated[float, UP_TO_1] = 0.0
    """features: share of the photo's mean that is subtracted from them first. A transformer's
    tokens have much in common, which hides how they differ."""

    reach: Annotated[float, NOT_NEGATIVE] = 0.0
    """Cells count less with their distance d, by exp(-d^2 / 2 reach^2), in cells of the features;
    0: all count alike."""

    box: Annotated[float, BELOW_1] = 0.0
    """A map starts only from the boxes around what exceeds this share of its maximum; 0: from
    everywhere."""

    power: Annotated[float, POSITIVE] = 4.0
    """The maps are raised to this power first: they start from what is surest."""

    steps: Annotated[int, NOT_NEGATIVE] = 1
    """Steps from cell to cell."""


@dataclass(frozen=True)
class Distil:
    """Refinement distil: a head on the backbone (segment.network: head) learns masks of the
    training list, cut from irn's maps, without irn from affinity's, without both from the seeds',
    where masks.threshold auto would, or so that they fill the share that it names. The geometric
    mean of these maps and of what it finds with the tags is kept: what other photos of a class
    contradict becomes less. Rare classes are balanced (segment.balance).
    """

    steps: Annotated[int, POSITIVE] = 300
    """Optimiser steps of the head (AdamW)."""

    batch: Annotated[int, POSITIVE] = 8
    """Photos per step."""

    lr: Annotated[float, POSITIVE, at_most(MOST_LR)] = 2e-3
    """Initial learning rate."""

    @property
    def fit(self) -> Fit:
        """Optimisation of the head."""
        return Fit(
            steps=self.steps, batch=self.batch, optimizer="adamw", lr=self.lr, weight_decay=1e-2
        )


@dataclass(frozen=True)
class Refine:
    """Stage 6: refined maps (irn, affinity, distil) and masks (crf), from the maps that seeds.kind
    names.
    """

    methods: Annotated[tuple[RefineMethod, ...], WITHOUT_REPEATS] = ("crf", "irn")
    """What is made: crf, masks at seeds.threshold to compare; irn, affinity and distil, what these
    values of masks.source need; empty: this stage does nothing."""

    crf: Crf = Crf()
    """CRF on label masks: the seeds for crf, the confident labels for irn."""

    confidence: Annotated[float, CONFIDENCE] = 0.7
    """Probability of each pixel's label with which that CRF starts."""

    affinity: Affinity = Affinity()
    """irn: IRNet."""

    walk: Walk = Walk()
    """irn: random walk."""

    similarity: Similarity = Similarity()
    """affinity: how the maps are spread, without training."""

    distil: Distil = Distil()
    """distil: the head."""

    threshold: Annotated[float, BELOW_1] = 0.25
    """irn, affinity, distil: score at which the maps are measured if no masks are made of them;
    irn: and above which instances are cut."""

    longest: Annotated[int, SIDE_OR_0] = 1000
    """CRF and IRNet work on the photo reduced to at most this longest side, pixels; 0: never
    reduced. Their sizes were chosen for photos of about 500 pixels."""

    instances: bool = False
    """irn: also group each class's pixels into objects by the displacement field."""


@dataclass(frozen=True)
class Masks:
    """Stage 7: pseudo masks, what the segmentation network learns from."""

    source: MaskSource = "crf"
    """What becomes the mask: maps at a threshold, those that seeds.kind names (seeds) or refined
    ones (irn, affinity, distil), and with +crf what refine.crf makes of that; crf alone is of the
    seeds."""

    threshold: Annotated[float | str, THRESHOLD] = "auto"
    """Score above which a pixel takes its best tagged class. auto: chosen without ground truth
    (docs/masks.md); 5%: so that objects fill 5 % of a tagged photo on average, if you know it."""

    margin: Annotated[float, BELOW_1] = 0.0
    """Without a CRF: pixels whose best score is nearer than this to the threshold become 255."""

    saliency: str = ""
    """Folder of saliency maps: inside the data folder if it is there, else from the current folder,
    or an absolute path; empty: none are used."""

    salient: Annotated[float, SHARE] = 0.5
    """Saliency from which a pixel counts as foreground."""


HEAD = "head"
"""The value of segment.network that names a head on the classifier's backbone."""

AUTO_STRIDE = 8
"""What auto means for segment.stride where the stride can be chosen."""


@dataclass(frozen=True)
class Segment:
    """Stage 8: a segmentation network trained on the pseudo masks. Defaults: the paper's network
    (DeepLab-ASPP V3, ResNet-101), DeepLab's usual optimisation.
    """

    network: Annotated[str, named("a network's name, or none")] = "DeepLabV3"
    """A network of segmentation_models_pytorch by its class name, DeepLabV2, head, or none. head:
    a few convolutions on the classifier's backbone, which no longer learns; encoder, weights,
    stride, mean, std, norm and input of this group are not read then, but backbone and input."""

    encoder: str = "resnet101"
    """Its encoder: a name of segmentation_models_pytorch (tu-NAME: any of timm); DeepLabV2: a name
    of timm."""

    weights: str = "imagenet"
    """Initial weights of the encoder: imagenet (downloads), none, or a file, as for backbone."""

    stride: Annotated[int | Literal["auto"], one_of("auto", *STRIDES)] = "auto"
    """Input pixels per feature cell of the encoder. auto: 8 where it can be chosen, otherwise the
    network's own (DeepLabV2: 16 if it can be had)."""

    mean: Annotated[tuple[float, ...] | Literal["auto"], MEAN] = "auto"
    """Photos are normalised by this mean, values 0 .. 1. auto: what the encoder's pre-trained
    weights were learned with; random ones: ImageNet's."""

    std: Annotated[tuple[float, ...] | Literal["auto"], DEVIATION] = "auto"
    """And by this standard deviation."""

    norm: Literal["frozen", "learned"] = "frozen"
    """Encoder's batch norm: running statistics of the weights, or learned from the batches."""

    input: Input = Input(size=321, longest=(250, 750))
    """Training inputs."""

    fit: Fit = Fit(epochs=19, batch=10, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
    """Optimisation; its lr is that of the encoder. 19 epochs of VOC's 10,582 photos are the field's
    20,000 steps."""

    head_lr: Annotated[float, POSITIVE] = 10.0
    """Rate of everything but the encoder, as a multiple of fit.lr."""

    balance: bool = False
    """Whether a class that fills less of the masks than the mean class weighs more in the loss, up
    to ten times: a class in few photos is never predicted otherwise (docs/segmentation.md). false:
    all pixels alike, as published."""

    truth: bool = False
    """Train on the ground truth: the fully supervised upper bound, no weak supervision."""

    longest: Annotated[int, SIDE] = 500
    """Testing: longest side at scale 1, pixels (resize: crop; squash tests at input.size)."""

    scales: Annotated[tuple[float, ...], SCALES] = (1.0,)
    """Testing: input scales whose probabilities are averaged."""

    flip: bool = True
    """Testing: average with the mirrored photo's probabilities."""

    crf: Crf = Crf(
        iterations=0,
        spatial_size=1.0,
        bilateral_size=67.0,
        bilateral_colour=3.0,
        bilateral_weight=4.0,
    )
    """Testing: CRF on the probabilities (DeepLab's; off by default)."""
