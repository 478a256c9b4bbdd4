"""Stage 1, ``esol classify``: train the classifier on the tags."""

import torch

from esol.method.classifier import Classifier
from esol.method.losses import classify_losses
from esol.networks.backbone import features_of
from esol.networks.pretrained import licensed
from esol.runs.earlier import EarlierRun, earlier_run
from esol.runs.work import OpenStage
from esol.stages.fitting import classifier_groups, finish, training_inputs, training_run
from esol.stages.job import INIT, Job
from esol.system.distributed import device_of
from esol.system.progress import log
from esol.training.fit import fit
from esol.training.inputs import Inputs

_SPARSE, _DENSE = 0.15, 0.25
"""Shares of features above 0: with 9 % the power 0.33 mended Shrinkage, with 35 % already 0.5
spoiled all maps (docs/LOG.md). What is right between them is not known."""

_FEW = 1000
"""With 40 and 120 photos maps of a frozen transformer lit up the ground, with so many they are as
docs/backbones.md says. What is enough between them is not known."""

_PHOTOS = 4
"""So many are looked at: less than training needs memory for."""


def classify(job: Job, stage: OpenStage) -> None:
    """Train the classifier; writes classifier.safetensors."""
    settings = job.settings
    torch.manual_seed(settings.seed)
    model = Classifier.start(settings, job.classes)
    if settings.classify.init:
        stage.results |= _start_from(model, earlier_run(settings.classify.init), job.data.classes)
    model = model.to(device_of(settings.machine.device))
    inputs = training_inputs(job, model.backbone)
    if model.backbone.frozen and model.backbone.makes_tokens and len(inputs) < _FEW:
        log.warning(
            "%d photos are few for a frozen transformer: with 120, maps showed the ground"
            " beside the objects; compare with tags-folder-cpu (docs/backbones.md)",
            len(inputs),
        )
    if model.backbone.frozen and "shrink" in settings.learns:
        _warn_of_power(job, model, inputs)
    stage.results |= fit(
        model,
        classify_losses,
        inputs,
        classifier_groups(job, model.backbone, model.head),
        settings.classify.fit,
        training_run(job, stage.path, "classify", "classify.fit"),
    )
    finish(model, job.run.weights("classify"))
    stage.results |= licensed(settings.backbone)


def _start_from(model: Classifier, earlier: EarlierRun, classes: tuple[str, ...]) -> dict[str, str]:
    """Take over the classifier of an earlier run; returns which, for the manifest."""
    rows = earlier.rows(classes)
    model.start_from(earlier.weights, rows)
    parts = {
        "": [classes[row] for row in rows],
        "new: ": [name for name in classes if name not in earlier.classes],
        "left out: ": [name for name in earlier.classes if name not in classes],
    }
    known = "; ".join(what + ", ".join(names) for what, names in parts.items() if names)
    log.info("starts from the classifier of %s: %s", earlier.run.path, known)
    return {INIT: str(earlier.run.path.resolve())}


@torch.no_grad()
def _warn_of_power(job: Job, model: Classifier, inputs: Inputs) -> None:
    """Say where features are sparse, or dense, and backbone.power does not fit that."""
    power, fit_settings = job.settings.backbone.power, job.settings.classify.fit
    first = inputs.batches(fit_settings.batch, seed=job.settings.seed, start=0, stop=1, workers=0)
    batch = next(first)
    shown = batch.inputs[:_PHOTOS].to(next(model.parameters()).device, torch.float32)
    features = features_of(model.backbone.eval(), batch._replace(inputs=shown))
    share = float((features > 0).float().mean())
    # Signed features are dense however few of them are above 0.
    sparse = 0 < share < _SPARSE and power == 1 and float(features.min()) >= 0
    if sparse or (share > _DENSE and power < 1):
        log.warning(
            "backbone.power = %g: %.0f %% of the features of %s are above 0; try %s"
            " (docs/backbones.md, Sparse features)",
            *(power, 100 * share, job.settings.backbone.name, "0.33" if sparse else "1"),
        )
