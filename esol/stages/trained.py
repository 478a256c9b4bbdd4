"""Networks as the stages classify, expand and shrink left them."""

import torch

from esol.method.classifier import Classifier
from esol.method.localizer import Localizer, frozen_classifier, new_localizer
from esol.networks.build import device_of
from esol.networks.weights import load_weights
from esol.runs.folder import stage_path
from esol.stages.job import Job

CLASSIFIER = "classifier.safetensors"
EXPANSION = "expansion.safetensors"
SHRINKAGE = "shrinkage.safetensors"


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
