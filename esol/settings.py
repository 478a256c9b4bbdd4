"""Every knob of the program: one frozen dataclass per group. Imports no torch.

A value is found in this order: the defaults here, then a YAML file, then the command line.
Defaults are the paper's setting (Expansion and Shrinkage of Localization, NeurIPS 2022) where the
paper states one; docs/method.md lists which values are the paper's and which are ours.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from esol.errors import InputError


def _check(ok: bool, key: str, value: object, allowed: str) -> None:
    if not ok:
        raise InputError(f"{key} = {value!r}: must be {allowed}")


def _positive(group: object, prefix: str, *names: str) -> None:
    for name in names:
        value = getattr(group, name)
        _check(value > 0, f"{prefix}.{name}", value, "greater than 0")


def _at_least_zero(group: object, prefix: str, *names: str) -> None:
    for name in names:
        value = getattr(group, name)
        _check(value >= 0, f"{prefix}.{name}", value, "0 or more")


@dataclass(frozen=True)
class Data:
    """Which photos, tags and masks are used."""

    kind: Literal["auto", "folder", "voc", "coco"] = "auto"
    """Layout of the data folder; auto recognises it."""

    train: str = "train"
    """Photos to learn from (VOC: a list of ImageSets/Segmentation; COCO: train2017, ...)."""

    evaluate: tuple[str, ...] = ("train",)
    """Lists whose masks, where there are any, measure the seeds."""

    classes: tuple[str, ...] = ()
    """Classes to use, in this order; empty: all. Pixels of a class left out are ignored (255)."""

    masks: str = ""
    """Folder of masks inside the data folder; empty: the layout's own (VOC: SegmentationClassAug
    if present, else SegmentationClass)."""

    labels: str = ""
    """Tags file inside the data folder; empty: the layout's own."""

    difficult: bool = True
    """VOC XML only: an object marked difficult counts as a tag."""

    limit: int = 0
    """Use at most this many photos of each list, evenly spaced by name; 0: all."""

    def __post_init__(self) -> None:
        _at_least_zero(self, "data", "limit")
        _check(bool(self.train), "data.train", self.train, "the name of a list")
        _check(
            len(set(self.classes)) == len(self.classes),
            "data.classes",
            self.classes,
            "without repeats",
        )


@dataclass(frozen=True)
class Input:
    """How a photo becomes a network input. Defaults: IRN's recipe for the paper's baseline."""

    size: int = 512
    """Side of a training input, pixels."""

    resize: Literal["crop", "squash"] = "crop"
    """crop: random rescale, then a random crop, zero padded. squash: the whole photo at size x size
    (also at inference, where a scale s means a side of s x size)."""

    longest: tuple[int, int] = (320, 640)
    """crop only: range from which the photo's longest side is drawn, pixels."""

    flip: bool = True
    """Mirror left to right with probability 1/2 in training."""

    def __post_init__(self) -> None:
        _check(self.size >= 32, "input.size", self.size, "at least 32")
        low, high = self.longest
        _check(32 <= low <= high, "input.longest", self.longest, "two sizes, 32 <= low <= high")


@dataclass(frozen=True)
class Backbone:
    """The feature extractor, any convolutional network of timm."""

    name: str = "resnet50"
    """timm's name of the network, with or without a weights tag (resnet50.tv_in1k)."""

    weights: str = "imagenet"
    """imagenet (timm downloads), none (random), or the path of a .safetensors file."""

    stride: int = 16
    """Input pixels per feature cell."""

    learn: tuple[str, ...] = ("layer3", "layer4")
    """Parameters that learn, by name prefix; "*": all; empty: the backbone stays frozen."""

    norm: Literal["frozen", "learned"] = "frozen"
    """Batch norm: running statistics of the weights, or learned from the batches."""

    cache: bool = False
    """Compute features once, keep them as float16 on disk. Needs learn: [] and resize: squash."""

    def __post_init__(self) -> None:
        _check(self.stride in (4, 8, 16, 32), "backbone.stride", self.stride, "4, 8, 16 or 32")
        _check(
            not (self.cache and (self.learn or self.norm == "learned")),
            "backbone.cache",
            self.cache,
            "false unless the backbone is frozen (backbone.learn: [], backbone.norm: frozen)",
        )


