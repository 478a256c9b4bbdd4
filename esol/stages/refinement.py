"""Stage 6: refined masks by CRF, refined maps by IRN."""

from functools import partial

import numpy as np
import torch

from esol.data.images import load_image, save_mask
from esol.data.inputs import MaskFolder, photo_inputs
from esol.data.sample import Sample
from esol.instances import instances
from esol.losses import affinity_losses
from esol.maps import Maps, load_maps, save_maps
from esol.models.affinity import AffinityNet
from esol.networks import device_of, frozen_classifier, load_weights, save_weights
from esol.progress import log, track
from esol.refine import boundaries, confident_labels, crf_mask, walked
from esol.runfolder import Stage, stage_path
from esol.seeds import seed
from esol.stages.job import Job
from esol.stages.localize import map_path
from esol.train import fit, forget_checkpoints

WEIGHTS = "irn.safetensors"


def refine(job: Job) -> None:
    """Stage 6: writes crf/NAME.png, labels/NAME.png, irn.safetensors, irn/NAME.npz."""
    settings, lists = job.settings, job.lists()
    if not settings.refine.methods:
        log.info("refine: off")
        return
    groups = ("seed", "backbone", "head", "seeds", "refine")
    reads = {"train": settings.data.train}
    after = ("classify", "cams")
    with job.enter("refine", *groups, after=after, lists=lists, reads=reads) as stage:
        if stage is None:
            return
        samples = job.data.samples(*lists)
        if "crf" in settings.refine.methods:
            _crf(job, stage, samples)
        if "irn" in settings.refine.methods:
            _labels(job, stage)
            _walk(job, stage, samples, _trained(job, stage))
        stage.results |= {"photos": len(samples), "kind": settings.seeds.kind}


def seed_maps(job: Job, sample: Sample) -> Maps:
    """The maps that become seeds."""
    return load_maps(map_path(stage_path(job.run, "cams"), job.settings.seeds.kind, sample.name))


def _crf(job: Job, stage: Stage, samples: tuple[Sample, ...]) -> None:
    chosen, device = job.settings.refine, device_of(job.settings.machine)
    threshold = job.settings.seeds.threshold
    for sample in track(samples, "refine: CRF", total=len(samples), unit="photos"):
        path = stage.path / "crf" / f"{sample.name}.png"
        if not path.exists():
            photo, maps = load_image(sample.image), seed_maps(job, sample)
            save_mask(crf_mask(photo, maps, threshold, chosen, device), path)


def _labels(job: Job, stage: Stage) -> None:
    """Confident labels of the training list."""
    chosen, device = job.settings.refine, device_of(job.settings.machine)
    samples = job.data.samples(job.settings.data.train)
    for sample in track(samples, "refine: labels", total=len(samples), unit="photos"):
        path = stage.path / "labels" / f"{sample.name}.png"
        if not path.exists():
            photo, maps = load_image(sample.image), seed_maps(job, sample)
            save_mask(confident_labels(photo, maps, chosen, device), path)


def _trained(job: Job, stage: Stage) -> AffinityNet:
    """IRNet, trained unless it was before, in evaluation mode."""
    settings, chosen = job.settings, job.settings.refine.affinity
    weights = stage_path(job.run, "classify") / "classifier.safetensors"
    backbone = frozen_classifier(settings, job.classes, weights).backbone
    torch.manual_seed(settings.seed)
    # The two branches share nothing that learns: without instances one of them is not needed.
    net = AffinityNet(backbone, displacement=settings.refine.instances)
    net = net.to(device_of(settings.machine))
    path = stage.path / WEIGHTS
    if path.exists():
        load_weights(net.branches, path)
        forget_checkpoints(stage.path)
        return net.eval()
    samples = job.data.samples(settings.data.train)
    stage.results |= fit(
        net,
        partial(affinity_losses, radius=chosen.radius),
        photo_inputs(samples, job.classes, chosen.input, MaskFolder(stage.path / "labels")),
        [
            (net.edge_parameters(), 1.0),
            (net.displacement_parameters(), chosen.displacement_lr),
        ],
        fit=chosen.fit,
        machine=settings.machine,
        folder=stage.path,
        seed=settings.seed,
        label="refine: IRNet",
    )
    if settings.refine.instances:
        _centre(job, net, samples)
    save_weights(net.branches, path)
    forget_checkpoints(stage.path)
    return net.eval()


def _centre(job: Job, net: AffinityNet, samples: tuple[Sample, ...]) -> None:
    """Store the mean displacement, which instances subtract (IRN's mean shift)."""
    net.eval()
    sums = []
    for sample in track(samples, "refine: mean shift", total=len(samples), unit="photos"):
        chosen = job.settings.refine
        _, field = boundaries(net, load_image(sample.image), chosen.affinity.input, chosen.longest)
        assert field is not None
        sums.append(field.mean((1, 2)))
    net.set_mean_shift(torch.stack(sums).mean(0))


def _walk(job: Job, stage: Stage, samples: tuple[Sample, ...], net: AffinityNet) -> None:
    chosen = job.settings.refine
    for sample in track(samples, "refine: random walk", total=len(samples), unit="photos"):
        path = stage.path / "irn" / f"{sample.name}.npz"
        objects = stage.path / "instances" / f"{sample.name}.png"
        if path.exists() and (objects.exists() or not chosen.instances):
            continue
        photo, maps = load_image(sample.image), seed_maps(job, sample)
        edge, field = boundaries(net, photo, chosen.affinity.input, chosen.longest)
        save_maps(path, walked(maps, edge, chosen.walk), maps.classes, maps.size)
        if field is not None:
            refined = load_maps(path)
            mask = seed(refined.full(), refined.classes, chosen.threshold)
            found = instances(field.cpu().numpy(), mask)
            # More objects than an 8-bit mask can tell apart share the last value.
            save_mask(np.minimum(found, 254).astype(np.uint8), objects)
