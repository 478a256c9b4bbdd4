"""Stage 3 of the compared methods, ``esol peer``: their networks, where esol has Shrinkage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from esol.data.images import image_size
from esol.data.memory import enough_memory
from esol.data.saliency import load_saliency
from esol.data.sample import Sample
from esol.maps.files import load_maps
from esol.maps.localize import Network, Reader, View, batches_of_one_size
from esol.networks.pretrained import licensed
from esol.networks.weights import save_tensors
from esol.peers.drs import SuppressedClassifier, drs_losses, refine_losses, refinement_targets
from esol.peers.eps import eps_losses
from esol.peers.sccam import SubcategoryClassifier, sccam_losses, subcategories
from esol.runs.work import OpenStage
from esol.settings import Fit
from esol.stages.fitting import (
    PeerNetwork,
    classifier_groups,
    finish,
    given_network,
    new_peer,
    train_once,
    trained_classifier,
    training_inputs,
    training_run,
)
from esol.stages.job import Job
from esol.stages.photo_maps import map_photos
from esol.stages.prototypes import find_prototypes
from esol.system.distributed import all_from_main, all_gather, device_of, my_share
from esol.system.files import make_folder
from esol.system.precision import half
from esol.system.progress import track
from esol.training.features import compute_features
from esol.training.fit import LossFunction, fit
from esol.training.inputs import Inputs


def peer(job: Job, stage: OpenStage) -> None:
    """Train the networks of sccam, drs or eps, or cluster for lpcam; writes KIND.safetensors."""
    methods = {"sccam": _sccam, "drs": _drs, "eps": _eps, "lpcam": find_prototypes}
    methods[job.settings.method](job, stage)
    stage.results |= licensed(job.settings.backbone)


class _Training(NamedTuple):
    """A training of the stage: kind of its network's maps, folder, losses, optimisation."""

    kind: str
    folder: Path
    losses: LossFunction
    optimisation: Fit


def _trained(
    job: Job, stage: OpenStage, training: _Training, inputs: Callable[[PeerNetwork], Inputs]
) -> PeerNetwork:
    """Train from the start, unless that was done before; writes FOLDER/KIND.safetensors."""
    kind, folder, losses, optimisation = training
    torch.manual_seed(job.settings.seed)
    weights = folder / job.run.weights("peer", kind).name
    # Those of an earlier call need no initial ones, which may have to be downloaded.
    loaded = all_from_main(weights.exists)
    network = new_peer(job.settings, job.classes, kind, loaded=loaded)
    network = network.to(device_of(job.settings.machine.device))
    more = [module for name, module in network.named_children() if name in ("sub", "suppressors")]
    label = f"peer: {folder.name if folder != stage.path else kind}"

    def train() -> Mapping[str, float]:
        make_folder(folder)
        groups = classifier_groups(job, network.backbone, network.head, *more)
        key = "drs.fit" if kind == "drs_refined" else "classify.fit"
        run = training_run(job, folder, label, key)
        return fit(network, losses, inputs(network), groups, optimisation, run)

    stage.results |= train_once(network, weights, train)
    return network.eval()


def _tagged(job: Job) -> Callable[[PeerNetwork], Inputs]:
    return lambda network: training_inputs(job, network.backbone)


def _sccam(job: Job, stage: OpenStage) -> None:
    """Rounds of clustering and training; round-N/ holds the outputs of each."""
    settings, samples = job.settings.sccam, job.training_samples()
    tags = torch.zeros(len(samples), job.classes, dtype=torch.bool)
    for row, sample in enumerate(samples):
        tags[row, list(sample.tags)] = True
    classifier = trained_classifier(job)
    network = SubcategoryClassifier(classifier.backbone, classifier.head, 1)
    network.to(device_of(job.settings.machine.device)).eval()
    for number in range(1, settings.rounds + 1):
        folder = stage.path / f"round-{number}"
        labels = _sublabels(job, folder, network, samples, tags)
        rows = {sample.name: labels[i] for i, sample in enumerate(samples)}
        losses = partial(sccam_losses, sublabels=rows, weight=settings.weight)
        training = _Training("sccam", folder, losses, job.settings.classify.fit)
        trained = _trained(job, stage, training, _tagged(job))
        assert isinstance(trained, SubcategoryClassifier)
        network = trained
    finish(network, job.run.weights("peer", "sccam"))


