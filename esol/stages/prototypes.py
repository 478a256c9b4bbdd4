"""LPCAM's part of the stage peer: prototypes of each class from photos of the training list."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from esol.data.memory import enough_memory
from esol.data.sample import Sample
from esol.maps.files import load_maps
from esol.maps.localize import Reader, View, batches_of_one_size
from esol.networks.backbone import Backbone
from esol.networks.weights import load_tensors, save_tensors
from esol.peers.lpcam import Prototypes, centres, chosen, load_prototypes, save_prototypes
from esol.runs.work import OpenStage
from esol.stages.fitting import given_network, trained_classifier
from esol.stages.job import Job
from esol.stages.photo_maps import feature_cache, lighter, map_photos
from esol.system.distributed import all_from_main, all_wait, my_share
from esol.system.files import make_folder, remove_folder
from esol.system.progress import log, track
from esol.training.features import FeatureCache

_PLACES = 256
"""Places of the class, and of its context, that a photo gives at most. They bound the memory, as
lpcam.photos does: 200 MB each for 100 photos and 2,048 channels."""


class Places(NamedTuple):
    """Features at places of a class, (n, C), and of its context, (m, C)."""

    own: Tensor
    context: Tensor


def find_prototypes(job: Job, stage: OpenStage) -> None:
    """Cluster the photos of each class; writes lpcam.safetensors."""
    path, parts = job.run.weights("peer", "lpcam"), stage.path / "parts"
    if not all_from_main(path.exists):
        make_folder(parts)
        _write_parts(job, stage.path / "maps", parts)
        all_from_main(lambda: _join(job, parts, path))
    all_from_main(lambda: remove_folder(parts) if parts.exists() else None)
    prototypes = load_prototypes(path, job.classes)
    stage.results |= {
        "prototypes": sum(len(each.own) for each in prototypes),
        "context prototypes": sum(len(each.context) for each in prototypes),
    }


_PART = ("own", "context", "clusters")
"""Tensors in the file of a class: its prototypes, and of how many clusters they are, (2,)."""


def _part(folder: Path, k: int) -> Path:
    return folder / f"{k}.safetensors"


def _write_parts(job: Job, maps: Path, parts: Path) -> None:
    """A file for each class, of those that are not there yet; several processes share them."""
    kind, drawn = job.settings.lpcam.maps, [_drawn(job, k) for k in range(job.classes)]
    names = {photo.name for photos in drawn for photo in photos}
    photos = tuple(sample for sample in job.training_samples() if sample.name in names)
    map_photos(job, [given_network(job, kind)], photos, maps, [kind], of_classifier=True)
    classifier = trained_classifier(job)
    cache = feature_cache(job, classifier.backbone, photos, of_classifier=True)
    head = copy.deepcopy(classifier.head).cpu()
    settings, seed = job.settings.lpcam, job.settings.seed
    classes = [k for k in my_share(range(job.classes)) if not _part(parts, k).exists()]
    for k in track(classes, "peer: prototypes", total=len(classes), unit="classes"):
        places = _places(job, classifier.backbone, drawn[k], maps / kind, k, cache)
        of_class, of_context = (centres(x, settings.clusters, seed=seed) for x in places)
        bounds = settings.foreground, settings.background
        own, context = chosen(of_class, of_context, head, k, *bounds)
        counts = torch.tensor([len(of_class), len(of_context)])
        save_tensors(_part(parts, k), dict(zip(_PART, (own, context, counts), strict=True)))
    all_wait()


def _join(job: Job, parts: Path, path: Path) -> None:
    """Write one file of all classes' prototypes."""
    found = [load_tensors(_part(parts, k), *_PART) for k in range(job.classes)]
    _warn(job, found)
    save_prototypes(path, [Prototypes(own, context) for own, context, _ in found])


def _drawn(job: Job, k: int) -> tuple[Sample, ...]:
    """Photos of a class that are clustered."""
    photos = [sample for sample in job.training_samples() if k in sample.tags]
    generator = np.random.default_rng((job.settings.seed, k))
    rows = generator.permutation(len(photos))[: job.settings.lpcam.photos]
    return tuple(photos[row] for row in sorted(rows))


@torch.no_grad()
def _places(
    job: Job,
    backbone: Backbone,
    photos: tuple[Sample, ...],
    maps: Path,
    k: int,
    cache: FeatureCache | None,
) -> Places:
    """Features of a class's photos at scale 1, by what the maps in a folder say of the class."""
    inputs, precision = job.settings.input, job.settings.machine.precision
    generator = np.random.default_rng((job.settings.seed, k))
    own, context = [torch.empty(0, backbone.channels)], []
    for batch in batches_of_one_size(photos, same=inputs.resize == "squash"):
        reader = Reader(batch, inputs, cache, precision)
        with enough_memory([photo.sample.image for photo in batch], lighter(job.settings)):
            features = reader.features(backbone, View(1.0, False)).cpu()
        for photo, cells in zip(batch, features, strict=True):
            scores = _scores(maps / f"{photo.sample.name}.npz", k, cells.shape[1:])
            vectors, threshold = cells.flatten(1).T, job.settings.lpcam.threshold
            own.append(_some(vectors[scores > threshold], generator))
            context.append(_some(vectors[scores < threshold], generator))
    return Places(torch.cat(own), torch.cat([own[0], *context]))


def _scores(path: Path, k: int, grid: torch.Size) -> Tensor:
    """(h * w) scores of a tagged class at the centres of cells."""
    stored = load_maps(path)
    row = int(np.searchsorted(stored.classes, k))
    maps = torch.from_numpy(stored.maps[None, row : row + 1])
    return F.interpolate(maps, grid, mode="nearest-exact").flatten()


def _some(vectors: Tensor, generator: np.random.Generator) -> Tensor:
    """At most as many vectors as a photo may give, drawn evenly."""
    if len(vectors) <= _PLACES:
        return vectors
    rows = np.sort(generator.choice(len(vectors), _PLACES, replace=False))
    return vectors[torch.from_numpy(rows)]


def _warn(job: Job, parts: Sequence[tuple[Tensor, ...]]) -> None:
    """Say which classes have fewer prototypes than usual, and what that does."""
    settings, named = job.settings.lpcam, list(zip(job.data.classes, parts, strict=True))
    if few := [
        f"{name} {counts.min()}" for name, (*_, counts) in named if counts.min() < settings.clusters
    ]:
        log.info(
            "lpcam.clusters = %d: fewer places than that: %s", settings.clusters, ", ".join(few)
        )
    if alone := [name for name, (own, context, _) in named if len(own) and not len(context)]:
        log.info("no cluster of the context is in lpcam.background: %s", ", ".join(alone))
    if empty := [name for name, (own, *_) in named if not len(own)]:
        log.warning(
            "method lpcam: no photo of %s has a place above lpcam.threshold = %g: their maps are"
            " empty; give more photos, or lower it",
            *(", ".join(empty), settings.threshold),
        )
