"""Stages 1 to 3: the classifier, Expansion, Shrinkage."""

from functools import partial
from typing import Any

import torch

from esol.method.classifier import Classifier
from esol.method.localizer import Localizer, frozen_classifier, new_classifier, new_localizer
from esol.method.losses import classify_losses, expand_losses, shrink_losses
from esol.networks.build import device_of
from esol.networks.weights import load_weights
from esol.runs.folder import Stage, stage_path
from esol.stages.job import Job
from esol.stages.training import classifier_groups, finish, tagged_inputs
from esol.training.fit import fit

CLASSIFIER = "classifier.safetensors"
EXPANSION = "expansion.safetensors"
SHRINKAGE = "shrinkage.safetensors"


def classify(job: Job) -> None:
    """Stage 1: train the classifier on the tags; writes classifier.safetensors."""
    settings = job.settings
    groups = ("seed", "input", "backbone", "head", "classify")
    with job.enter("classify", *groups, after=(), lists=(settings.data.train,)) as stage:
        if stage is None:
            return
        torch.manual_seed(settings.seed)
        model = new_classifier(settings, job.classes).to(device_of(settings.machine))
        stage.results |= fit(
            model,
            classify_losses,
            tagged_inputs(job, model.backbone),
            classifier_groups(job, model.backbone, model.head),
            fit=settings.classifier_fit,
            machine=settings.machine,
            folder=stage.path,
            seed=settings.seed,
            label="classify",
        )
        finish(model, stage.path / CLASSIFIER)


def expand(job: Job) -> None:
    """Stage 2: learn the expansion sampler; writes expansion.safetensors."""
    chosen = job.settings.expand
    groups = ("seed", "input", "backbone", "head", "expand")
    with job.enter(
        "expand", *groups, after=("classify",), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = localizer(job)
        model.shrinkage.requires_grad_(False)
        losses = partial(expand_losses, alpha=chosen.alpha, objective=chosen.objective)
        if chosen.learn != "nothing":
            stage.results |= _fit_sampler(job, stage, model, losses, model.expansion, chosen.fit)
        finish(model.expansion, stage.path / EXPANSION)


def shrink(job: Job) -> None:
    """Stage 3: learn the shrinkage sampler; writes shrinkage.safetensors."""
    chosen = job.settings.shrink
    groups = ("seed", "input", "backbone", "head", "expand", "shrink")
    with job.enter(
        "shrink", *groups, after=("classify", "expand"), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = localizer(job, "expand")
        model.expansion.requires_grad_(False)
        losses = partial(shrink_losses, area=chosen.area)
        if chosen.learn != "nothing":
            stage.results |= _fit_sampler(job, stage, model, losses, model.shrinkage, chosen.fit)
        finish(model.shrinkage, stage.path / SHRINKAGE)


def plain_classifier(job: Job) -> Classifier:
    """The classifier as stage 1 left it, with nothing that learns."""
    path = stage_path(job.run, "classify") / CLASSIFIER
    classifier = frozen_classifier(job.settings, job.classes, path)
    return classifier.to(device_of(job.settings.machine))


def localizer(job: Job, *trained: str) -> Localizer:
    """The localizer with the weights of the classifier and of the named later stages."""
    classifier = plain_classifier(job)
    torch.manual_seed(job.settings.seed)
    model = new_localizer(job.settings, classifier)
    if "expand" in trained:
        load_weights(model.expansion, stage_path(job.run, "expand") / EXPANSION)
    if "shrink" in trained:
        load_weights(model.shrinkage, stage_path(job.run, "shrink") / SHRINKAGE)
    return model.to(device_of(job.settings.machine))


def _fit_sampler(
    job: Job, stage: Stage, model: Localizer, losses: Any, part: torch.nn.Module, settings: Any
) -> dict[str, float]:
    return fit(
        model,
        losses,
        tagged_inputs(job, model.backbone, plain=True),
        [(part.parameters(), 1.0)],
        fit=settings,
        machine=job.settings.machine,
        folder=stage.path,
        seed=job.settings.seed,
        label=stage.name,
    )
