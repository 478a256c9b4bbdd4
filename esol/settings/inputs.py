"""Settings of what goes in (photos, backbone), of any training, and of the machine."""

from dataclasses import dataclass
from typing import Annotated, Literal

from esol.settings.checks import (
    BELOW_1,
    COLUMNS,
    DEVIATION,
    MEAN,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SIDE,
    SIDES,
    WITHOUT_REPEATS,
    at_most,
    named,
    one_of,
)
from esol.system.precision import Asked


@dataclass(frozen=True)
class Data:
    """Which photos, tags and masks are used."""

    kind: Literal["auto", "folder", "voc", "coco"] = "auto"
    """Layout of the data folder; auto recognises it."""

    train: Annotated[str, named("the name of a list")] = "train"
    """Photos to learn from (VOC: a list of ImageSets/Segmentation; COCO: train2017, ...)."""

    evaluate: tuple[str, ...] = ("train",)
    """Lists whose masks, where there are any, measure the seeds."""

    classes: Annotated[tuple[str, ...], WITHOUT_REPEATS] = ()
    """Classes to use, in this order; empty: all. Pixels of a class left out are ignored (255)."""

    masks: str = ""
    """Folder of masks inside the data folder; empty: the layout's own (VOC: SegmentationClassAug
    if present, else SegmentationClass)."""

    labels: str = ""
    """Tags file inside the data folder; empty: the layout's own."""

    columns: Annotated[tuple[str, ...], COLUMNS] = ()
    """Columns of a table of tags or of Parquet files, for those that their names do not show:
    [image=NAME, label=NAME] (one tag in a cell) or labels=NAME (several), and split=NAME."""

    difficult: bool = True
    """VOC XML only: an object marked difficult counts as a tag."""

    untagged: Literal["auto", "negative", "skip", "refuse"] = "auto"
    """Photos without a tag. negative: photos of background, which show none of the classes. skip:
    left out. refuse: an error. auto: negative, but skip where a file may hold photos that nobody
    has tagged yet (docs/data.md)."""

    untagged_masks: bool = False
    """In a data set with masks: a negative photo that has none is measured as all background."""

    limit: Annotated[int, NOT_NEGATIVE] = 0
    """Use at most this many photos of each list, evenly spaced by name; 0: all."""


@dataclass(frozen=True)
class Input:
    """How a photo becomes a network input. Defaults: IRN's recipe for the paper's baseline."""

    size: Annotated[int, SIDE] = 512
    """Side of a training input, pixels."""

    resize: Literal["crop", "squash"] = "crop"
    """crop: random rescale, then a random crop, zero padded. squash: the whole photo at size x size
    (also at inference, where a scale s means a side of s x size)."""

    longest: Annotated[tuple[int, int], SIDES] = (320, 640)
    """crop only: range from which the photo's longest side is drawn, pixels.
    Maps and IRNet then see photos above it at its middle, others at their own size."""

    flip: bool = True
    """Mirror left to right with probability 1/2 in training."""

    @property
    def one_side(self) -> int:
        """Side of all inputs, pixels; 0 if photos keep their proportions."""
        return self.size if self.resize == "squash" else 0

    def shown(self, side: int) -> int:
        """Longest side, pixels, at which the trained network is shown a photo of the longest side
        ``side``: above the range it learned from, objects are larger than any that it has seen.
        """
        low, high = self.longest
        return (low + high) // 2 if self.resize == "crop" and side > high else side


STRIDES = (4, 8, 14, 16, 32, 64)
"""Pixels per feature cell that networks have."""


@dataclass(frozen=True)
class BackboneSettings:
    """The feature extractor, any network of timm that gives feature maps."""

    name: str = "resnet50"
    """timm's name of the network, with or without a weights tag (resnet50.tv_in1k); hf-hub:NAME and
    local-dir:FOLDER as in timm."""

    weights: str = "imagenet"
    """imagenet (timm downloads), none (random), or the path of a file: .safetensors,
    or PyTorch's (.pth, .pt, .bin), of which tensors alone are read."""

    stride: Annotated[int | Literal["auto"], one_of("auto", *STRIDES)] = 16
    """Input pixels per feature cell. auto: 16 where it can be had, otherwise the network's own (14
    for patches of 14 pixels)."""

    learn: tuple[str, ...] = ("layer3", "layer4")
    """Parameters that learn, by name prefix; "*": all; empty: the backbone stays frozen."""

    mean: Annotated[tuple[float, ...] | Literal["auto"], MEAN] = "auto"
    """Photos are normalised by this mean, values 0 .. 1. auto: what the named network's pre-trained
    weights were learned with (timm's configuration); random ones: ImageNet's."""

    std: Annotated[tuple[float, ...] | Literal["auto"], DEVIATION] = "auto"
    """And by this standard deviation."""

    norm: Literal["frozen", "learned"] = "frozen"
    """Batch norm: running statistics of the weights, or learned from the batches. Networks with
    layer norms alone (transformers) have none: it changes nothing."""

    final_norm: bool | Literal["auto"] = "auto"
    """Transformers: whether the norm after the last block is applied to the features. auto: where
    the network has one that acts on every token."""

    power: Annotated[float, SHARE] = 1.0
    """Features are raised to this power, their signs kept. Below 1 it evens out features that are
    0 nearly everywhere, whose maps show spots of the object only (docs/backbones.md)."""

    cache: bool = False
    """Compute features once, keep them as float16 on disk: of a frozen backbone for every stage, of
    one that learns for expand, shrink and the plain classifier's maps. Needs resize: squash."""

    @property
    def frozen(self) -> bool:
        """Whether nothing of it learns, not even its statistics."""
        return not self.learn and self.norm == "frozen"


MOST_LR = 1e6
"""Above any learning rate that trains, and far from what a float32 cannot hold."""


@dataclass(frozen=True)
class Fit:
    """Optimisation of one trained stage. The learning rate falls as (1 - step / steps) ** power."""

    epochs: Annotated[int, POSITIVE] = 5
    """Passes over the training list."""

    steps: Annotated[int, NOT_NEGATIVE] = 0
    """Optimiser steps; 0: as many as the epochs have."""

    batch: Annotated[int, POSITIVE] = 16
    """Photos per step, of all processes together."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimiser."""

    lr: Annotated[float, POSITIVE, at_most(MOST_LR)] = 0.1
    """Initial learning rate."""

    momentum: Annotated[float, BELOW_1] = 0.0
    """SGD momentum (AdamW: first moment 0.9, always)."""

    weight_decay: Annotated[float, NOT_NEGATIVE] = 1e-4
    """Weight decay (sgd: L2 term; adamw: decoupled)."""

    power: Annotated[float, NOT_NEGATIVE] = 0.9
    """Exponent of the learning rate's fall."""


@dataclass(frozen=True)
class Machine:
    """What belongs to this computer. Only precision changes numbers, and enters identities."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where tensors live."""

    precision: Asked = "auto"
    """What networks compute in. no: float32. bf16: bfloat16, where that is safe. fp16: in training
    alone, on GPUs alone. auto: bf16 on a processor that computes it natively, else no; a run goes
    on as it was begun (docs/speed.md)."""

    workers: Annotated[int, NOT_NEGATIVE] = 0
    """Processes that load photos; 0: the main one."""

    cache: str = ""
    """Folder of the feature cache, to share it between runs; empty: in the run folder."""

    checkpoint_seconds: Annotated[float, NOT_NEGATIVE] = 30.0
    """Seconds between training checkpoints; 0: at every step."""

    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Where training curves go besides metrics.jsonl; wandb stays offline unless the environment
    variable WANDB_MODE says otherwise. Needs the extra track."""
