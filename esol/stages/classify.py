"""Stage 1, ``esol classify``: train the classifier on the tags."""

import torch

from esol.method.classifier import Classifier
from esol.method.losses import classify_losses
from esol.networks.pretrained import licensed
from esol.stages.fitting import classifier_groups, finish, tagged_inputs
from esol.stages.job import Job
from esol.system.distributed import device_of
from esol.training.fit import fit


def classify(job: Job) -> None:
    """Train the classifier; writes classifier.safetensors."""
    settings = job.settings
    with job.enter("classify", after=(), lists=(settings.data.train,)) as stage:
        if stage is None:
            return
        torch.manual_seed(settings.seed)
        model = Classifier.start(settings, job.classes).to(device_of(settings.machine.device))
        stage.results |= fit(
            model,
            classify_losses,
            tagged_inputs(job, model.backbone),
            classifier_groups(job, model.backbone, model.head),
            settings.classify.fit,
            job.training_run(stage.path, "classify", "classify.fit"),
        )
        finish(model, job.run.weights("classify"))
        stage.results |= licensed(settings.backbone)
