"""What is refused before any work, because it would only fail hours later."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from esol.data import Dataset, Sample
from esol.data.balance import tag_warnings
from esol.data.doubles import double_warnings
from esol.data.images import image_size
from esol.data.reading import Truth
from esol.data.selection import evenly_spaced
from esol.data.truth import Shown, against_tags, only_ignored, shown, total_pixels
from esol.errors import InputError
from esol.networks.identity import network_identity
from esol.networks.initial import NAMED
from esol.runs.earlier import earlier_run
from esol.runs.folder import SETTINGS
from esol.runs.manifest import OTHER_CONTENTS, UNSAID, first_difference
from esol.runs.plan import Plan
from esol.runs.stages import STAGES
from esol.runs.work import OtherSettingsError
from esol.settings import Settings, source_parts
from esol.stages.job import Job, computes
from esol.system.distributed import processes
from esol.system.files import plain
from esol.system.progress import log

LOOKED_AT = 100
"""Most masks of a list that are read before any work, unless these are wrong."""


def check_places(job: Job) -> None:
    """Look at folders and lists, without which no stage's identity is known.

    Raises:
        InputError: the run is among the photos, or there is no such list or tracker.
    """
    if job.run.path.resolve() == job.data.root.resolve():
        raise InputError(f"{job.run.path} is the data folder; give another folder for the results")
    if (init := job.settings.classify.init) and Path(init).resolve() == job.run.path.resolve():
        raise InputError(
            f"classify.init = {init}: the run itself; give the new run a folder of its own:"
            f" esol run {init}/{SETTINGS} {job.data.root} OUT --classify.init {init}"
        )
    if job.settings.machine.track != "none":
        from esol.training.tracking import check_tracker  # and Accelerate, which few need here

        check_tracker(job.settings.machine)
    lists = job.lists()
    if unknown := [name for name in lists if name not in job.data.splits]:
        known = ", ".join(job.data.splits)
        raise InputError(
            f"cams.lists = {unknown[0]!r}: must be of data.train, data.evaluate ({known})"
        )
    if left_out := [name for name in job.settings.data.evaluate if name not in lists]:
        raise InputError(f"cams.lists: must hold {left_out[0]!r}, which data.evaluate measures")


def check_others(job: Job, names: Sequence[str], order: Sequence[str], *, idle: bool) -> None:
    """Refuse settings and photos that finished stages outside of the command do not have.

    The run would then say of itself what it was not made with, and what is measured or learned
    from would not be what the settings say. Later stages have to follow the work that is done
    now, perhaps with other settings; if none is done, their own settings must stay.

    Args:
        job: settings, data and run.
        names: stages of the command.
        order: all stages of the method.
        idle: whether there is nothing to do: the later stages are looked at, and not the earlier.

    Raises:
        OtherSettingsError: there are such.
    """
    if not names:
        return
    place = order.index(names[-1]) + 1 if idle else order.index(names[0])
    for name in order[place:] if idle else order[:place]:
        if not job.run.is_finished(name):
            continue
        identity = job.run.manifest(name)["identity"]
        groups = [key for key in identity if not idle or key == name]
        if computes(identity) and not idle and "machine" not in groups:
            groups.append("machine")
        old, new = _comparable(job, identity, groups)
        if difference := first_difference(old, new):
            call = f"esol run {job.run.path}"
            advice = f"leave that setting out, or change it there: {call} --from {name} --overwrite"
            if difference.removeprefix(OTHER_CONTENTS).startswith("data."):
                advice = f"the photos are others now; make all anew: {call} --overwrite"
            raise OtherSettingsError(f"{job.run.stage(name)} was made with {difference}", advice)


def _comparable(
    job: Job, identity: Mapping[str, Any], groups: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and photos in a finished stage's identity, and what they are in this job."""
    settings, known = job.settings.resolved(), {one.name for one in fields(Settings)} - {"data"}
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    for key in groups:
        if key in known:
            old[key] = identity.get(key, UNSAID.get(key))
            new[key] = plain(settings.group(key))
        elif key == "data" and isinstance(identity[key], dict):
            lists = [name for name in identity[key] if name in job.data.splits]
            new[key] = plain(job.data.fingerprint(*lists))
            old[key] = {part: identity[key].get(part) for part in new[key]}
    if "classify" in new:
        new["classify"] |= plain(job.init)
    for key in ("backbone", "segment"):
        if key in new and isinstance(old[key], dict):
            network = getattr(settings, key)
            # A finished stage needs them no more: they may be gone.
            gone = network.weights not in NAMED and not Path(network.weights).is_file()
            there = replace(network, weights="imagenet") if gone else network
            new[key] = plain(network_identity(there, key, settings.input.one_side))
            if gone:
                new[key]["weights"] = old[key].get("weights")
    return old, new


