"""What the trained stages share: inputs, and the end of a training."""

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from esol.method.classifier import Head
from esol.method.localizer import Localizer
from esol.networks.backbone import Backbone
from esol.networks.weights import save_weights
from esol.runs.folder import Stage
from esol.settings import Fit
from esol.stages.job import Job
from esol.system.distributed import from_main
from esol.training.features import compute_features
from esol.training.fit import LossFunction, fit, forget_checkpoints
from esol.training.inputs import Inputs, Planes, photo_inputs


def tagged_inputs(
    job: Job,
    backbone: Backbone,
    planes: Planes | None = None,
    *,
    by_tag: bool = False,
    plain: bool = False,
) -> Inputs:
    """Training inputs of the training list: photos, or cached features.

    Args:
        job: settings and data.
        backbone: what is trained on; in evaluation mode after this if its features are cached.
        planes: what else is learned from.
        by_tag: the planes are those of a photo's tagged classes.
        plain: the backbone is the plain classifier's, which no longer learns.
    """
    settings = job.settings
    samples = job.data.samples(settings.data.train)
    key = job.cache_key(plain=plain)
    if key is None:
        return photo_inputs(samples, job.classes, settings.input, planes=planes, by_tag=by_tag)
    cache = compute_features(backbone.eval(), samples, settings, job.run, key)
    flip = settings.input.flip
    return cache.inputs(samples, job.classes, flip=flip, planes=planes, by_tag=by_tag)


def classifier_groups(
    job: Job, backbone: nn.Module, head: Head, *more: nn.Module
) -> list[tuple[Iterable[nn.Parameter], float]]:
    """Parameters and rates of a classifier: backbone, W1 and W2, and V with ``more``."""
    chosen = job.settings.classify
    last = [p for module in (head.v, *more) for p in module.parameters()]
    return [
        (list(backbone.parameters()), chosen.backbone_lr),
        ([*head.w1.parameters(), *head.w2.parameters()], 1.0),
        (last, chosen.classifier_lr),
    ]


def finish(module: nn.Module, path: Path) -> None:
    """Write trained weights, then drop the checkpoints beside them."""
    from_main(lambda: save_weights(module, path))
    forget_checkpoints(path.parent)


def fit_sampler(
    job: Job, stage: Stage, model: Localizer, losses: LossFunction, part: nn.Module, settings: Fit
) -> dict[str, float]:
    """Train one part of the localizer; returns what ``fit`` does."""
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
