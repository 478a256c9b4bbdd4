"""The networks of a run, built before any work: what they are, and whether they can be."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn

from esol.errors import InputError, is_shortage, one_line
from esol.method.classifier import Classifier
from esol.networks.affinity import AffinityNet
from esol.networks.backbone import Backbone
from esol.networks.initial import weights_digest
from esol.networks.segmenter import Segmenter
from esol.networks.similarity import CellSimilarity
from esol.runs.stages import STAGES
from esol.settings import HEAD, Settings
from esol.stages.fitting import new_peer
from esol.system.progress import log


def networks(
    settings: Settings, classes: int, is_wanted: Callable[[str, str], bool]
) -> Iterator[nn.Module]:
    """The networks that stages train, as they start.

    Args:
        settings: all settings.
        classes: their number, K.
        is_wanted: whether a network is: of a stage's name, and of a kind of maps ("" where the
            stage trains one network).

    Raises:
        InputError: one cannot be built, or its initial weights cannot be had.
    """
    segment = settings.segmenter
    learns = [stage for stage in settings.learns if STAGES[stage].fits(settings)]
    wanted = {stage for stage in (*learns, "refine", "segment") if is_wanted(stage, "")}
    kinds = settings.map_kinds if "peer" in learns else ()
    peers = [kind for kind in kinds if is_wanted("peer", kind)]
    # Files first: a download that fails takes time.
    if wanted & set(learns) or peers:
        weights_digest(settings.backbone.weights)
    if "segment" in wanted:
        weights_digest(segment.weights, "segment.weights")
    if "classify" in wanted:
        classifier = Classifier.start(settings, classes)
        _check_scales(settings, classifier.backbone)
        if "shrink" in settings.learns and classifier.backbone.makes_tokens:
            log.warning(
                "method = %s: Expansion and Shrinkage made maps worse on the only transformer that"
                " was tried, and %s is one; set method: cam, and what else the configuration"
                " tags-folder-vit has (docs/backbones.md)",
                *(settings.method, classifier.backbone.name),
            )
        yield classifier
    for kind in peers:
        peer = new_peer(settings, classes, kind)
        _check_scales(settings, peer.backbone)
        yield peer
    if "refine" in wanted and "irn" in settings.refine.methods:
        backbone = Backbone.fixed(settings.backbone, settings.input.one_side)
        yield AffinityNet(backbone, displacement=False)
    if "segment" in wanted and segment.network != "none":
        is_head, side = segment.network == HEAD, settings.input.one_side
        under = Backbone.fixed(settings.backbone, side) if is_head else None
        segmenter = Segmenter(segment, classes + 1, under)
        if segment.stride not in ("auto", segmenter.actual_stride):
            log.warning(
                "segment.stride = %s has no effect: %s with %s has stride %d; set it to auto",
                *(segment.stride, segment.network, segment.encoder, segmenter.actual_stride),
            )
        yield segmenter


def _check_scales(settings: Settings, backbone: Backbone) -> None:
    """A network for photos of one size makes maps, and a head on it masks, at one scale."""
    groups = {"cams": settings.cams.scales}
    if settings.segment.network == HEAD:
        groups["segment"] = settings.segment.scales
    for group, scales in groups.items():
        if backbone.side and set(scales) != {1}:
            raise InputError(
                f"{group}.scales = {list(scales)}: {backbone.name} takes photos of one size only;"
                f" set {group}.scales: [1.0], or take another network"
            )


def check_similarity(settings: Settings) -> None:
    """Refuse similarities of cells that the backbone does not give.

    Raises:
        InputError: it has no such attention, or not so many levels.
    """
    similarity = settings.refine.similarity
    any_has = similarity.source != "attention" and similarity.levels <= 1
    if "affinity" in settings.refine.methods and not any_has:
        backbone = Backbone.fixed(settings.backbone, settings.input.one_side)
        CellSimilarity(backbone, similarity)


def try_networks(settings: Settings, classes: int) -> str:
    """Build the networks of a run, without a download, and show them an input of training's size.

    Args:
        settings: all settings.
        classes: their number, K.

    Returns:
        What they are, in one line.

    Raises:
        InputError: one cannot be built, or does not take such an input.
    """
    backbone, segment = settings.backbone, settings.segmenter
    offline = replace(
        settings,
        backbone=replace(backbone, weights=_at_hand(backbone.weights)),
        segment=replace(settings.segment, weights=_at_hand(segment.weights)),
    )
    check_similarity(settings)
    told = {}
    for network in networks(offline, classes, lambda *of: True):
        if isinstance(network, Segmenter):
            side = segment.input.size
            _shown(network, side, f"{settings.key_of_segment_input}.size", segment.encoder)
            what = f"{segment.network} of {segment.encoder}, stride {network.actual_stride}"
            told["segmentation"] = f"{what}, {side} x {side} pixels, {_weights(segment.weights)}"
        elif not isinstance(network, AffinityNet):
            side = settings.input.size
            assert isinstance(network.backbone, Backbone)
            height, width = _shown(network.backbone, side, "input.size", backbone.name)[-2:]
            what = f"{backbone.name}, stride {network.backbone.stride}, {side} x {side} pixels"
            cells = f"{height} x {width} cells"
            told["maps"] = f"{what} ({cells}), {_weights(backbone.weights)}"
    return "; ".join(f"{name}: {what}" for name, what in told.items())


@torch.no_grad()
def _shown(network: nn.Module, side: int, key: str, name: str) -> torch.Size:
    """Shape of what a network makes of a blank square."""
    try:
        shape: torch.Size = network.eval()(torch.zeros(1, 3, side, side)).shape
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        if is_shortage(error):
            raise
        reason = one_line(error, lines=1, length=200)
        raise InputError(
            f"{key} = {side}: {name} does not take inputs of this size ({reason}); set another"
        ) from error
    return shape


def _at_hand(weights: str) -> str:
    """Weights without a download."""
    return "none" if weights == "imagenet" else weights


def _weights(weights: str) -> str:
    return {
        "none": "random weights",
        "imagenet": "weights imagenet (not tried: the first run downloads them)",
    }.get(weights, f"weights {weights}")
