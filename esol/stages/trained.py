"""Networks of the method: as training starts with them, and as the training stages left them."""

import torch

from esol.maps.localize import Network
from esol.method.classifier import Classifier, Head
from esol.method.localizer import Localizer
from esol.networks.backbone import Backbone
from esol.networks.weights import load_weights
from esol.peers.drs import RefinedClassifier, SuppressedClassifier
from esol.peers.eps import SaliencyClassifier
from esol.peers.sccam import SubcategoryClassifier
from esol.stages.job import Job
from esol.system.distributed import device_of

PeerNetwork = SubcategoryClassifier | SuppressedClassifier | RefinedClassifier | SaliencyClassifier


def trained_networks(job: Job) -> tuple[Network, ...]:
    """What makes the method's maps, in evaluation mode."""
    if job.settings.method == "esol":
        return (trained_localizer(job, "expand", "shrink").eval(),)
    if job.settings.method == "cam":
        return (trained_classifier(job),)
    return tuple(_trained_peer(job, kind) for kind in job.settings.map_kinds)


def trained_classifier(job: Job) -> Classifier:
    """The classifier as stage 1 left it, with nothing that learns."""
    weights = job.run.weights("classify")
    classifier = Classifier.trained(job.settings, job.classes, weights)
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


def new_peer(job: Job, kind: str, *, fixed: bool = False) -> PeerNetwork:
    """The network of a compared method that makes maps of one kind, with random head.

    Args:
        job: settings and data.
        kind: of maps.
        fixed: nothing of its backbone learns, and its weights are still to be loaded.
    """
    settings, classes = job.settings, job.classes
    backbone = Backbone.fixed(settings.backbone) if fixed else Backbone(settings.backbone)
    head = Head(backbone.channels, classes + (kind == "eps"), settings.head)
    if kind == "sccam":
        return SubcategoryClassifier(backbone, head, classes * settings.sccam.clusters)
    if kind == "drs":
        delta, everywhere = settings.drs.delta, settings.drs.everywhere
        return SuppressedClassifier(backbone, head, delta=delta, everywhere=everywhere)
    if kind == "drs_refined":
        return RefinedClassifier(backbone, head)
    return SaliencyClassifier(backbone, head)


def _trained_peer(job: Job, kind: str) -> PeerNetwork:
    network = new_peer(job, kind, fixed=True)
    load_weights(network, job.run.weights("peer", kind))
    network.requires_grad_(False).eval()
    network.backbone.fold()
    return network.to(device_of(job.settings.machine.device))


def backbone_stage(job: Job) -> str:
    """The stage whose backbone IRNet reads: the classifier's, where the method has one."""
    return job.settings.learns[0]


def trained_backbone(job: Job) -> Backbone:
    """The backbone that IRNet reads."""
    if backbone_stage(job) == "classify":
        return trained_classifier(job).backbone
    # The last: that of drs' first network holds suppressions.
    return _trained_peer(job, job.settings.map_kinds[-1]).backbone
