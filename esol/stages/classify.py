"""Stage 1, `esol classify`: train the classifier on the tags."""

import torch

from esol.method.localizer import new_classifier
from esol.method.losses import classify_losses
from esol.networks.build import device_of
from esol.stages.fitting import classifier_groups, finish, tagged_inputs
from esol.stages.job import Job
from esol.stages.trained import CLASSIFIER
from esol.training.fit import fit


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
            fit=settings.classify.fit,
            machine=settings.machine,
            folder=stage.path,
            seed=settings.seed,
            label="classify",
        )
        finish(model, stage.path / CLASSIFIER)
