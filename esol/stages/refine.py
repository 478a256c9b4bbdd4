"""Stage 6, ``esol refine``: masks by CRF, maps by IRN, affinities, distil."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image

from esol.data.images import load_image, save_mask
from esol.data.memory import enough_memory
from esol.data.sample import Sample
from esol.maps.files import Maps, load_maps, save_maps
from esol.maps.localize import Reader, SizedSample
from esol.masks.crf import confident_labels, crf_masks
from esol.masks.instances import instances
from esol.masks.refine import boundaries, similar_maps, spread_maps
from esol.masks.seeds import photo_seed
from esol.networks.affinity import AffinityNet, affinity_losses
from esol.networks.similarity import CellSimilarity
from esol.runs.work import OpenStage
from esol.settings import MapKind
from esol.stages.distil import distil
from esol.stages.each_photo import each_photo
from esol.stages.fitting import train_once, trained_backbone, training_run
from esol.stages.job import Job
from esol.stages.photo_maps import feature_cache, lighter
from esol.stages.reads import of_classifier
from esol.system.distributed import all_in_order, all_wait, device_of, my_share
from esol.system.progress import track
from esol.training.features import FeatureCache
from esol.training.fit import fit
from esol.training.inputs import MaskFolder, photo_inputs


def refine(job: Job, stage: OpenStage) -> None:
    """Refine seeds; writes crf/NAME.png, affinity/NAME.npz, labels/NAME.png, irn.safetensors,
    irn/NAME.npz, network/head.safetensors and distil/NAME.npz.
    """
    settings = job.settings
    crf, irn, affinity = (name in settings.refine.methods for name in ("crf", "irn", "affinity"))
    samples = job.samples()
    _crf(job, stage, samples if crf else (), job.training_samples() if irn else ())
    if affinity:
        _affinity(job, stage, samples)
    if irn:
        network = _network(job, stage)
        _walk(job, stage, samples, network)
    if "distil" in settings.refine.methods:
        distil(job, stage, samples)
    stage.results |= {"photos": len(samples), "kind": settings.seed_kind}


def _maps(job: Job, sample: Sample, kind: MapKind | None = None) -> Maps:
    """The photo's maps of a kind; None: those that become seeds."""
    return load_maps(job.run.maps(kind or job.settings.seed_kind) / f"{sample.name}.npz")


def _crf(job: Job, stage: OpenStage, refined: Sequence[Sample], training: Sequence[Sample]) -> None:
    """Masks of some photos and confident labels of others; of one photo they share a lattice."""
    settings, device = job.settings.refine, device_of(job.settings.machine.device)
    masked, labelled = ({sample.name for sample in samples} for samples in (refined, training))
    sure = (settings.affinity.foreground, settings.affinity.background)
    samples = my_share(tuple({sample.name: sample for sample in (*refined, *training)}.values()))

    def refined_mask(sample: Sample) -> None:
        mask, labels = (stage.path / of / f"{sample.name}.png" for of in ("crf", "labels"))
        makes_mask = sample.name in masked and not mask.exists()
        makes_labels = sample.name in labelled and not labels.exists()
        thresholds = sure * makes_labels + (job.settings.seeds.threshold,) * makes_mask
        if not thresholds:
            return
        with enough_memory([sample.image], "refine.longest"):
            photo, maps = load_image(sample.image), _maps(job, sample)
            seeds = crf_masks(photo, maps, thresholds, settings, device)
            if makes_labels:
                save_mask(confident_labels(*seeds[:2]), labels)
            if makes_mask:
                save_mask(seeds[-1], mask)

    each_photo(job, refined_mask, samples, "refine: CRF")
    all_wait()


def cell_similarity(
    job: Job, samples: Sequence[Sample]
) -> tuple[CellSimilarity, FeatureCache | None]:
    """What the classifier's backbone finds alike, and its features where they can be cached."""
    similarity = CellSimilarity(trained_backbone(job), job.settings.refine.similarity)
    if not similarity.reads_features:
        return similarity, None
    tagged = tuple(sample for sample in samples if sample.tags)
    return similarity, feature_cache(
        job, similarity.backbone, tagged, of_classifier=of_classifier(job)
    )


