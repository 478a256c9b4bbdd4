"""Stage 7, ``esol masks``: pseudo masks, what the segmentation network learns from."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data.images import image_size, load_image, load_mask, save_mask
from esol.data.memory import enough_memory
from esol.data.saliency import load_saliency
from esol.data.sample import Sample
from esol.data.selection import evenly_spaced
from esol.maps.files import Maps, load_maps
from esol.masks.background import Background, background_warning
from esol.masks.crf import crf_masks
from esol.masks.fusion import fuse
from esol.masks.pseudo import PseudoMask, from_mask, pseudo_mask, statistics
from esol.masks.threshold import choose_threshold, estimate_background, threshold_of_share
from esol.ops.cells import bands
from esol.runs.work import OpenStage
from esol.settings import Masks, source_parts
from esol.settings.checks import percent
from esol.stages.each_photo import each_photo, workers_of
from esol.stages.job import Job
from esol.stages.reads import mask_maps
from esol.system.distributed import all_from_main, all_in_order, device_of, my_share
from esol.system.files import write_atomic, write_json
from esol.system.progress import log, track

CONFIDENCE = "confidence.csv"

_Row = tuple[str, float, float, float]

SALIENT_THRESHOLD = 0.1
"""What auto means with saliency, which parts objects from background: the scores need only say
which class it is (docs/masks.md)."""

_NEARLY_NONE = 0.02
"""Share of background below which a mask is nearly all foreground."""

_SAMPLE = 200
"""Photos, evenly spaced, on which a CRF is asked for the share of background."""


def masks(job: Job, stage: OpenStage) -> None:
    """Make pseudo masks; writes NAME.png, confidence.csv and statistics.json."""
    settings, samples = job.settings.masks, job.samples()
    background, threshold = all_from_main(lambda: _threshold(job))

    def made(sample: Sample) -> _Row:
        with enough_memory([sample.image]):
            pseudo = _mask(job, sample, threshold)
            save_mask(pseudo.mask, stage.path / f"{sample.name}.png")
        return sample.name, pseudo.confidence, pseudo.coverage, pseudo.ignored

    rows = all_in_order(each_photo(job, made, my_share(samples), "masks"))
    summary = all_from_main(lambda: _summed(job, stage, samples, rows))
    tagged = {sample.name for sample in samples if sample.tags}
    shares = [1 - row[2] - row[3] for row in rows if row[0] in tagged]
    _report(settings, summary, shares, background)
    stage.results |= {
        "photos": len(samples),
        "source": settings.source,
        "threshold": threshold,
        "estimated_background": {"share": background.share, "certainty": background.certainty},
        "tagged_background": float(np.mean(shares)),
        **{name: summary[name] for name in ("background", "ignored", "empty")},
    }


def _report(
    settings: Masks, summary: Mapping[str, Any], shares: Sequence[float], estimate: Background
) -> None:
    """Log what may be wrong with the masks of tagged photos; ``shares`` are of their background."""
    if summary["empty"]:
        wider = "give a larger share" if "%" in str(settings.threshold) else "lower masks.threshold"
        what = "masks: %d of %d photos are all background; train longer, or %s"
        log.warning(what, summary["empty"], len(shares), wider)
    of_class = summary["per_class"].items()
    if never := [name for name, one in of_class if one["tagged"] and not one["pixels"]]:
        what = "masks: no mask shows %s: train longer (classify.fit), or lower masks.threshold"
        log.warning(what, ", ".join(never))
    if "%" in str(settings.threshold):
        return  # the user has said how much of a photo the objects fill
    background = float(np.mean(shares))
    what = "masks: objects fill %.0f %% of a tagged photo on average; if yours fill"
    what += " much less or more, give their share: --masks.threshold 5%%"
    log.info(what, 100 * (1 - background))
    if warning := background_warning(background, estimate):
        log.warning("masks: %s", warning)
    full = sum(share < _NEARLY_NONE for share in shares)
    if full > len(shares) / 4:
        what = "masks: %d of %d tagged photos have (nearly) no background; if they should have, say"
        what += " how much of them the objects fill, such as masks.threshold 30%%"
        log.warning(what, full, len(shares))


def _summed(
    job: Job, stage: OpenStage, samples: Sequence[Sample], rows: Iterable[_Row]
) -> dict[str, Any]:
    """Statistics of the written masks; writes confidence.csv and statistics.json."""
    _write_table(stage.path / CONFIDENCE, rows)
    written = ((load_mask(stage.path / f"{s.name}.png"), s.tags) for s in samples)
    summary = statistics(written, job.data.classes)
    write_json(stage.path / "statistics.json", summary)
    return summary


def _maps(job: Job, sample: Sample) -> Maps:
    """The maps that become the mask."""
    return load_maps(job.run.maps(mask_maps(job)) / f"{sample.name}.npz")


def _threshold(job: Job) -> tuple[Background, float]:
    """Share of background that a CRF suggests, and the threshold of the masks."""
    settings, train = job.settings.masks, job.settings.data.train
    photos = job.training_samples() if train in job.lists() else job.samples()
    background = estimated_background(job, photos, "masks: background")
    if isinstance(settings.threshold, float):
        return background, settings.threshold
    maps = (_maps(job, sample) for sample in photos)
    if share := percent(settings.threshold):
        threshold = threshold_of_share(maps, share)
        log.info("masks: threshold %.2f, at which objects fill %s", threshold, settings.threshold)
        return background, threshold
    elif settings.saliency and not source_parts(settings.source)[1]:
        return background, SALIENT_THRESHOLD
    else:
        threshold = choose_threshold(maps, background)
    log.info("masks: threshold %.2f, chosen from the maps of %s", threshold, train)
    return background, threshold


def estimated_background(job: Job, photos: Sequence[Sample], label: str) -> Background:
    """What a CRF on some of the photos says of their background."""
    chosen = evenly_spaced(tuple(sample for sample in photos if sample.tags), _SAMPLE)
    device = device_of(job.settings.machine.device)
    return estimate_background(_loaded(job, chosen, label), device, workers_of(job, chosen))


def _loaded(job: Job, samples: Sequence[Sample], label: str) -> Iterator[tuple[Image.Image, Maps]]:
    """Photos and their maps of the kind with which the method ends."""
    folder = job.run.maps(job.settings.map_kinds[-1])
    for sample in track(samples, label, total=len(samples), unit="photos"):
        with enough_memory([sample.image]):
            yield load_image(sample.image), load_maps(folder / f"{sample.name}.npz")


def _mask(job: Job, sample: Sample, threshold: float) -> PseudoMask:
    settings = job.settings.masks
    saliency: NDArray[np.float32] | None = None
    if settings.saliency and sample.tags:
        saliency = load_saliency(job.saliency(sample), image_size(sample.image))
    maps, (_, crf) = _maps(job, sample), source_parts(settings.source)
    pseudo = pseudo_mask(
        maps.bands(),
        maps.classes,
        threshold=threshold,
        margin=0 if crf else settings.margin,
        saliency=saliency,
        salient=settings.salient,
    )
    if not crf:
        return pseudo
    # The confidence is that of the seed, which says how firmly the CRF starts.
    return replace(
        from_mask(_refined(job, sample, maps, threshold, saliency)), confidence=pseudo.confidence
    )


def _refined(
    job: Job,
    sample: Sample,
    maps: Maps,
    threshold: float,
    saliency: NDArray[np.float32] | None,
) -> NDArray[np.uint8]:
    """The seed after the CRF, (H, W), with a saliency map after both."""
    device = device_of(job.settings.machine.device)
    photo, settings = load_image(sample.image), job.settings.refine
    (mask,) = crf_masks(photo, maps, (threshold,), settings, device)
    if saliency is not None:
        values, salient = (maps.classes + 1)[:, None, None], job.settings.masks.salient
        for rows in bands(len(mask)):
            # Below fuse's certainty: where the CRF and the saliency map disagree, saliency wins.
            scores = 0.9 * (mask[rows] == values).astype(np.float32)
            mask[rows] = fuse(scores, maps.classes, saliency[rows], salient=salient, threshold=0.5)
    return mask


def _write_table(path: Path, rows: Iterable[_Row]) -> None:
    """Photos with their confidence (empty where nothing tells), covered and ignored shares."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "confidence", "coverage", "ignored"])
    for name, *values in rows:
        writer.writerow([name, *("" if math.isnan(v) else f"{v:.4f}" for v in values)])
    write_atomic(path, text.getvalue())
