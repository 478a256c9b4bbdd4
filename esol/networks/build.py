"""From settings to networks, and network weights in files."""

import torch

from esol.errors import InputError
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter
from esol.settings import Machine, Segment, Settings
from esol.system.distributed import local_rank, processes


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