def _affinity(job: Job, stage: OpenStage, samples: Sequence[Sample]) -> None:
    """Maps spread by what the classifier's backbone finds alike."""
    settings = job.settings
    similarity, cache = cell_similarity(job, samples)
    samples = my_share(samples)
    for sample in track(samples, "refine: affinity", total=len(samples), unit="photos"):
        path = stage.path / "affinity" / f"{sample.name}.npz"
        if not path.exists():
            maps = _maps(job, sample)
            with enough_memory([sample.image], lighter(settings)):
                photo = [SizedSample(sample, maps.size)]
                reader = Reader(photo, settings.input, cache, settings.machine.precision)
                spread = similar_maps(maps, similarity, reader, settings.refine.similarity)
            save_maps(path, spread, maps.classes, maps.size)


def _network(job: Job, stage: OpenStage) -> AffinityNet:
    """IRNet, trained unless it was before, in evaluation mode."""
    settings = job.settings.refine
    backbone = trained_backbone(job)
    torch.manual_seed(job.settings.seed)
    # The two branches share nothing that learns: without instances one of them is not needed.
    network = AffinityNet(backbone, displacement=settings.instances)
    network = network.to(device_of(job.settings.machine.device))
    weights = job.run.weights("refine")
    stage.results |= train_once(network.branches, weights, partial(_train, job, stage, network))
    return network.eval()


def _train(job: Job, stage: OpenStage, network: AffinityNet) -> dict[str, float]:
    settings, samples = job.settings.refine, job.training_samples()
    labels = MaskFolder(stage.path / "labels")
    losses = fit(
        network,
        partial(affinity_losses, radius=settings.affinity.radius),
        photo_inputs(
            samples,
            job.classes,
            settings.affinity.input,
            network.backbone.normalisation,
            labels,
        ),
        [
            (network.edge_parameters(), 1.0),
            (network.displacement_parameters(), settings.affinity.displacement_lr),
        ],
        settings.affinity.fit,
        training_run(
            job, stage.path, "refine: IRNet", "refine.affinity.fit", "refine.affinity.input"
        ),
    )
    if settings.instances:
        _centre(job, network, samples)
    return losses


def _centre(job: Job, network: AffinityNet, samples: Sequence[Sample]) -> None:
    """Store the mean displacement, which instances subtract (IRN's mean shift)."""
    network.eval()

    def mean_field(sample: Sample) -> torch.Tensor:
        with enough_memory([sample.image], "refine.longest"):
            _, field = _boundaries(job, network, load_image(sample.image))
            assert field is not None
            return field.mean((1, 2)).cpu()

    sums = each_photo(job, mean_field, my_share(samples), "refine: mean shift")
    network.set_mean_shift(torch.stack(all_in_order(sums)).mean(0))


def _boundaries(
    job: Job, network: AffinityNet, photo: Image.Image
) -> tuple[torch.Tensor, torch.Tensor | None]:
    settings, precision = job.settings.refine, job.settings.machine.precision
    return boundaries(network, photo, settings.affinity.input, settings.longest, precision)


def _walk(job: Job, stage: OpenStage, samples: Sequence[Sample], network: AffinityNet) -> None:
    settings = job.settings.refine

    def walked(sample: Sample) -> None:
        path = stage.path / "irn" / f"{sample.name}.npz"
        instances_path = stage.path / "instances" / f"{sample.name}.png"
        if path.exists() and (instances_path.exists() or not settings.instances):
            return
        with enough_memory([sample.image], "refine.longest"):
            photo, maps = load_image(sample.image), _maps(job, sample, job.settings.walk_kind)
            edge, field = _boundaries(job, network, photo)
            if not path.exists():
                save_maps(path, spread_maps(maps, edge, settings.walk), maps.classes, maps.size)
            if field is not None:
                mask = photo_seed(load_maps(path), settings.threshold)
                objects = instances(field.cpu().numpy(), mask)
                # More objects than an 8-bit mask can tell apart share the last value.
                save_mask(np.minimum(objects, 254).astype(np.uint8), instances_path)

    each_photo(job, walked, my_share(samples), "refine: random walk")
