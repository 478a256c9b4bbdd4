"""From settings to networks, and network weights in files."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from esol.errors import InputError
from esol.models.backbone import Backbone
from esol.models.classifier import Classifier, Head
from esol.models.samplers import Expansion, Localizer, OffsetBranch, Shrinkage
from esol.models.segmenter import Segmenter
from esol.settings import Machine, Sampler, Segment, Settings
from esol.system.distributed import local_rank, processes
from esol.tensors import save_tensors


def device_of(machine: Machine) -> torch.device:
    """The device to compute on.

    Raises:
        InputError: cuda was asked for and there is none, or fewer than processes on this machine.
    """
    if machine.device == "cuda" and not torch.cuda.is_available():
        raise InputError("machine.device = 'cuda': no such device here; use auto or cpu")
    if machine.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if processes() == 1:
        return torch.device("cuda")
    if local_rank() >= torch.cuda.device_count():
        raise InputError(
            f"more processes than GPUs ({torch.cuda.device_count()}) on a machine; start it with"
            f" --nproc-per-node {torch.cuda.device_count()}, or set machine.device to cpu"
        )
    return torch.device("cuda", local_rank())


def new_backbone(settings: Settings) -> Backbone:
    """Backbone as training starts with it."""
    chosen = settings.backbone
    return Backbone(
        chosen.name,
        weights=chosen.weights,
        stride=chosen.stride,
        learn=chosen.learn,
        norm=chosen.norm,
    )


def fixed_backbone(settings: Settings) -> Backbone:
    """Backbone with nothing that learns and random weights, to load trained ones into."""
    chosen = settings.backbone
    return Backbone(chosen.name, weights="none", stride=chosen.stride, learn=(), norm="frozen")


def new_head(settings: Settings, backbone: Backbone, outputs: int) -> Head:
    """Head with random weights."""
    return Head(backbone.channels, settings.head.width, outputs, settings.head.kernel)


def new_segmenter(chosen: Segment, classes: int) -> Segmenter:
    """Segmentation network as stage 8 starts with it."""
    return Segmenter(
        chosen.network,
        chosen.encoder,
        weights=chosen.weights,
        stride=chosen.stride,
        norm=chosen.norm,
        labels=classes + 1,
    )


def new_classifier(settings: Settings, classes: int) -> Classifier:
    """Classifier as stage 1 starts with it: the backbone's weights, a random head."""
    backbone = new_backbone(settings)
    return Classifier(backbone, new_head(settings, backbone, classes))


def frozen_classifier(settings: Settings, classes: int, weights: Path) -> Classifier:
    """Classifier as stage 1 left it, with nothing that learns, its backbone folded."""
    backbone = fixed_backbone(settings)
    classifier = Classifier(backbone, new_head(settings, backbone, classes))
    load_weights(classifier, weights)
    backbone.fold()
    return classifier.requires_grad_(False).eval()


def new_localizer(settings: Settings, classifier: Classifier) -> Localizer:
    """Classifier with Expansion and Shrinkage, both at their start: maps equal to the CAM's but
    for feature clipping.
    """
    head, expand, shrink = classifier.head, settings.expand, settings.shrink
    expansion = Expansion(
        head.w1.weight,
        _branch(head.w1, expand.sampler) if "offsets" in expand.learn else None,
        clip=expand.clip,
        learn_w1="w1" in expand.learn,
    )
    shrinkage = Shrinkage(
        head.w2.weight,
        head.v.weight,
        _branch(head.w2, shrink.sampler) if "offsets" in shrink.learn else None,
        learn_v="v" in shrink.learn.split("+"),
    )
    return Localizer(classifier, expansion, shrinkage)


def _branch(convolution: nn.Conv2d, settings: Sampler) -> OffsetBranch:
    return OffsetBranch(
        convolution.in_channels,
        convolution.kernel_size[0] * convolution.kernel_size[1],
        kernel=settings.kernel,
        bound=settings.bound,
        centre=settings.centre,
        clamp=settings.clamp,
    )


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers as safetensors, atomically."""
    save_tensors(path, module.state_dict())


def load_weights(module: nn.Module, path: Path) -> None:
    """Load what ``save_weights`` wrote.

    Raises:
        InputError: the file is missing, damaged or of another network.
    """
    try:
        state: dict[str, Tensor] = load_file(path)
        module.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be loaded ({reason}); run its stage again") from error