@dataclass(frozen=True)
class Head:
    """Convolution W1, ReLU, convolution W2, ReLU, 1 x 1 classifier V, global average pooling."""

    width: int = 512
    """Channels of W1 and W2."""

    kernel: int = 3
    """Side of W1 and W2, cells."""

    def __post_init__(self) -> None:
        _positive(self, "head", "width")
        _check(self.kernel in (1, 3, 5), "head.kernel", self.kernel, "1, 3 or 5")


@dataclass(frozen=True)
class Fit:
    """Optimisation of one trained stage. The learning rate falls as (1 - step / steps) ** power."""

    epochs: int = 5
    """Passes over the training list."""

    steps: int = 0
    """Optimiser steps; 0: as many as the epochs have."""

    batch: int = 16
    """Photos per step."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser."""

    lr: float = 0.1
    """Initial learning rate."""

    momentum: float = 0.0
    """SGD momentum (AdamW: first moment 0.9, always)."""

    weight_decay: float = 1e-4
    """Weight decay (sgd: L2 term; adamw: decoupled)."""

    power: float = 0.9
    """Exponent of the learning rate's fall."""

    def check(self, prefix: str) -> None:
        """Raise an InputError for a value out of range, naming it under ``prefix``."""
        _positive(self, prefix, "epochs", "batch", "lr")
        _at_least_zero(self, prefix, "steps", "weight_decay", "power")
        _check(0 <= self.momentum < 1, f"{prefix}.momentum", self.momentum, "in [0, 1)")


@dataclass(frozen=True)
class Classify:
    """Stage 1: the multi-label classifier, whose maps are the CAM baseline."""

    fit: Fit = field(default_factory=Fit)
    """Optimisation; its lr is the rate of W1 and W2."""

    backbone_lr: float = 1.0
    """Rate of the backbone's learning parameters, as a multiple of fit.lr."""

    classifier_lr: float = 10.0
    """Rate of V, as a multiple of fit.lr."""

    def __post_init__(self) -> None:
        self.fit.check("classify.fit")
        _positive(self, "classify", "backbone_lr", "classifier_lr")


@dataclass(frozen=True)
class Sampler:
    """Offset branch of a frozen-weight deformable convolution."""

    kernel: int = 3
    """Side of the offset branch's convolution, cells."""

    bound: float = 1.0
    """An offset is bound * tanh(raw / bound), cells; 0: unbounded."""

    centre: bool = True
    """Subtract each image's mean offset, so that the map cannot be shifted as a whole."""

    clamp: bool = True
    """Keep the centre of every sampling window on the map."""

    def check(self, prefix: str) -> None:
        """Raise an InputError for a value out of range, naming it under ``prefix``."""
        _check(self.kernel in (1, 3, 5), f"{prefix}.kernel", self.kernel, "1, 3 or 5")
        _at_least_zero(self, prefix, "bound")


@dataclass(frozen=True)
class Expand:
    """Stage 2: Expansion. A sampler on W1 learns by loss maximisation; its output is clipped."""

    learn: Literal["offsets", "offsets+w1", "w1", "nothing"] = "offsets"
    """offsets: the method. offsets+w1: the control of A.1.3. w1: no deformable layer, the control
    of A.1.1. nothing: no sampler either (the paper's "w/o DT_e"); this stage trains nothing."""

    clip: float = 0.25
    """Feature clipping: each channel is cut at this share of its maximum over the image; 1: off."""

    alpha: float = 0.01
    """Weight of the maximised classification loss (paper A.1.2)."""

    objective: Literal["maximise", "minimise"] = "maximise"
    """Direction; minimise is a control, not the method."""

    sampler: Sampler = field(default_factory=Sampler)
    """Offset branch on W1."""

    fit: Fit = field(default_factory=lambda: Fit(steps=60, lr=1.0, momentum=0.9, weight_decay=0.0))
    """Optimisation of the offset branch."""

    def __post_init__(self) -> None:
        self.fit.check("expand.fit")
        self.sampler.check("expand.sampler")
        _check(0 < self.clip <= 1, "expand.clip", self.clip, "in (0, 1]")
        _positive(self, "expand", "alpha")


