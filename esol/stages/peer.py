"""Stage 2 of the compared methods: what they train besides, or instead of, the classifier."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from esol.data.images import image_size
from esol.data.saliency import load_saliency
from esol.data.sample import Sample
from esol.maps.files import load_maps
from esol.maps.localize import Network, Reader, View, batches_of_one_size
from esol.method.localizer import new_head
from esol.networks.build import device_of, fixed_backbone, new_backbone
from esol.networks.weights import load_weights, save_tensors
from esol.peers.drs import (
    RefinedClassifier,
    SuppressedClassifier,
    drs_losses,
    refine_losses,
    refinement_targets,
)
from esol.peers.eps import SaliencyClassifier, eps_losses
from esol.peers.sccam import SubcategoryClassifier, sccam_losses, subcategories
from esol.runs.folder import Stage, stage_path
from esol.settings import Fit
from esol.stages.fitting import classifier_groups, finish, tagged_inputs
from esol.stages.job import Job, learned
from esol.stages.photo_maps import map_photos
from esol.stages.trained import localizer, plain_classifier
from esol.system.distributed import from_main, gather, share
from esol.system.files import make_folder
from esol.system.progress import track
from esol.training.features import compute_features
from esol.training.fit import LossFunction, fit, forget_checkpoints
from esol.training.inputs import Inputs

WEIGHTS = "{}.safetensors"
"""File of the weights of a network, by the kind of its maps."""


def peer(job: Job) -> None:
    """Stage 2 of sccam, drs, eps; writes KIND.safetensors."""
    settings = job.settings
    method = settings.method
    groups = ("seed", "method", "input", "backbone", "head", "classify", method)
    after = settings.learns[:-1]
    lists = (settings.data.train,)
    reads: dict[str, Any] = {}
    if method == "drs":
        reads["cams"] = settings.group("cams")
        if "shrink" in after:
            reads |= {group: settings.group(group) for group in ("expand", "shrink")}
    if method == "eps":
        reads["saliency files"] = job.digest_saliency(*lists)
    with job.enter("peer", *groups, after=after, lists=lists, reads=reads) as stage:
        if stage is not None:
            {"sccam": _sccam, "drs": _drs, "eps": _eps}[method](job, stage)


def peer_networks(job: Job) -> tuple[Network, ...]:
    """The networks that make the method's maps, in evaluation mode."""
    found = []
    for kind in job.settings.map_kinds:
        network = new_peer(job, kind, trained=True)
        load_weights(network, stage_path(job.run, "peer") / WEIGHTS.format(kind))
        network.requires_grad_(False).eval()
        network.backbone.fold()
        found.append(network.to(device_of(job.settings.machine)))
    return tuple(found)


PeerNetwork = SubcategoryClassifier | SuppressedClassifier | RefinedClassifier | SaliencyClassifier


def new_peer(job: Job, kind: str, *, trained: bool = False) -> PeerNetwork:
    """The network that makes maps of one kind, as it starts or to load its weights into."""
    settings, classes = job.settings, job.classes
    backbone = fixed_backbone(settings) if trained else new_backbone(settings)
    head = new_head(settings, backbone, classes + (kind == "eps"))
    if kind == "sccam":
        return SubcategoryClassifier(backbone, head, classes * settings.sccam.clusters)
    if kind == "drs":
        chosen = settings.drs
        return SuppressedClassifier(
            backbone, head, delta=chosen.delta, everywhere=chosen.everywhere
        )
    if kind == "drs_refined":
        return RefinedClassifier(backbone, head)
    return SaliencyClassifier(backbone, head)


def _trained(
    job: Job,
    stage: Stage,
    kind: str,
    losses: LossFunction,
    inputs: Callable[[PeerNetwork], Inputs],
    settings: Fit,
    folder: Path,
) -> PeerNetwork:
    """Train from the start, unless that was done before; writes FOLDER/KIND.safetensors."""
    path = folder / WEIGHTS.format(kind)
    torch.manual_seed(job.settings.seed)
    network = new_peer(job, kind).to(device_of(job.settings.machine))
    if from_main(path.exists):
        load_weights(network, path)
        forget_checkpoints(folder)
        stage.results |= learned(folder)
        return network.eval()
    make_folder(folder)
    more = [module for name, module in network.named_children() if name in ("sub", "suppressors")]
    stage.results |= fit(
        network,
        losses,
        inputs(network),
        classifier_groups(job, network.backbone, network.head, *more),
        fit=settings,
        machine=job.settings.machine,
        folder=folder,
        seed=job.settings.seed,
        label=f"peer: {folder.name if folder != stage.path else kind}",
    )
    finish(network, path)
    return network


def _tagged(job: Job) -> Callable[[PeerNetwork], Inputs]:
    return lambda network: tagged_inputs(job, network.backbone)


