"""Stage 8: the segmentation network."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from esol.data.images import load_image, save_mask
from esol.data.sample import Sample
from esol.networks.build import device_of, new_segmenter
from esol.networks.segmenter import Segmenter, segment_losses
from esol.predict.bundle import BUNDLE, redescribe, save_bundle
from esol.predict.model import load
from esol.runs.corrections import read_corrections
from esol.runs.folder import Part, Stage, stage_path
from esol.runs.outputs import CHECKPOINT
from esol.stages.job import Job, learned
from esol.system.distributed import from_main, share
from esol.system.progress import log, track
from esol.training.fit import fit, forget_checkpoints
from esol.training.inputs import MaskFolder, photo_inputs
from esol.training.steps import METRICS

PARTS = (
    Part(
        (BUNDLE, METRICS, f"{CHECKPOINT}*"),
        spared=(
            "after",
            "data",
            *(f"segment.{key}" for key in ("longest", "scales", "flip", "crf")),
        ),
    ),
    Part(("predictions",), spared=("after",)),
)
"""The network depends on neither the test settings nor the lists to measure. Neither depends on
masks other than those learned from, which have a key of their own."""


def segment(job: Job) -> None:
    """Stage 8: writes model.safetensors, and predictions/NAME.png of the evaluated lists."""
    settings, chosen = job.settings, job.settings.segment
    if chosen.network == "none":
        log.info("segment: off")
        return
    photos = _photos(job)
    corrected = _corrected(job, photos)
    description = _description(job, corrected.get("photos", 0))
    with job.enter(
        "segment",
        *("seed", "segment"),
        after=() if chosen.truth else ("masks",),
        lists=settings.data.evaluate,
        reads=_reads(job, photos),
        parts=PARTS,
    ) as stage:
        if stage is None:
            return
        path = stage.path / BUNDLE
        if from_main(path.exists):
            from_main(lambda: redescribe(path, description))
        else:
            network = _trained(job, stage, photos)
            from_main(lambda: save_bundle(path, network, description))
        forget_checkpoints(stage.path)
        _predict(job, stage)
        told = ("network", "encoder", "initial_weights", "learned_from")
        stage.results |= {"photos": len(photos), **learned(stage.path)}
        stage.results |= {name: description[name] for name in told}
        if corrected:
            files = read_corrections(job.run).sources
            stage.results["corrected"] = {**corrected, "files": files}


def _photos(job: Job) -> tuple[Sample, ...]:
    """What the network learns from."""
    samples = job.data.samples(job.settings.data.train)
    if job.settings.segment.truth:
        return tuple(sample for sample in samples if sample.mask is not None)
    return samples


def _masks(job: Job) -> MaskFolder:
    return MaskFolder(stage_path(job.run, "masks"), read_corrections(job.run).files())


def _corrected(job: Job, photos: tuple[Sample, ...]) -> dict[str, Any]:
    """What is corrected of the masks learned from; empty if nothing is."""
    if job.settings.segment.truth:
        return {}
    return read_corrections(job.run).of(photo.name for photo in photos)


def _reads(job: Job, photos: tuple[Sample, ...]) -> dict[str, Any]:
    """What the training reads, for the identity."""
    train, pseudo = job.settings.data.train, MaskFolder(stage_path(job.run, "masks"))
    reads: dict[str, Any] = {"train": job.data.fingerprint(train)}
    if job.settings.segment.truth:
        return reads | {"truth": job.data.truth_fingerprint(train)}
    reads["train masks"] = job.contents("masks", map(pseudo.path, photos))
    corrected = _corrected(job, photos)
    return reads | ({"corrected": corrected} if corrected else {})


def _trained(job: Job, stage: Stage, photos: tuple[Sample, ...]) -> Segmenter:
    settings, chosen = job.settings, job.settings.segment
    torch.manual_seed(settings.seed)
    net = new_segmenter(chosen, job.classes)
    net = net.to(device_of(settings.machine))
    masks = job.data.truth if chosen.truth else _masks(job)
    fit(
        net,
        segment_losses,
        photo_inputs(photos, job.classes, chosen.input, masks),
        [(net.encoder_parameters(), 1.0), (net.head_parameters(), chosen.head_lr)],
        fit=chosen.fit,
        machine=settings.machine,
        folder=stage.path,
        seed=settings.seed,
        label="segment",
    )
    return net.eval()


def _description(job: Job, corrected: int) -> dict[str, Any]:
    """What a model file says of itself besides its weights."""
    chosen = job.settings.segment
    pseudo = f"pseudo masks, {corrected} of them corrected" if corrected else "pseudo masks"
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
        "learned_from": "ground truth" if chosen.truth else pseudo,
    }


def _predict(job: Job, stage: Stage) -> None:
    """Masks of the evaluated lists, from the photos alone."""
    samples = share(job.data.samples(*job.settings.data.evaluate))
    model = load(stage.path / BUNDLE, job.settings.machine.device)
    for sample in track(samples, "segment: predict", total=len(samples), unit="photos"):
        path = stage.path / "predictions" / f"{sample.name}.png"
        if not path.exists():
            save_mask(model.predict(load_image(sample.image)).mask, path)
