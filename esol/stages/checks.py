"""What is refused before any work, because it would only fail hours later."""

from collections.abc import Sequence

from esol.data import Dataset, Sample
from esol.data.balance import tag_warnings
from esol.data.images import image_size
from esol.data.reading import Truth
from esol.data.selection import evenly_spaced
from esol.data.truth import Shown, against_tags, only_ignored, shown, total_pixels
from esol.errors import InputError
from esol.method.classifier import Classifier
from esol.networks.affinity import AffinityNet
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter
from esol.networks.weights import weights_digest
from esol.runs.stages import STAGES
from esol.settings import Segment, Settings
from esol.stages.fitting import new_peer
from esol.stages.job import Job
from esol.system.distributed import processes
from esol.system.progress import log
from esol.training.tracking import check_tracker

LOOKED_AT = 100
"""Most masks of a list that are read before any work, unless these are wrong."""


def check_input(job: Job, stages: Sequence[str]) -> None:
    """Look at what the stages to be run will need.

    Raises:
        InputError: something is missing or does not fit.
    """
    if job.run.path.resolve() == job.data.root.resolve():
        raise InputError(f"{job.run.path} is the data folder; give another folder for the results")
    if job.settings.machine.track != "none":
        check_tracker(job.settings.machine)
    todo = [stage for stage in stages if job.overwrite or not job.run.is_finished(stage)]
    _check_lists(job, todo)
    _check_batches(job, todo)
    _check_truth(job, todo)
    if job.settings.masks.saliency and "masks" in todo:
        job.check_saliency(*job.lists())
    elif job.settings.method == "eps" and "peer" in todo:
        job.check_saliency(job.settings.data.train)
    if "segment" in todo or "evaluate" in todo:
        job.run.corrections.check(job.data.classes)
    _check_networks(job, todo)
    if "segment" in todo:
        _check_sizes(job.settings.segment)
    tags = [sample.tags for sample in job.training_samples()]
    for line in tag_warnings(job.settings.data.train, tags, job.data.classes):
        log.warning("%s", line)


def _check_lists(job: Job, todo: Sequence[str]) -> None:
    settings, lists = job.settings, job.lists()
    unknown = [name for name in lists if name not in job.data.splits]
    if unknown:
        known = ", ".join(job.data.splits)
        raise InputError(
            f"cams.lists = {unknown[0]!r}: must be of data.train, data.evaluate ({known})"
        )
    left_out = [name for name in settings.data.evaluate if name not in lists]
    if left_out:
        raise InputError(f"cams.lists: must hold {left_out[0]!r}, which data.evaluate measures")
    masks, segment = settings.masks, settings.segment
    given = masks.saliency and masks.source != "crf"  # what auto means is a constant there
    chooses = not isinstance(masks.threshold, float) and not given
    learns = (
        ("refine" in todo and "irn" in settings.refine.methods)
        or ("masks" in todo and chooses)
        or ("segment" in todo and segment.network != "none" and not segment.truth)
    )
    if learns and settings.data.train not in lists:
        raise InputError(
            f"cams.lists: must hold {settings.data.train!r} (data.train), which later stages learn"
            " from; or set refine.methods: [], masks.source: seeds, masks.threshold: NUMBER and"
            " segment.network: none"
        )


def _check_batches(job: Job, todo: Sequence[str]) -> None:
    """Every process gets an equal part of a batch, so that their mean is the batch's."""
    if (n := processes()) == 1:
        return
    fits = [fit for stage in todo for fit in STAGES[stage].fits(job.settings).items()]
    for key, optimisation in fits:
        if (batch := optimisation.batch) % n:
            near = max(1, round(batch / n)) * n
            raise InputError(
                f"{key}.batch = {batch}: has no equal parts for {n} processes; set"
                f" {key}.batch: {near}, or start another number"
            )


