"""Networks of the stages: create them, train them, load trained ones."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from esol.data.sample import Sample
from esol.maps.localize import Network
from esol.method.classifier import Classifier, Head
from esol.method.localizer import Localizer
from esol.networks.backbone import Backbone
from esol.networks.pretrained import without_weights
from esol.networks.weights import load_weights, save_weights
from esol.peers.drs import RefinedClassifier, SuppressedClassifier
from esol.peers.eps import SaliencyClassifier
from esol.peers.lpcam import PrototypeClassifier, load_prototypes
from esol.peers.sccam import SubcategoryClassifier
from esol.settings import MAKES, Fit, MapKind, Settings
from esol.stages.job import Job
from esol.stages.reads import of_classifier
from esol.system.distributed import all_from_main, device_of
from esol.training.features import compute_features
from esol.training.fit import LossFunction, TrainingRun, fit, forget_checkpoints
from esol.training.inputs import Inputs, Masks, Planes, photo_inputs
from esol.training.steps import METRICS, read_steps

PeerNetwork = SubcategoryClassifier | SuppressedClassifier | RefinedClassifier | SaliencyClassifier


def trained_networks(job: Job) -> tuple[Network, ...]:
    """What makes the method's maps, in evaluation mode."""
    if job.settings.method == "esol":
        return (trained_localizer(job, "expand", "shrink").eval(),)
    if job.settings.method == "cam":
        return (trained_classifier(job),)
    if job.settings.method == "lpcam":
        prototypes = load_prototypes(job.run.weights("peer", "lpcam"), job.classes)
        return (PrototypeClassifier(trained_classifier(job), prototypes),)
    return tuple(_trained_peer(job, kind) for kind in job.settings.map_kinds)


def trained_classifier(job: Job, *, fold: bool = True) -> Classifier:
    """The classifier as stage 1 left it, with nothing that learns."""
    weights = job.run.weights("classify")
    classifier = Classifier.trained(job.settings, job.classes, weights, fold=fold)
    return classifier.to(device_of(job.settings.machine.device))


def trained_localizer(job: Job, *stages: str) -> Localizer:
    """The localizer with the weights of the classifier and of the named later stages."""
    classifier = trained_classifier(job)
    torch.manual_seed(job.settings.seed)
    model = Localizer.start(job.settings, classifier)
    if "expand" in stages:
        load_weights(model.expansion, job.run.weights("expand"))
    if "shrink" in stages:
        load_weights(model.shrinkage, job.run.weights("shrink"))
    return model.to(device_of(job.settings.machine.device))


def given_network(job: Job, kind: MapKind) -> Network:
    """What makes the other method's maps that the stage peer reads, in evaluation mode."""
    _, *samplers = MAKES[kind]
    return trained_localizer(job, *samplers).eval() if samplers else trained_classifier(job)


def new_peer(
    settings: Settings, classes: int, kind: str, *, fixed: bool = False, loaded: bool = False
) -> PeerNetwork:
    """The network of a compared method that makes maps of one kind, with random head.

    Args:
        settings: all settings.
        classes: their number, K.
        kind: of maps.
        fixed: nothing of its backbone learns, and its weights are still to be loaded.
        loaded: its weights are still to be loaded, so it needs no initial ones.
    """
    initial = without_weights(settings.backbone) if loaded else settings.backbone
    side = settings.input.one_side
    backbone = Backbone.fixed(initial, side) if fixed else Backbone(initial, side=side)
    head = Head(backbone.channels, classes + (kind == "eps"), settings.head)
    if kind == "sccam":
        return SubcategoryClassifier(backbone, head, classes * settings.sccam.clusters)
    if kind == "drs":
        delta, everywhere = settings.drs.delta, settings.drs.everywhere
        return SuppressedClassifier(backbone, head, delta=delta, everywhere=everywhere)
    if kind == "drs_refined":
        return RefinedClassifier(backbone, head)
    return SaliencyClassifier(backbone, head)


def _trained_peer(job: Job, kind: str, *, fold: bool = True) -> PeerNetwork:
    network = new_peer(job.settings, job.classes, kind, fixed=True)
    load_weights(network, job.run.weights("peer", kind))
    network.requires_grad_(False).eval()
    if fold:
        network.backbone.fold()
    return network.to(device_of(job.settings.machine.device))


def trained_backbone(job: Job, *, fold: bool = True) -> Backbone:
    """The backbone that later stages read; a folded one is faster, and cannot be saved."""
    if of_classifier(job):
        return trained_classifier(job, fold=fold).backbone
    # The last network's: the backbone of DRS's first one has suppression layers.
    return _trained_peer(job, job.settings.map_kinds[-1], fold=fold).backbone


def training_inputs(
    job: Job,
    backbone: Backbone,
    masks: Masks | None = None,
    planes: Planes | None = None,
    *,
    by_tag: bool = False,
    of_classifier: bool = False,
    samples: tuple[Sample, ...] | None = None,
) -> Inputs:
    """Training inputs of the training list: photos, or cached features.

    Args:
        job: settings and data.
        backbone: what is trained on; in evaluation mode after this if its features are cached.
        masks: what is learned from besides the tags.
        planes: what else is learned from.
        by_tag: the planes are those of a photo's tagged classes.
        of_classifier: the backbone is that of the trained classifier, which no longer learns.
        samples: some of the list; None: all.
    """
    settings, members = job.settings, job.training_samples()
    samples = members if samples is None else samples
    key = job.cache_key(of_classifier=of_classifier)
    if key is None:
        return photo_inputs(
            samples,
            job.classes,
            settings.input,
            backbone.normalisation,
            masks,
            planes,
            by_tag=by_tag,
        )
    # Of all, at once: a stage for photos of some tags alone would compute the others later.
    cache = compute_features(backbone.eval(), members, settings, job.run.path, key)
    flip = settings.input.flip
    return cache.inputs(samples, job.classes, flip=flip, masks=masks, planes=planes, by_tag=by_tag)


def training_run(
    job: Job, folder: Path, label: str, key: str, inputs: str = "input"
) -> TrainingRun:
    """Where and how a training of a job runs.

    Args:
        job: settings.
        folder: for its files.
        label: for progress.
        key: of its ``Fit`` among the settings.
        inputs: key of its ``Input``.
    """
    lighter = (f"{key}.batch", f"{inputs}.size")
    return TrainingRun(folder, label, job.settings.seed, job.settings.machine, lighter)


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
    job: Job,
    model: Localizer,
    part: nn.Module,
    losses: LossFunction,
    optimisation: Fit,
    stage: str,
    *,
    tagged: bool = False,
) -> Mapping[str, float]:
    """Train Expansion or Shrinkage, a part of the localizer; returns what ``fit`` does.

    ``tagged``: on photos with a tag alone.
    """
    samples = tuple(sample for sample in job.training_samples() if sample.tags or not tagged)
    inputs = training_inputs(job, model.backbone, of_classifier=True, samples=samples)
    training = training_run(job, job.run.stage(stage), stage, f"{stage}.fit")
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
