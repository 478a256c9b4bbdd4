"""Stage 8, ``esol segment``: the segmentation network."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from esol.data.images import load_image, save_mask
from esol.data.memory import enough_memory
from esol.data.sample import Sample
from esol.masks.pseudo import statistics
from esol.networks.pretrained import licensed
from esol.networks.segmenter import Segmenter, label_weights, segment_losses
from esol.predict.bundle import redescribe, save_bundle
from esol.predict.model import load
from esol.runs.work import OpenStage
from esol.settings import HEAD
from esol.stages.each_photo import each_photo
from esol.stages.fitting import last_losses, trained_backbone, training_inputs, training_run
from esol.stages.job import Job
from esol.stages.reads import of_classifier, segment_corrected, segment_photos
from esol.system.distributed import all_from_main, device_of, my_share
from esol.training.features import FeatureCache, cache_folder, compute_features
from esol.training.fit import fit, forget_checkpoints
from esol.training.inputs import MaskFolder, Masks, photo_inputs


def segment(job: Job, stage: OpenStage) -> None:
    """Train the network on pseudo masks; writes model.safetensors, predictions/NAME.png."""
    settings = job.settings.segmenter
    photos, corrected = segment_photos(job), segment_corrected(job)
    description = _description(job, corrected.get("photos", 0))
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


def _trained(job: Job, stage: OpenStage, photos: tuple[Sample, ...]) -> Segmenter:
    settings = job.settings.segmenter
    backbone = trained_backbone(job, fold=False) if settings.network == HEAD else None
    torch.manual_seed(job.settings.seed)
    network = Segmenter(settings, job.classes + 1, backbone)
    network = network.to(device_of(job.settings.machine.device))
    pseudo = MaskFolder(job.run.masks("masks"), job.run.corrections.files())
    masks = job.data.truth if settings.truth else pseudo
    if backbone is None:
        inputs = photo_inputs(photos, job.classes, settings.input, network.normalisation, masks)
    else:
        own = of_classifier(job)
        inputs = training_inputs(job, backbone, masks, of_classifier=own, samples=photos)
    weights: torch.Tensor | None = None
    if settings.balance:
        assert masks is not None
        weights = all_from_main(partial(weights_of_labels, job, photos, masks))
    fit(
        network,
        partial(segment_losses, weights=weights),
        inputs,
        [(network.encoder_parameters(), 1.0), (network.head_parameters(), settings.head_lr)],
        settings.fit,
        training_run(job, stage.path, "segment", "segment.fit", job.settings.key_of_segment_input),
    )
    return network.eval()


def weights_of_labels(job: Job, photos: tuple[Sample, ...], masks: Masks) -> torch.Tensor:
    """Weights of the labels in the loss, by the masks that are learned from."""
    summary = statistics(((masks(photo), photo.tags) for photo in photos), job.data.classes)
    return label_weights([one["share"] for one in summary["per_class"].values()])


def _description(job: Job, corrected: int) -> dict[str, Any]:
    """What a model file says of itself besides its weights."""
    settings = job.settings.segmenter
    pseudo = f"pseudo masks, {corrected} of them corrected" if corrected else "pseudo masks"
    return {
        "classes": job.data.classes,
        "network": settings.network,
        "encoder": settings.encoder,
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
    photos, machine = job.data.samples(*job.settings.data.evaluate), job.settings.machine
    model = load(job.run.weights("segment"), machine.device, machine.precision)
    cache = _features(job, photos)

    def predict(sample: Sample) -> None:
        path = job.run.masks("segmentation") / f"{sample.name}.png"
        if path.exists():
            return
        with enough_memory([sample.image], "segment.longest", "segment.scales"):
            seen = None if cache is None else cache.both(sample)
            save_mask(model.mask(load_image(sample.image), seen), path)

    each_photo(job, predict, my_share(photos), "segment: predict")


def _features(job: Job, samples: tuple[Sample, ...]) -> FeatureCache | None:
    """What a head on the backbone sees of the photos, where it is cached."""
    settings = job.settings.segment
    if settings.network != HEAD or settings.scales != (1.0,):
        return None
    key = job.cache_key(of_classifier=of_classifier(job))
    if key is None:
        return None
    cache = FeatureCache(cache_folder(job.settings, job.run.path, key))
    if not cache.missing(samples):  # and no backbone is needed
        return cache
    return compute_features(trained_backbone(job), samples, job.settings, job.run.path, key)