def _check_sizes(segment: Segment) -> None:
    """Maps never show a network more than it has learned from; here the setting decides."""
    low, high = segment.input.longest
    if segment.network != "none" and segment.input.resize == "crop" and segment.longest > high:
        log.warning(
            "segment.longest = %d: the network is tested on photos larger than those it learns from"
            " (segment.input.longest: [%d, %d]); lower it, or widen that range",
            *(segment.longest, low, high),
        )


def _check_truth(job: Job, todo: Sequence[str]) -> None:
    """Masks have their photos' sizes, and are there where they are learned from."""
    data, lists = job.data, job.settings.data.evaluate
    segment = job.settings.segment
    if "segment" in todo and segment.truth and segment.network != "none":
        train = job.settings.data.train
        if data.truth is None or all(s.mask is None for s in data.samples(train)):
            raise InputError(
                f"segment.truth: {train} has no masks to learn from; set segment.truth: false"
            )
        lists = (train, *lists)
    for sample in data.samples(*lists):
        if sample.mask is not None and sample.mask.is_file():
            mask, photo = image_size(sample.mask), image_size(sample.image)
            if mask != photo:
                raise InputError(
                    f"{sample.mask}: {mask} pixels, its photo {photo}: make them equal"
                )
    _check_masks(data, lists)


def _check_masks(data: Dataset, lists: Sequence[str]) -> None:
    """Mask files show classes, and those of the tags.

    Some are read, evenly spaced; all, if these are wrong.
    """
    truth = data.truth
    if not isinstance(truth, Truth):
        return
    where = data.root / data.mask_set
    for split in dict.fromkeys(lists):
        samples = [s for s in data.samples(split) if s.mask is not None and s.mask.is_file()]
        for some in (evenly_spaced(tuple(samples), LOOKED_AT), samples):
            masks = [_shown(data, truth, sample) for sample in some]
            ignored = only_ignored(total_pixels(masks))
            problem, warning = against_tags(masks, data.classes, alphabetical=truth.alphabetical)
            if not ignored and not problem:
                break
            if len(some) == len(samples):
                raise InputError(f"{where}: list {split!r}: {ignored or problem}")
        if warning:
            log.warning("%s: list %r: %s", where, split, warning)


def _shown(data: Dataset, truth: Truth, sample: Sample) -> Shown:
    tags = [data.classes[tag] for tag in sample.tags]
    return shown(truth(sample), sample.mask or sample.image, tags, data.classes)


def _check_networks(job: Job, todo: Sequence[str]) -> None:
    """Networks can be built, and their initial weights can be had."""
    settings, segment = job.settings, job.settings.segment
    # Files first: a download that fails takes a minute.
    learns = [stage for stage in settings.learns if stage in todo]
    if learns:
        weights_digest(settings.backbone.weights)
    if "segment" in todo and segment.network != "none":
        weights_digest(segment.weights, "segment.weights")
    if "classify" in learns:
        _check_scales(settings, Classifier.start(settings, job.classes).backbone)
    if "peer" in learns:
        for kind in settings.map_kinds:
            _check_scales(settings, new_peer(job, kind).backbone)
    if "refine" in todo and "irn" in settings.refine.methods:
        backbone = Backbone.fixed(settings.backbone, settings.input.one_side)
        AffinityNet(backbone, displacement=False)
    if "segment" in todo and segment.network != "none":
        stride = Segmenter(segment, job.classes + 1).actual_stride
        if segment.stride not in ("auto", stride):
            log.warning(
                "segment.stride = %s has no effect: %s with %s has stride %d; set it to auto",
                *(segment.stride, segment.network, segment.encoder, stride),
            )


def _check_scales(settings: Settings, backbone: Backbone) -> None:
    """A network for photos of one size makes maps at one scale."""
    if backbone.side and set(settings.cams.scales) != {1}:
        raise InputError(
            f"cams.scales = {list(settings.cams.scales)}: {backbone.name} takes photos of one size"
            " only; set cams.scales: [1.0], or take another network"
        )
