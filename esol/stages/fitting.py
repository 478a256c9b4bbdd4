"""What the training stages share: inputs, parameter groups, and trainings that are done once."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import nn

from esol.method.classifier import Head
from esol.method.localizer import Localizer
from esol.networks.backbone import Backbone
from esol.networks.weights import load_weights, save_weights
from esol.settings import Fit
from esol.stages.job import Job
from esol.system.distributed import all_from_main
from esol.training.features import compute_features
from esol.training.fit import LossFunction, fit, forget_checkpoints
from esol.training.inputs import Inputs, Planes, photo_inputs
from esol.training.steps import METRICS, read_steps


def tagged_inputs(
    job: Job,
    backbone: Backbone,
    planes: Planes | None = None,
    *,
    by_tag: bool = False,
    classifier: bool = False,
) -> Inputs:
    """Training inputs of the training list: photos, or cached features.

    Args:
        job: settings and data.
        backbone: what is trained on; in evaluation mode after this if its features are cached.
        planes: what else is learned from.
        by_tag: the planes are those of a photo's tagged classes.
        classifier: the backbone is that of the trained classifier, which no longer learns.
    """
    settings, samples = job.settings, job.training_samples()
    key = job.cache_key(classifier=classifier)
    if key is None:
        return photo_inputs(samples, job.classes, settings.input, planes=planes, by_tag=by_tag)
    cache = compute_features(backbone.eval(), samples, settings, job.run.path, key)
    flip = settings.input.flip
    return cache.inputs(samples, job.classes, flip=flip, planes=planes, by_tag=by_tag)


def classifier_groups(
    job: Job, backbone: nn.Module, head: Head, *more: nn.Module
) -> list[tuple[Iterable[nn.Parameter], float]]:
    """Parameters and rates of a classifier: backbone, W1 and W2, and V with ``more``."""
    settings = job.settings.classify
    last = [p for module in (head.v, *more) for p in module.parameters()]
    return [
        (list(backbone.parameters()), settings.backbone_lr),
        ([*head.w1.parameters(), *head.w2.parameters()], 1.0),
        (last, settings.classifier_lr),
    ]


def fit_sampler(
    job: Job, model: Localizer, part: nn.Module, losses: LossFunction, optimisation: Fit, stage: str
) -> Mapping[str, float]:
    """Train Expansion or Shrinkage, a part of the localizer; returns what ``fit`` does."""
    inputs = tagged_inputs(job, model.backbone, classifier=True)
    training = job.training_run(job.run.stage(stage), stage)
    return fit(model, losses, inputs, [(part.parameters(), 1.0)], optimisation, training)


def train_once(
    module: nn.Module, path: Path, train: Callable[[], Mapping[str, float]]
) -> Mapping[str, float]:
    """Load a module's weights if an earlier call wrote them; otherwise train and write them.

    Args:
        module: whose weights are written.
        path: their file.
        train: trains the module; calls ``fit`` in the file's folder.

    Returns:
        What ``train`` returned, now or then.
    """
    if all_from_main(path.exists):
        load_weights(module, path)
        forget_checkpoints(path.parent)
        return last_losses(path.parent)
    results = train()
    finish(module, path)
    return results


def finish(module: nn.Module, path: Path) -> None:
    """Write trained weights, then drop the checkpoints beside them."""
    all_from_main(lambda: save_weights(module, path))
    forget_checkpoints(path.parent)


def last_losses(folder: Path) -> dict[str, float]:
    """What ``fit`` returned for a folder, now or in an earlier call, from its metrics.jsonl."""
    path = folder / METRICS
    steps = read_steps(path) if path.exists() else []
    last = steps[-1] if steps else {}
    return {
        "steps" if name == "step" else name: value for name, value in last.items() if name != "rate"
    }
