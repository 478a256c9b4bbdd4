"""Stage 8: the segmentation network."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from esol.bundle import save_bundle
from esol.data.images import load_image, save_mask
from esol.data.inputs import MaskFolder, photo_inputs
from esol.losses import segment_losses
from esol.models.segmenter import Segmenter
from esol.networks import device_of
from esol.predict import load
from esol.progress import log, track
from esol.runfolder import Stage, stage_path
from esol.stages.job import Job
from esol.train import fit, forget_checkpoints

BUNDLE = "model.safetensors"


def segment(job: Job) -> None:
    """Stage 8: writes model.safetensors, and predictions/NAME.png of the evaluated lists."""
    settings, chosen = job.settings, job.settings.segment
    if chosen.network == "none":
        log.info("segment: off")
        return
    lists = settings.data.evaluate
    reads = {"train": settings.data.train}
    if chosen.truth:
        reads["truth"] = job.data.truth_fingerprint(settings.data.train)
    after = () if chosen.truth else ("masks",)
    with job.enter(
        "segment", "seed", "segment", after=after, lists=(settings.data.train, *lists), reads=reads
    ) as stage:
        if stage is None:
            return
        path = stage.path / BUNDLE
        if not path.exists():
            save_bundle(path, _trained(job, stage), _description(job))
        forget_checkpoints(stage.path)
        _predict(job, stage)
        kept = ("network", "encoder", "initial_weights", "learned_from")
        stage.results |= {name: _description(job)[name] for name in kept}


def _trained(job: Job, stage: Stage) -> Segmenter:
    settings, chosen = job.settings, job.settings.segment
    torch.manual_seed(settings.seed)
    net = Segmenter(
        chosen.network,
        chosen.encoder,
        weights=chosen.weights,
        stride=chosen.stride,
        norm=chosen.norm,
        labels=job.classes + 1,
    )
    net = net.to(device_of(settings.machine))
    samples = job.data.samples(settings.data.train)
    masks = MaskFolder(stage_path(job.run, "masks"))
    if chosen.truth:
        samples = tuple(sample for sample in samples if sample.mask is not None)
    stage.results |= {"photos": len(samples)}
    stage.results |= fit(
        net,
        segment_losses,
        photo_inputs(samples, job.classes, chosen.input, job.data.truth if chosen.truth else masks),
        [(net.encoder_parameters(), 1.0), (net.head_parameters(), chosen.head_lr)],
        fit=chosen.fit,
        machine=settings.machine,
        folder=stage.path,
        seed=settings.seed,
        label="segment",
    )
    return net.eval()


def _description(job: Job) -> dict[str, Any]:
    """What a model file says of itself besides its weights."""
    chosen = job.settings.segment
    return {
        "classes": job.data.classes,
        "network": chosen.network,
        "encoder": chosen.encoder,
        "stride": chosen.stride,
        "norm": chosen.norm,
        "resize": chosen.input.resize,
        "size": chosen.input.size,
        "longest": chosen.longest,
        "scales": chosen.scales,
        "flip": chosen.flip,
        "crf": asdict(chosen.crf),
        "initial_weights": Path(chosen.weights).name,
        "learned_from": "ground truth" if chosen.truth else "pseudo masks",
    }


def _predict(job: Job, stage: Stage) -> None:
    """Masks of the evaluated lists, from the photos alone."""
    samples = job.data.samples(*job.settings.data.evaluate)
    model = load(stage.path / BUNDLE, job.settings.machine.device)
    for sample in track(samples, "segment: predict", total=len(samples), unit="photos"):
        path = stage.path / "predictions" / f"{sample.name}.png"
        if not path.exists():
            save_mask(model.predict(load_image(sample.image)).mask, path)