def _sccam(job: Job, stage: Stage) -> None:
    """Rounds of clustering and training; round-N/ holds what each of them made."""
    chosen = job.settings.sccam
    samples = job.data.samples(job.settings.data.train)
    tags = torch.zeros(len(samples), job.classes, dtype=torch.bool)
    for row, sample in enumerate(samples):
        tags[row, list(sample.tags)] = True
    plain = plain_classifier(job)
    network = SubcategoryClassifier(plain.backbone, plain.head, 1)
    network.to(device_of(job.settings.machine)).eval()
    for number in range(1, chosen.rounds + 1):
        folder = stage.path / f"round-{number}"
        labels = _sublabels(job, folder, network, samples, tags)
        rows = {sample.name: labels[i] for i, sample in enumerate(samples)}
        losses = partial(sccam_losses, sublabels=rows, weight=chosen.weight)
        fit_ = job.settings.classify.fit
        trained = _trained(job, stage, "sccam", losses, _tagged(job), fit_, folder)
        assert isinstance(trained, SubcategoryClassifier)
        network = trained
    finish(network, stage.path / WEIGHTS.format("sccam"))


def _sublabels(
    job: Job,
    folder: Path,
    network: SubcategoryClassifier,
    samples: tuple[Sample, ...],
    tags: Tensor,
) -> Tensor:
    """(N, K * clusters) sub-labels of a round, kept in its folder."""
    path = folder / "sublabels.safetensors"
    if not from_main(path.exists):
        chosen, vectors = job.settings.sccam, _vectors(job, network, samples)

        def write() -> None:
            found = subcategories(
                vectors,
                tags,
                chosen.clusters,
                seed=job.settings.seed,
                iterations=chosen.iterations,
            )
            save_tensors(path, {"sublabels": found})

        from_main(write)
    return load_file(path)["sublabels"]


@torch.no_grad()
def _vectors(job: Job, network: SubcategoryClassifier, samples: tuple[Sample, ...]) -> Tensor:
    """(N, D) vectors of whole photos at scale 1, in the order of ``samples``."""
    settings, cache = job.settings, None
    if (key := job.cache_key(plain=False)) is not None:
        cache = compute_features(network.backbone, samples, settings, job.run, key)
    batches = share(batches_of_one_size(samples, same=settings.input.resize == "squash"))
    found: dict[str, Tensor] = {}
    for batch in track(batches, "peer: sub-categories", total=len(batches), unit="batches"):
        features = Reader(batch, settings.input, cache).features(network.backbone, View(1.0, False))
        for photo, vector in zip(batch, network.vectors(features).cpu(), strict=True):
            found[photo.sample.name] = vector
    found = {name: vector for part in gather(found) for name, vector in part.items()}
    return torch.stack([found[sample.name] for sample in samples])


def _drs(job: Job, stage: Stage) -> None:
    """The suppressed classifier, and the network that learns its maps of the training list.

    As a control, the second network learns another method's maps, and there is no first one.
    """
    kind = job.settings.drs.maps
    samples = job.data.samples(job.settings.data.train)
    teacher, plain = _teacher(job, stage), kind != "drs"
    map_photos(job, [teacher], samples, stage.path / "maps", [kind], plain=plain)
    planes = _MapPlanes(stage.path / "maps" / kind)
    _trained(
        job,
        stage,
        "drs_refined",
        refine_losses,
        lambda refined: tagged_inputs(job, refined.backbone, planes, by_tag=True),
        job.settings.drs.fit,
        stage.path,
    )


def _teacher(job: Job, stage: Stage) -> Network:
    """What makes the maps that the second network learns, in evaluation mode."""
    if job.settings.drs.maps == "cam":
        return plain_classifier(job)
    if job.settings.drs.maps == "shrinkage":
        return localizer(job, "expand", "shrink").eval()
    folder, fit_ = stage.path / "suppressed", job.settings.classify.fit
    network = _trained(job, stage, "drs", drs_losses, _tagged(job), fit_, folder)
    finish(network, stage.path / WEIGHTS.format("drs"))
    assert isinstance(network, SuppressedClassifier)
    return network


@dataclass(frozen=True)
class _MapPlanes:
    """What refinement learning learns from; an object, so that loader processes can copy it."""

    folder: Path

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        maps = load_maps(self.folder / f"{sample.name}.npz").maps
        return np.rint(refinement_targets(maps) * 255).astype(np.uint8)


def _eps(job: Job, stage: Stage) -> None:
    """One training with saliency."""
    chosen = job.settings.eps
    losses = partial(eps_losses, tau=chosen.tau, lam=chosen.foreground)
    planes = _SaliencyPlanes(job)
    _trained(
        job,
        stage,
        "eps",
        losses,
        lambda network: tagged_inputs(job, network.backbone, planes),
        job.settings.classify.fit,
        stage.path,
    )


@dataclass(frozen=True)
class _SaliencyPlanes:
    """A photo's saliency map as its only plane."""

    job: Job

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        saliency = load_saliency(self.job.saliency(sample), image_size(sample.image))
        return np.rint(saliency * 255).astype(np.uint8)[None]
