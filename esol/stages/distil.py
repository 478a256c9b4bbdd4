"""Part of stage 6: maps corrected by a head that has learned the masks of all photos."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esol.data.memory import enough_memory
from esol.data.sample import Sample
from esol.errors import InputError
from esol.maps.files import Maps, grid, load_maps, save_maps
from esol.maps.localize import Reader, SizedSample, View
from esol.masks.seeds import photo_seed
from esol.masks.threshold import NoScoresError, choose_threshold, threshold_of_share
from esol.networks.segmenter import Segmenter, segment_losses
from esol.ops.grids import resize
from esol.runs.work import OpenStage
from esol.settings import HEAD
from esol.settings.checks import percent
from esol.stages.fitting import train_once, trained_backbone, training_inputs, training_run
from esol.stages.job import Job
from esol.stages.masks import estimated_background
from esol.stages.photo_maps import feature_cache, lighter
from esol.stages.reads import of_classifier
from esol.stages.segment import weights_of_labels
from esol.system.distributed import all_from_main, device_of, my_share
from esol.system.files import make_folder
from esol.system.precision import half, single
from esol.system.progress import log, track
from esol.training.fit import fit

NETWORK = "network"
"""Folder of the head's training, in the stage's."""


@dataclass(frozen=True)
class CutMaps:
    """A photo's mask, from its maps; an object, so that loader processes can copy it."""

    folder: Path
    threshold: float

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W) labels."""
        return photo_seed(load_maps(self.folder / f"{sample.name}.npz"), self.threshold)


def distil(job: Job, stage: OpenStage, samples: Sequence[Sample]) -> None:
    """Train a head on masks of the training list; writes network/head.safetensors and
    distil/NAME.npz, the geometric means of the maps that it learned and those that it makes.
    """
    settings, kind = job.settings, job.settings.distilled_kind
    backbone = trained_backbone(job, fold=False)
    torch.manual_seed(settings.seed)
    head = Segmenter(replace(settings.segment, network=HEAD), job.classes + 1, backbone)
    head = head.to(device_of(settings.machine.device))
    folder = stage.path / NETWORK
    train = partial(_trained, job, head, folder, job.run.maps(kind))
    stage.results["distil"] = train_once(head.body.layers, folder / "head.safetensors", train)
    head.eval()
    tagged = tuple(sample for sample in samples if sample.tags)
    cache = feature_cache(job, backbone, tagged, of_classifier=of_classifier(job))
    mine = my_share(samples)
    for sample in track(mine, "refine: distil", total=len(mine), unit="photos"):
        path = stage.path / "distil" / f"{sample.name}.npz"
        if not path.exists():
            maps = load_maps(job.run.maps(kind) / f"{sample.name}.npz")
            with enough_memory([sample.image], lighter(settings)):
                photo = [SizedSample(sample, maps.size)]
                reader = Reader(photo, settings.input, cache, settings.machine.precision)
                found = head_maps(head, reader, maps, flip=settings.cams.flip)
            # What the photo's own maps and the head, which has seen all photos, agree on: each by
            # itself is worse (docs/LOG.md).
            save_maps(path, np.sqrt(found * maps.maps), maps.classes, maps.size)


def _trained(job: Job, head: Segmenter, folder: Path, maps: Path) -> dict[str, float]:
    photos = job.training_samples()
    masks = CutMaps(maps, all_from_main(lambda: _threshold(job, maps)))
    log.info("refine: distil: a head learns masks of %s, cut at %.2f", maps.name, masks.threshold)
    weights = all_from_main(lambda: weights_of_labels(job, photos, masks))
    make_folder(folder)
    return fit(
        head,
        partial(segment_losses, weights=weights),
        training_inputs(job, head.body.encoder, masks, of_classifier=of_classifier(job)),
        [(head.head_parameters(), 1.0)],
        job.settings.refine.distil.fit,
        training_run(job, folder, "refine: distil", "refine.distil"),
    )


def _threshold(job: Job, folder: Path) -> float:
    """Where the maps that are learned are cut."""
    photos = job.training_samples()
    maps = (load_maps(folder / f"{photo.name}.npz") for photo in photos)
    try:
        if share := percent(str(job.settings.masks.threshold)):
            return threshold_of_share(maps, share)
        # A score given for the finished maps says nothing of these.
        return choose_threshold(maps, estimated_background(job, photos, "refine: background"))
    except NoScoresError as error:
        raise InputError(
            f"refine.methods: distil has nothing to learn from: the maps of {folder.name} are"
            " empty; train longer (classify.fit), or leave distil out of refine.methods and"
            " masks.source"
        ) from error


@torch.no_grad()
def head_maps(head: Segmenter, reader: Reader, maps: Maps, *, flip: bool) -> NDArray[np.float32]:
    """How much likelier than the background each tagged class is.

    Args:
        head: a network on a backbone, in evaluation mode.
        reader: of one photo.
        maps: of the same, for their classes and size.
        flip: also look at the mirrored photo; probabilities are averaged.

    Returns:
        (K', ceil(H / 4), ceil(W / 4)) in 0 .. 1: a class's probability over the sum of its own and
        the background's. Above 0.5 the class wins.
    """
    if not len(maps.classes):
        return maps.maps
    body: Any = head.body

    def probabilities(view: View) -> Tensor:
        features = reader.features(body.encoder, view)
        with half(features.device, reader.precision):
            logits = body.logits(features)
        of_view = single(logits).softmax(1)
        return of_view.flip(3) if view.mirrored else of_view

    views = [View(1.0, mirrored=mirrored) for mirrored in (False, True)[: 1 + flip]]
    mean = torch.stack([probabilities(view) for view in views]).mean(0)
    found = resize(mean, grid(maps.size))[0].cpu()
    own = found[torch.from_numpy(maps.classes + 1)]
    return (own / (own + found[:1]).clamp_min(1e-9)).numpy()