def _sublabels(
    job: Job,
    folder: Path,
    network: SubcategoryClassifier,
    samples: tuple[Sample, ...],
    tags: Tensor,
) -> Tensor:
    """(N, K * clusters) sub-labels of a round, kept in its folder."""
    path = folder / "sublabels.safetensors"
    if not all_from_main(path.exists):
        settings, vectors = job.settings.sccam, _vectors(job, network, samples)

        def write() -> None:
            sublabels = subcategories(
                vectors,
                tags,
                settings.clusters,
                seed=job.settings.seed,
                iterations=settings.iterations,
            )
            save_tensors(path, {"sublabels": sublabels})

        all_from_main(write)
    return load_file(path)["sublabels"]


@torch.no_grad()
def _vectors(job: Job, network: SubcategoryClassifier, samples: tuple[Sample, ...]) -> Tensor:
    """(N, D) vectors of whole photos at scale 1, in the order of ``samples``."""
    settings, cache, precision = job.settings, None, job.settings.machine.precision
    if (key := job.cache_key(of_classifier=False)) is not None:
        cache = compute_features(network.backbone, samples, settings, job.run.path, key)
    batches = my_share(batches_of_one_size(samples, same=settings.input.resize == "squash"))
    vectors: dict[str, Tensor] = {}
    for batch in track(batches, "peer: sub-categories", total=len(batches), unit="batches"):
        reader = Reader(batch, settings.input, cache, precision)
        with enough_memory([photo.sample.image for photo in batch], "input.longest", "input.size"):
            features = reader.features(network.backbone, View(1.0, False))
            with half(features.device, precision):
                found = network.vectors(features).cpu()
        for photo, vector in zip(batch, found, strict=True):
            vectors[photo.sample.name] = vector
    vectors = {name: vector for part in all_gather(vectors) for name, vector in part.items()}
    return torch.stack([vectors[sample.name] for sample in samples])


def _drs(job: Job, stage: OpenStage) -> None:
    """The suppressed classifier, and the network that learns its maps of the training list.

    As a control, the second network learns another method's maps, without a first one.
    """
    kind = job.settings.drs.maps
    samples, folder = job.training_samples(), stage.path / "maps"
    teacher, of_classifier = _teacher(job, stage), kind != "drs"
    map_photos(job, [teacher], samples, folder, [kind], of_classifier=of_classifier)
    planes = _MapPlanes(folder / kind)
    _trained(
        job,
        stage,
        _Training("drs_refined", stage.path, refine_losses, job.settings.drs.fit),
        lambda refined: training_inputs(job, refined.backbone, planes=planes, by_tag=True),
    )


def _teacher(job: Job, stage: OpenStage) -> Network:
    """What makes the maps that the second network learns, in evaluation mode."""
    if job.settings.given_maps:
        return given_network(job, job.settings.given_maps)
    folder = stage.path / "suppressed"
    training = _Training("drs", folder, drs_losses, job.settings.classify.fit)
    network = _trained(job, stage, training, _tagged(job))
    finish(network, job.run.weights("peer", "drs"))
    assert isinstance(network, SuppressedClassifier)
    return network


@dataclass(frozen=True)
class _MapPlanes:
    """What refinement learning learns from; an object, so that loader processes can copy it."""

    folder: Path

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        maps = load_maps(self.folder / f"{sample.name}.npz").maps
        return np.rint(refinement_targets(maps) * 255).astype(np.uint8)


def _eps(job: Job, stage: OpenStage) -> None:
    """One training with saliency."""
    settings = job.settings.eps
    losses = partial(eps_losses, tau=settings.tau, lam=settings.foreground)
    planes = _SaliencyPlanes(job)
    _trained(
        job,
        stage,
        _Training("eps", stage.path, losses, job.settings.classify.fit),
        lambda network: training_inputs(job, network.backbone, planes=planes),
    )


@dataclass(frozen=True)
class _SaliencyPlanes:
    """A photo's saliency map as its only plane; nothing of a photo of background is salient."""

    job: Job

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        if not sample.tags:
            return np.zeros((1, 1, 1), np.uint8)
        saliency = load_saliency(self.job.saliency(sample), image_size(sample.image))
        return np.rint(saliency * 255).astype(np.uint8)[None]
