"""Stages 1 to 5: from tagged photos to seeds."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from esol.cam import Photo, batches_of_one_size, localize
from esol.data.images import save_mask
from esol.data.inputs import Inputs, photo_inputs
from esol.features import FeatureCache, compute_features
from esol.losses import classify_losses, expand_losses, shrink_losses
from esol.maps import load_maps, save_maps
from esol.models.samplers import Localizer
from esol.networks import (
    device_of,
    frozen_classifier,
    load_weights,
    new_classifier,
    new_localizer,
    save_weights,
)
from esol.progress import log, track
from esol.runfolder import Stage, stage_path
from esol.seeds import seed
from esol.settings import MAP_KINDS, MapKind
from esol.stages.job import Job
from esol.train import fit, forget_checkpoints


def classify(job: Job) -> None:
    """Stage 1: train the classifier on the tags; writes classifier.safetensors."""
    settings = job.settings
    groups = ("seed", "input", "backbone", "head", "classify")
    with job.enter("classify", *groups, after=(), lists=(settings.data.train,)) as stage:
        if stage is None:
            return
        torch.manual_seed(settings.seed)
        model = new_classifier(settings, job.classes).to(device_of(settings.machine))
        chosen = settings.classify
        stage.results |= fit(
            model,
            classify_losses,
            _inputs(job, model.backbone),
            [
                (model.backbone.parameters(), chosen.backbone_lr),
                ([*model.head.w1.parameters(), *model.head.w2.parameters()], 1.0),
                (model.head.v.parameters(), chosen.classifier_lr),
            ],
            fit=chosen.fit,
            machine=settings.machine,
            folder=stage.path,
            seed=settings.seed,
            label="classify",
        )
        _finish(job, stage, model, "classifier.safetensors")


def expand(job: Job) -> None:
    """Stage 2: learn the expansion sampler; writes expansion.safetensors."""
    chosen = job.settings.expand
    groups = ("seed", "input", "backbone", "head", "expand")
    with job.enter(
        "expand", *groups, after=("classify",), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = _localizer(job)
        losses = partial(expand_losses, alpha=chosen.alpha, objective=chosen.objective)
        if chosen.learn != "nothing":
            stage.results |= _fit_sampler(job, stage, model, losses, model.expansion, chosen.fit)
        _finish(job, stage, model.expansion, "expansion.safetensors")


def shrink(job: Job) -> None:
    """Stage 3: learn the shrinkage sampler; writes shrinkage.safetensors."""
    chosen = job.settings.shrink
    groups = ("seed", "input", "backbone", "head", "expand", "shrink")
    with job.enter(
        "shrink", *groups, after=("classify", "expand"), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = _localizer(job, "expand")
        model.expansion.requires_grad_(False)
        losses = partial(shrink_losses, area=chosen.area)
        if chosen.learn != "nothing":
            stage.results |= _fit_sampler(job, stage, model, losses, model.shrinkage, chosen.fit)
        _finish(job, stage, model.shrinkage, "shrinkage.safetensors")


def cams(job: Job) -> None:
    """Stage 4: localization maps of all three phases; writes KIND/NAME.npz."""
    settings, lists = job.settings, job.lists()
    groups = ("input", "backbone", "head", "expand", "shrink", "cams")
    after = ("classify", "expand", "shrink")
    with job.enter("cams", *groups, after=after, lists=lists) as stage:
        if stage is None:
            return
        model = _localizer(job, "expand", "shrink").eval()
        samples = job.data.samples(*lists)
        cache = None
        if settings.backbone.cache and 1.0 in settings.cams.scales:
            cache = compute_features(model.classifier.backbone, samples, settings, job.run)
        batches = batches_of_one_size(samples, same=settings.input.resize == "squash")
        # A batch is done again as a whole: a photo's last bit may depend on its companions.
        todo = [batch for batch in batches if not _mapped(stage.path, batch)]
        start = len(batches) - len(todo)
        for batch in track(todo, "cams", total=len(batches), start=start, unit="batches"):
            for sample, size, maps in localize(model, batch, settings.cams, settings.input, cache):
                tags = np.asarray(sample.tags, np.int64)
                for kind in MAP_KINDS:
                    save_maps(map_path(stage.path, kind, sample.name), maps[kind], tags, size)
        stage.results |= {"photos": len(samples)}


def seeds(job: Job) -> None:
    """Stage 5: seed masks from the chosen maps; writes NAME.png."""
    chosen, lists = job.settings.seeds, job.lists()
    with job.enter("seeds", "seeds", after=("cams",), lists=lists) as stage:
        if stage is None:
            return
        samples = job.data.samples(*lists)
        empty = 0
        for sample in track(samples, "seeds", total=len(samples), unit="photos"):
            path = stage.path / f"{sample.name}.png"
            maps = load_maps(map_path(stage_path(job.run, "cams"), chosen.kind, sample.name))
            empty += not (maps.maps > chosen.threshold).any()
            if not path.exists():
                save_mask(seed(maps.full(), maps.classes, chosen.threshold), path)
        if empty:
            log.warning(
                "seeds: %d of %d photos are all background; train longer, or lower seeds.threshold",
                empty,
                len(samples),
            )
        stage.results |= {
            "photos": len(samples),
            "all_background": empty,
            "kind": chosen.kind,
            "threshold": chosen.threshold,
        }


def map_path(folder: Path, kind: MapKind, name: str) -> Path:
    """File of a photo's maps."""
    return folder / kind / f"{name}.npz"


def _mapped(folder: Path, batch: list[Photo]) -> bool:
    """Whether every map of the batch is there."""
    return all(
        map_path(folder, kind, photo.sample.name).exists() for photo in batch for kind in MAP_KINDS
    )


def _inputs(job: Job, backbone: Any) -> Inputs:
    """Training inputs: photos, or cached features."""
    settings = job.settings
    samples = job.data.samples(settings.data.train)
    if not settings.backbone.cache:
        return photo_inputs(samples, job.classes, settings.input)
    cache: FeatureCache = compute_features(backbone.eval(), samples, settings, job.run)
    return cache.inputs(samples, job.classes, flip=settings.input.flip)


def _localizer(job: Job, *trained: str) -> Localizer:
    """The localizer with the weights of the classifier and of the named later stages."""
    weights = stage_path(job.run, "classify") / "classifier.safetensors"
    classifier = frozen_classifier(job.settings, job.classes, weights)
    torch.manual_seed(job.settings.seed)
    model = new_localizer(job.settings, classifier)
    if "expand" in trained:
        load_weights(model.expansion, stage_path(job.run, "expand") / "expansion.safetensors")
    if "shrink" in trained:
        load_weights(model.shrinkage, stage_path(job.run, "shrink") / "shrinkage.safetensors")
    return model.to(device_of(job.settings.machine))


def _fit_sampler(
    job: Job, stage: Stage, model: Localizer, losses: Any, part: torch.nn.Module, settings: Any
) -> dict[str, float]:
    return fit(
        model,
        losses,
        _inputs(job, model.classifier.backbone),
        [(part.parameters(), 1.0)],
        fit=settings,
        machine=job.settings.machine,
        folder=stage.path,
        seed=job.settings.seed,
        label=stage.name,
    )


def _finish(job: Job, stage: Stage, module: torch.nn.Module, name: str) -> None:
    save_weights(module, stage.path / name)
    forget_checkpoints(stage.path)
