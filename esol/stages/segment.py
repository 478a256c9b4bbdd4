"""Stage 8, ``esol segment``: the segmentation network."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from esol.data.images import load_image, save_mask
from esol.data.memory import enough_memory
from esol.data.sample import Sample
from esol.networks.pretrained import licensed
from esol.networks.segmenter import Segmenter, segment_losses
from esol.predict.bundle import BUNDLE, redescribe, save_bundle
from esol.predict.model import load
from esol.runs.manifest import CHECKPOINT
from esol.runs.work import OpenStage, Part
from esol.settings import requested_stride
from esol.stages.fitting import last_losses
from esol.stages.job import Job
from esol.system.distributed import all_from_main, device_of, my_share
from esol.system.progress import track
from esol.training.fit import fit, forget_checkpoints
from esol.training.inputs import MaskFolder, photo_inputs
from esol.training.steps import METRICS

_NETWORK = (
    *(f"segment.{key}" for key in ("network", "encoder", "weights", "stride", "norm")),
    *(f"segment.{key}" for key in ("mean", "std", "input", "fit", "head_lr", "truth")),
    *("seed", "train", "truth", "train masks", "corrected", "machine"),
)
"""What the network is made of: masks of the training list, not of others."""
_TESTING = tuple(f"segment.{key}" for key in ("longest", "scales", "flip", "crf"))
PARTS = (
    Part((BUNDLE, METRICS, f"{CHECKPOINT}*"), reads=_NETWORK),
    Part(("predictions",), reads=(*_NETWORK, *_TESTING, "data")),
)


def segment(job: Job) -> None:
    """Train the network on pseudo masks; writes model.safetensors, predictions/NAME.png."""
    settings = job.settings.segment
    photos = _photos(job)
    corrected = _corrected(job, photos)
    description = _description(job, corrected.get("photos", 0))
    with job.enter(
        "segment",
        after=() if settings.truth else ("masks",),
        lists=job.settings.data.evaluate,
        reads=_reads(job, photos),
        parts=PARTS,
    ) as stage:
        if stage is None:
            return
        path = job.run.weights("segment")
        if all_from_main(path.exists):
            all_from_main(lambda: redescribe(path, description))
        else:
            network = _trained(job, stage, photos)
            all_from_main(lambda: save_bundle(path, network, description))
        forget_checkpoints(stage.path)
        _predict(job, stage)
        named = ("network", "encoder", "initial_weights", "learned_from")
        stage.results |= {"photos": len(photos), **last_losses(stage.path)}
        stage.results |= {name: description[name] for name in named} | licensed(settings)
        if corrected:
            files = job.run.corrections.sources
            stage.results["corrected"] = {**corrected, "files": files}


def _photos(job: Job) -> tuple[Sample, ...]:
    """What the network learns from."""
    samples = job.training_samples()
    if job.settings.segment.truth:
        return tuple(sample for sample in samples if sample.mask is not None)
    return samples


def _corrected(job: Job, photos: tuple[Sample, ...]) -> dict[str, Any]:
    """What is corrected of the masks learned from; empty if nothing is."""
    if job.settings.segment.truth:
        return {}
    return job.run.corrections.of(photo.name for photo in photos)


def _reads(job: Job, photos: tuple[Sample, ...]) -> dict[str, Any]:
    """What the training reads, for the identity."""
    train, pseudo = job.settings.data.train, MaskFolder(job.run.masks("masks"))
    reads: dict[str, Any] = {"train": job.data.fingerprint(train)}
    if job.settings.segment.truth:
        return reads | {"truth": job.data.truth_fingerprint(train)}
    reads["train masks"] = job.contents("masks", map(pseudo.path, photos))
    corrected = _corrected(job, photos)
    return reads | ({"corrected": corrected} if corrected else {})


def _trained(job: Job, stage: OpenStage, photos: tuple[Sample, ...]) -> Segmenter:
    settings = job.settings.segment
    torch.manual_seed(job.settings.seed)
    network = Segmenter(settings, job.classes + 1)
    network = network.to(device_of(job.settings.machine.device))
    pseudo = MaskFolder(job.run.masks("masks"), job.run.corrections.files())
    masks = job.data.truth if settings.truth else pseudo
    fit(
        network,
        segment_losses,
        photo_inputs(photos, job.classes, settings.input, network.normalisation, masks),
        [(network.encoder_parameters(), 1.0), (network.head_parameters(), settings.head_lr)],
        settings.fit,
        job.training_run(stage.path, "segment", "segment.fit", "segment.input"),
    )
    return network.eval()


def _description(job: Job, corrected: int) -> dict[str, Any]:
    """What a model file says of itself besides its weights."""
    settings = job.settings.segment
    pseudo = f"pseudo masks, {corrected} of them corrected" if corrected else "pseudo masks"
    return {
        "classes": job.data.classes,
        "network": settings.network,
        "encoder": settings.encoder,
        "stride": requested_stride(settings),
        "norm": settings.norm,
        "resize": settings.input.resize,
        "size": settings.input.size,
        "longest": settings.longest,
        "scales": settings.scales,
        "flip": settings.flip,
        "crf": asdict(settings.crf),
        "initial_weights": Path(settings.weights).name,
        "learned_from": "ground truth" if settings.truth else pseudo,
        **licensed(settings),
    }


def _predict(job: Job, stage: OpenStage) -> None:
    """Masks of the evaluated lists, from the photos alone."""
    samples = my_share(job.data.samples(*job.settings.data.evaluate))
    machine = job.settings.machine
    model = load(job.run.weights("segment"), machine.device, machine.precision)
    for sample in track(samples, "segment: predict", total=len(samples), unit="photos"):
        path = job.run.masks("segmentation") / f"{sample.name}.png"
        if path.exists():
            continue
        with enough_memory([sample.image], "segment.longest", "segment.scales"):
            save_mask(model.mask(load_image(sample.image)), path)