@dataclass(frozen=True)
class Shrink:
    """Stage 3: Shrinkage. A sampler on W2 learns by classification plus an area loss."""

    learn: Literal["offsets", "offsets+v", "v", "nothing"] = "offsets"
    """offsets: the method. v: no sampler, the classifier V learns (the paper's "w/o DT_s").
    nothing: no sampler and nothing learns."""

    area: float = 2.0
    """Weight of the area loss; 0: off."""

    sampler: Sampler = field(default_factory=Sampler)
    """Offset branch on W2."""

    fit: Fit = field(
        default_factory=lambda: Fit(steps=80, optimizer="adamw", lr=1e-3, weight_decay=0.0)
    )
    """Optimisation of the offset branch."""

    def __post_init__(self) -> None:
        self.fit.check("shrink.fit")
        self.sampler.check("shrink.sampler")
        _at_least_zero(self, "shrink", "area")


MapKind = Literal["cam", "expansion", "shrinkage"]
MAP_KINDS: tuple[MapKind, ...] = ("cam", "expansion", "shrinkage")


@dataclass(frozen=True)
class Cams:
    """Stage 4: localization maps of the tagged classes, on a stride-4 grid."""

    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    """Input scales whose maps are added."""

    flip: bool = True
    """Add the maps of the mirrored photo."""

    lists: tuple[str, ...] = ()
    """Photo lists to map; empty: data.train and data.evaluate."""

    def __post_init__(self) -> None:
        _check(
            bool(self.scales) and all(0 < s <= 4 for s in self.scales),
            "cams.scales",
            self.scales,
            "one or more numbers in (0, 4]",
        )


@dataclass(frozen=True)
class Seeds:
    """Stage 5: seed masks."""

    kind: MapKind = "shrinkage"
    """Which maps become seeds."""

    threshold: float = 0.15
    """Score above which a pixel takes its best tagged class; the one fixed, common threshold."""

    def __post_init__(self) -> None:
        _check(0 <= self.threshold < 1, "seeds.threshold", self.threshold, "in [0, 1)")


@dataclass(frozen=True)
class Machine:
    """What belongs to this computer; changes no number beyond rounding, enters no identity."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live."""

    precision: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of training, where the device has it."""

    workers: int = 0
    """Processes that load photos; 0: the main one."""

    cache: str = ""
    """Folder of the feature cache, to share it between runs; empty: in the run folder."""

    checkpoint_seconds: float = 30.0
    """Seconds between training checkpoints; 0: at every step."""

    def __post_init__(self) -> None:
        _at_least_zero(self, "machine", "workers", "checkpoint_seconds")


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    seed: int = 0
    """Seed of every random choice."""

    data: Data = field(default_factory=Data)
    """Photos, tags, masks."""

    input: Input = field(default_factory=Input)
    """From photo to network input."""

    backbone: Backbone = field(default_factory=Backbone)
    """Feature extractor."""

    head: Head = field(default_factory=Head)
    """Classifier head."""

    classify: Classify = field(default_factory=Classify)
    """Stage 1."""

    expand: Expand = field(default_factory=Expand)
    """Stage 2."""

    shrink: Shrink = field(default_factory=Shrink)
    """Stage 3."""

    cams: Cams = field(default_factory=Cams)
    """Stage 4."""

    seeds: Seeds = field(default_factory=Seeds)
    """Stage 5."""

    machine: Machine = field(default_factory=Machine)
    """This computer."""

    def __post_init__(self) -> None:
        _check(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")
        _check(
            not (self.backbone.cache and self.input.resize != "squash"),
            "input.resize",
            self.input.resize,
            "squash while backbone.cache is on",
        )

    def group(self, name: str) -> Any:
        """One group as plain values, for identities and manifests."""
        value = getattr(self, name)
        return value if isinstance(value, int) else asdict(value)
