"""Stage 9, ``esol evaluate``: measure the maps and masks that are there."""

from pathlib import Path
from typing import Any

import numpy as np

from esol.data.images import load_mask
from esol.data.memory import enough_memory
from esol.data.truth import Shown, against_tags, cautions, shown, total_pixels
from esol.maps.files import load_maps
from esol.metrics.confusion import confusion, metrics
from esol.metrics.curves import curves, summary, table
from esol.metrics.histogram import Histogram, thresholds
from esol.metrics.interval import DRAWS, miou_interval, times_drawn
from esol.runs.stages import STAGES
from esol.runs.work import OpenStage
from esol.stages.job import Job
from esol.stages.reads import measured_maps, measured_masks
from esol.system.distributed import all_gather, main_process, my_share
from esol.system.files import plain, write_json
from esol.system.progress import log, track


def evaluate(job: Job, stage: OpenStage) -> None:
    """Measure maps at every threshold, and finished masks; writes metrics.json."""
    lists = job.settings.data.evaluate
    maps, masks = measured_maps(job), measured_masks(job)
    for name, one in STAGES.items():
        if one.measured and job.run.is_finished(name) and not job.run.is_current(name):
            log.warning("evaluate: %s is older than what it was made from; left out", name)
    results = {split: _evaluate_list(job, split, maps, masks) for split in lists}
    for split in (split for split, values in results.items() if not values):
        log.warning("evaluate: no masks for %s, so nothing is measured there", split)
    results = {split: values for split, values in results.items() if values}
    if main_process():
        write_json(stage.path / "metrics.json", {"mask_set": job.data.mask_set, "lists": results})
    stage.results |= {
        split: {k: v["fixed"]["miou"] for k, v in measured.items() if isinstance(v, dict)}
        for split, measured in results.items()
    }


def _evaluate_list(
    job: Job, split: str, map_thresholds: dict[str, float], mask_folders: dict[str, Path]
) -> dict[str, Any]:
    """Kind of maps or masks -> its metrics, over the photos with a mask; empty if none has."""
    samples = [sample for sample in job.data.samples(split) if sample.mask is not None]
    if not samples or job.data.truth is None:
        return {}
    histograms = {
        kind: Histogram(job.classes, thresholds(threshold))
        for kind, threshold in map_thresholds.items()
    }
    shape = 1 + DRAWS, job.classes + 1, job.classes + 1
    tables = {kind: np.zeros(shape, np.int64) for kind in mask_folders}
    mine = my_share(samples)
    seen: list[Shown] = []
    for sample in track(mine, f"evaluate {split}", total=len(mine), unit="photos"):
        with enough_memory([sample.image]):
            truth = job.data.truth(sample)
            tags = [job.data.classes[tag] for tag in sample.tags]
            seen.append(shown(truth, sample.mask or sample.image, tags, job.data.classes))
            for kind, histogram in histograms.items():
                scores = load_maps(job.run.maps(kind) / f"{sample.name}.npz")
                for rows, values in scores.bands():
                    histogram.add(values, scores.classes, truth[rows])
            drawn = times_drawn(sample.name)[:, None, None]
            for kind, folder in mask_folders.items():
                path = folder / f"{sample.name}.png"
                if kind == "corrected" and not path.exists():
                    path = mask_folders["masks"] / f"{sample.name}.png"
                tables[kind] += drawn * confusion(load_mask(path), truth, job.classes)
    results: dict[str, Any] = {"photos": len(samples)}
    masks = sorted((m for part in all_gather(seen) for m in part), key=lambda m: m.mask)
    wrong = filter(None, against_tags(masks, job.data.classes, alphabetical=False))
    if warnings := [*cautions(total_pixels(masks)), *wrong]:
        results["warnings"] = warnings
        for warning in warnings:
            log.warning("evaluate: %s: %s", split, warning)
    for kind, (histogram, *others) in ((kind, all_gather(one)) for kind, one in histograms.items()):
        for other in others:
            histogram.merge(other)
        results[kind] = summary(curves(histogram), job.data.classes, map_thresholds[kind])
    for kind, counted in tables.items():
        total = np.sum(all_gather(counted), axis=0)
        results[kind] = {
            "fixed": plain(table(metrics(total[0]), job.data.classes)),
            "interval": {"miou": plain(miou_interval(total[1:]))},
        }
    return results