def check_input(job: Job, plan: Plan) -> None:
    """Look at what the stages to be worked on will need.

    Raises:
        InputError: something is missing or does not fit.
    """
    todo = tuple(plan.to_do)
    if not todo:
        return
    _check_lists(job, todo)
    _check_batches(job, todo)
    _check_truth(job, todo)
    if job.settings.classify.init and "classify" in todo:
        _check_earlier(job.settings, job.data.classes)
    if job.settings.masks.saliency and "masks" in todo:
        job.check_saliency(*job.lists())
    elif job.settings.method == "eps" and "peer" in todo:
        job.check_saliency(job.settings.data.train)
    if "segment" in todo or "evaluate" in todo:
        job.run.corrections.check(job.data.classes)
    if any(STAGES[name].weights for name in todo):
        _check_networks(job, plan)
    if "segment" in todo:
        _check_sizes(job.settings)
    # What was said when the run began need not be said again when it goes on.
    if job.settings.learns[0] in todo:
        tags = [sample.tags for sample in job.training_samples()]
        for line in tag_warnings(job.settings.data.train, tags, job.data.classes):
            log.warning("%s", line)
        for line in double_warnings(job.data.samples(name) for name in job.lists()):
            log.warning("%s", line)


def _check_earlier(settings: Settings, classes: tuple[str, ...]) -> None:
    """The classifier of an earlier run is of the same network, and knows some of the classes."""
    init, backbone = settings.classify.init, settings.backbone
    earlier = earlier_run(init)
    network: dict[str, Any] = {
        "backbone": network_identity(backbone, "backbone", settings.input.one_side),
        "head": settings.group("head"),
    }
    old: dict[str, Any] = {group: {**earlier.made_with[group]} for group in network}
    if backbone.frozen and backbone.weights == "none":  # features of the seed
        network["seed"], old["seed"] = settings.seed, earlier.made_with["seed"]
    for group in (network, old):
        group["backbone"].pop("cache", None)
    if difference := first_difference(old, plain(network)):
        raise InputError(
            f"classify.init = {init}: its classifier was made with {difference}; set what it was"
            " made with, or leave classify.init out"
        )
    if not earlier.rows(classes):
        raise InputError(
            f"classify.init = {init}: none of its classes ({', '.join(earlier.classes)}) is among"
            f" those of the photos ({', '.join(classes)}); leave classify.init out"
        )
    earlier.run.check_outputs("classify")


def _check_networks(job: Job, plan: Plan) -> None:
    """Build those that are still to be trained."""
    # Not above: a command that trains nothing needs neither PyTorch nor timm, 4 s.
    from esol.stages.networks import check_similarity, networks

    if "refine" in plan.to_do:
        check_similarity(job.settings)
    for network in networks(job.settings, job.classes, lambda *of: _trains(job, plan, *of)):
        del network  # one at a time


def _trains(job: Job, plan: Plan, stage: str, kind: str) -> bool:
    """Whether a network has still to be trained, and needs its initial weights."""
    outlook = plan.to_do.get(stage)
    return outlook is not None and job.run.weights(stage, kind).name not in outlook.kept


def _check_lists(job: Job, todo: Sequence[str]) -> None:
    settings, lists = job.settings, job.lists()
    masks, segment = settings.masks, settings.segment
    _, crf = source_parts(masks.source)
    given = masks.saliency and not crf  # what auto means is a constant there
    chooses = not isinstance(masks.threshold, float) and not given
    learns = (
        ("refine" in todo and not {"irn", "distil"}.isdisjoint(settings.refine.methods))
        or ("masks" in todo and chooses)
        or ("segment" in todo and not segment.truth)
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


def _check_sizes(settings: Settings) -> None:
    """Maps never show a network more than it has learned from; here the setting decides."""
    segment = settings.segmenter
    key, (low, high) = settings.key_of_segment_input, segment.input.longest
    if segment.input.resize == "crop" and segment.longest > high:
        log.warning(
            "segment.longest = %d: the network is tested on photos larger than those it learns from"
            " (%s.longest: [%d, %d]); lower it, or widen that range",
            *(segment.longest, key, low, high),
        )


def _check_truth(job: Job, todo: Sequence[str]) -> None:
    """Masks have their photos' sizes, and are there where they are learned from."""
    data, lists = job.data, job.settings.data.evaluate
    segment = job.settings.segment
    if "segment" in todo and segment.truth:
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
