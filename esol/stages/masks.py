"""Stage 7, ``esol masks``: pseudo masks, what the segmentation network learns from."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data.images import image_size, load_mask, save_mask
from esol.data.memory import enough_memory
from esol.data.saliency import load_saliency
from esol.data.sample import Sample
from esol.maps.files import Maps, load_maps
from esol.masks.fusion import fuse
from esol.masks.pseudo import PseudoMask, from_mask, pseudo_mask, statistics
from esol.masks.threshold import choose_threshold
from esol.ops.grids import bands
from esol.runs.work import OpenStage
from esol.stages.job import Job
from esol.stages.refine import seed_maps
from esol.system.distributed import all_from_main, all_in_order, my_share
from esol.system.files import write_atomic, write_json
from esol.system.progress import log, track

CONFIDENCE = "confidence.csv"

_Row = tuple[str, float, float, float]

SALIENT_THRESHOLD = 0.1
"""What auto means with saliency, which parts objects from background: the scores need only say
which class it is (docs/masks.md)."""


def masks(job: Job) -> None:
    """Make pseudo masks; writes NAME.png, confidence.csv and statistics.json."""
    settings, lists, samples = job.settings.masks, job.lists(), job.samples()
    after = ("cams",) if settings.source == "seeds" else ("cams", "refine")
    reads = {
        "train": job.settings.data.train,
        "kind": job.settings.seed_kind,
        "saliency files": job.saliency_digest(*lists),
    }
    with job.enter("masks", "masks", after=after, lists=lists, reads=reads) as stage:
        if stage is None:
            return
        threshold = all_from_main(lambda: _threshold(job))
        mine, rows = my_share(samples), []
        for sample in track(mine, "masks", total=len(mine), unit="photos"):
            with enough_memory([sample.image]):
                pseudo = _mask(job, sample, threshold)
                save_mask(pseudo.mask, stage.path / f"{sample.name}.png")
            rows.append((sample.name, pseudo.confidence, pseudo.coverage, pseudo.ignored))
        rows = all_in_order(rows)
        summary = all_from_main(lambda: _summed(job, stage, samples, rows))
        if summary["empty"]:
            log.warning(
                "masks: %d of %d photos are all background; train longer, or set masks.threshold",
                summary["empty"],
                sum(bool(sample.tags) for sample in samples),
            )
        stage.results |= {
            "photos": len(samples),
            "source": settings.source,
            "threshold": threshold,
            **{name: summary[name] for name in ("background", "ignored", "empty")},
        }


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
    if job.settings.masks.source == "irn":
        return load_maps(job.run.maps("irn") / f"{sample.name}.npz")
    return seed_maps(job, sample)


def _threshold(job: Job) -> float | None:
    """The threshold of the masks, None where they come without one."""
    settings, train = job.settings.masks, job.settings.data.train
    if settings.source == "crf":
        return None
    if settings.threshold != "auto":
        return settings.threshold
    if settings.saliency:
        return SALIENT_THRESHOLD
    threshold = choose_threshold(_maps(job, sample) for sample in job.training_samples())
    log.info("masks: threshold %.2f, chosen from the maps of %s", threshold, train)
    return threshold


def _mask(job: Job, sample: Sample, threshold: float | None) -> PseudoMask:
    settings = job.settings.masks
    saliency: NDArray[np.float32] | None = None
    if settings.saliency and sample.tags:
        saliency = load_saliency(job.saliency(sample), image_size(sample.image))
    if threshold is not None:
        maps = _maps(job, sample)
        return pseudo_mask(
            maps.bands(),
            maps.classes,
            threshold=threshold,
            margin=settings.margin,
            saliency=saliency,
            salient=settings.salient,
        )
    mask = load_mask(job.run.masks("crf") / f"{sample.name}.png")
    if saliency is not None:
        classes = np.asarray(sample.tags, np.int64)
        for rows in bands(len(mask)):
            # Below fuse's certainty: where the CRF and the saliency map disagree, saliency wins.
            scores = 0.9 * (mask[rows] == (classes + 1)[:, None, None]).astype(np.float32)
            mask[rows] = fuse(
                scores, classes, saliency[rows], salient=settings.salient, threshold=0.5
            )
    return from_mask(mask)


def _write_table(path: Path, rows: Iterable[_Row]) -> None:
    """Photos with their confidence (empty where nothing tells), covered and ignored shares."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "confidence", "coverage", "ignored"])
    for name, *values in rows:
        writer.writerow([name, *("" if math.isnan(v) else f"{v:.4f}" for v in values)])
    write_atomic(path, text.getvalue())
