"""Stage 6: refined masks by CRF, refined maps by IRN."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from esol.data.images import load_image, save_mask
from esol.data.sample import Sample
from esol.maps.files import Maps, load_maps, save_maps
from esol.masks.instances import instances
from esol.masks.refine import boundaries, confident_labels, crf_mask, walked
from esol.masks.seeds import seed
from esol.networks.affinity import AffinityNet, affinity_losses
from esol.networks.build import device_of
from esol.networks.weights import load_weights
from esol.runs.folder import Part, Stage, stage_path
from esol.runs.outputs import CHECKPOINT
from esol.stages.cams import backbone_stage, trained_backbone
from esol.stages.fitting import finish
from esol.stages.job import Job, learned
from esol.stages.photo_maps import map_path
from esol.system.distributed import barrier, from_main, in_order, share
from esol.system.progress import log, track
from esol.training.fit import fit, forget_checkpoints
from esol.training.inputs import MaskFolder, photo_inputs
from esol.training.steps import METRICS

WEIGHTS = "irn.safetensors"

_CRF = Part(
    ("crf",),
    spared=(
        *("seed", "backbone", "head", "after.classify", "after.peer", "train", "train maps"),
        *(f"refine.{key}" for key in ("methods", "affinity", "walk", "threshold", "instances")),
    ),
)
_IRN = (
    Part(
        ("labels", WEIGHTS, METRICS, f"{CHECKPOINT}*"),
        # The training list and its maps have keys of their own.
        spared=(
            *("data", "after.cams", "seeds.threshold"),
            *(f"refine.{key}" for key in ("methods", "walk", "threshold")),
        ),
    ),
    Part(("irn",), spared=("seeds.threshold", "refine.methods", "refine.threshold")),
    Part(("instances",), spared=("seeds.threshold", "refine.methods")),
)


def refine(job: Job) -> None:
    """Stage 6: writes crf/NAME.png, labels/NAME.png, irn.safetensors, irn/NAME.npz."""
    settings, lists = job.settings, job.lists()
    if not settings.refine.methods:
        log.info("refine: off")
        return
    crf, irn = ("crf" in settings.refine.methods), ("irn" in settings.refine.methods)
    with job.enter(
        "refine",
        *("seed", "backbone", "head", "seeds", "refine"),
        after=(backbone_stage(job), "cams"),
        lists=lists,
        reads=_reads(job) if irn else {},
        # Those of a method that is off are not kept.
        parts=(*((_CRF,) if crf else ()), *(_IRN if irn else ())),
    ) as stage:
        if stage is None:
            return
        samples = job.data.samples(*lists)
        if crf:
            _crf(job, stage, samples)
        if irn:
            _labels(job, stage)
            _walk(job, stage, samples, _trained(job, stage))
            stage.results |= learned(stage.path)
        stage.results |= {"photos": len(samples), "kind": settings.seed_kind}


def _reads(job: Job) -> dict[str, Any]:
    """What IRNet's training reads, for the identity."""
    train, folder = job.settings.data.train, stage_path(job.run, "cams")
    names = (sample.name for sample in job.data.samples(train))
    maps = (map_path(folder, job.settings.seed_kind, name) for name in names)
    return {"train": job.data.fingerprint(train), "train maps": job.contents("cams", maps)}


def seed_maps(job: Job, sample: Sample) -> Maps:
    """The maps that become seeds."""
    return load_maps(map_path(stage_path(job.run, "cams"), job.settings.seed_kind, sample.name))


def _crf(job: Job, stage: Stage, samples: Sequence[Sample]) -> None:
    chosen, device = job.settings.refine, device_of(job.settings.machine)
    threshold = job.settings.seeds.threshold
    samples = share(samples)
    for sample in track(samples, "refine: CRF", total=len(samples), unit="photos"):
        path = stage.path / "crf" / f"{sample.name}.png"
        if not path.exists():
            photo, maps = load_image(sample.image), seed_maps(job, sample)
            save_mask(crf_mask(photo, maps, threshold, chosen, device), path)


def _labels(job: Job, stage: Stage) -> None:
    """Confident labels of the training list."""
    chosen, device = job.settings.refine, device_of(job.settings.machine)
    samples = share(job.data.samples(job.settings.data.train))
    for sample in track(samples, "refine: labels", total=len(samples), unit="photos"):
        path = stage.path / "labels" / f"{sample.name}.png"
        if not path.exists():
            photo, maps = load_image(sample.image), seed_maps(job, sample)
            save_mask(confident_labels(photo, maps, chosen, device), path)
    barrier()


def _trained(job: Job, stage: Stage) -> AffinityNet:
    """IRNet, trained unless it was before, in evaluation mode."""
    settings, chosen = job.settings, job.settings.refine.affinity
    backbone = trained_backbone(job)
    torch.manual_seed(settings.seed)
    # The two branches share nothing that learns: without instances one of them is not needed.
    net = AffinityNet(backbone, displacement=settings.refine.instances)
    net = net.to(device_of(settings.machine))
    path = stage.path / WEIGHTS
    if from_main(path.exists):
        load_weights(net.branches, path)
        forget_checkpoints(stage.path)
        return net.eval()
    samples = job.data.samples(settings.data.train)
    fit(
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
    finish(net.branches, path)
    return net.eval()


def _centre(job: Job, net: AffinityNet, samples: Sequence[Sample]) -> None:
    """Store the mean displacement, which instances subtract (IRN's mean shift)."""
    net.eval()
    sums, samples = [], share(samples)
    for sample in track(samples, "refine: mean shift", total=len(samples), unit="photos"):
        _, field = _boundaries(job, net, load_image(sample.image))
        assert field is not None
        sums.append(field.mean((1, 2)).cpu())
    net.set_mean_shift(torch.stack(in_order(sums)).mean(0))


def _boundaries(
    job: Job, net: AffinityNet, photo: Image.Image
) -> tuple[torch.Tensor, torch.Tensor | None]:
    chosen = job.settings.refine
    return boundaries(net, photo, chosen.affinity.input, chosen.longest)


def _walk(job: Job, stage: Stage, samples: Sequence[Sample], net: AffinityNet) -> None:
    chosen, samples = job.settings.refine, share(samples)
    for sample in track(samples, "refine: random walk", total=len(samples), unit="photos"):
        path = stage.path / "irn" / f"{sample.name}.npz"
        objects = stage.path / "instances" / f"{sample.name}.png"
        if path.exists() and (objects.exists() or not chosen.instances):
            continue
        photo, maps = load_image(sample.image), seed_maps(job, sample)
        edge, field = _boundaries(job, net, photo)
        if not path.exists():
            save_maps(path, walked(maps, edge, chosen.walk), maps.classes, maps.size)
        if field is not None:
            refined = load_maps(path)
            mask = seed(refined.full(), refined.classes, chosen.threshold)
            found = instances(field.cpu().numpy(), mask)
            # More objects than an 8-bit mask can tell apart share the last value.
            save_mask(np.minimum(found, 254).astype(np.uint8), objects)
