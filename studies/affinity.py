"""Refinements beside each other: none, CRF, affinities, IRN, and these with a CRF; Markdown tables.

    python studies/affinity.py RUN [RUN ...] --lists train val --kinds cam shrinkage

Each RUN has finished the stage cams. Affinities are computed here, as the stage refine does, with
the run's settings and those of --set; IRN's maps are measured where they are, of the kind that
became seeds. The threshold is what masks.threshold auto chooses on the first list for each kind of
maps, and on the other lists the same. The best one is chosen on the ground truth that it is
measured on, for the maps; a CRF starts from the same mask. Scores are mIoU in percent.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import esol
from esol.data.images import load_image
from esol.data.sample import Sample
from esol.data.selection import evenly_spaced
from esol.maps.files import Maps, load_maps
from esol.maps.localize import Reader, SizedSample
from esol.masks.background import Background
from esol.masks.crf import crf_masks
from esol.masks.refine import similar_maps
from esol.masks.threshold import choose_threshold, estimate_background
from esol.metrics.confusion import confusion, metrics
from esol.metrics.curves import curves
from esol.metrics.histogram import THRESHOLDS, Histogram
from esol.runs.folder import RunFolder
from esol.stages.job import Job
from esol.stages.refine import cell_similarity

CPU = torch.device("cpu")
SAMPLE = 200
"""Photos that the CRF of the threshold looks at, as in the stage masks."""


@dataclass
class Row:
    """Maps of one kind after one refinement: of each photo, and seconds a photo."""

    name: str
    maps: list[Maps]
    seconds: str


def opened(run: Path, flags: Sequence[str]) -> Job:
    """The run's job, with more settings of refine.similarity."""
    folder = RunFolder(run)
    settings = esol.load_settings(str(run / "settings.yaml"), *(f"--{flag}" for flag in flags))
    return Job(settings, esol.open_dataset(folder.data_root(), settings.data), folder)


def similar(job: Job, samples: tuple[Sample, ...], kind: str) -> Row:
    """Maps spread by affinities."""
    settings = job.settings
    similarity, cache = cell_similarity(job, samples)
    maps, started = [], time.perf_counter()
    for sample in samples:
        one = load_maps(job.run.maps(kind) / f"{sample.name}.npz")
        reader = Reader([SizedSample(sample, one.size)], settings.input, cache)
        spread = similar_maps(one, similarity, reader, settings.refine.similarity)
        maps.append(replace(one, maps=as_stored(spread)))
    what = "attention" if similarity.of_attention else "features"
    cached = ", cached" if cache else ""
    seconds = (time.perf_counter() - started) / len(samples)
    return Row("affinity", maps, f"{seconds:.3f} ({what}{cached})")


def as_stored(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps in 0 .. 1 as their files have them, in steps of 1/255."""
    return (np.rint(maps * 255) / 255).astype(np.float32)


def background_of(job: Job, samples: tuple[Sample, ...]) -> Background:
    """What the stage masks would estimate of these photos."""
    looked = evenly_spaced(tuple(sample for sample in samples if sample.tags), SAMPLE)
    maps = maps_of(job, looked, job.settings.map_kinds[-1])
    return estimate_background(
        ((load_image(s.image), m) for s, m in zip(looked, maps, strict=True)), CPU
    )


def maps_of(job: Job, samples: tuple[Sample, ...], kind: str) -> list[Maps]:
    """Maps of a kind as the run has them."""
    return [load_maps(job.run.maps(kind) / f"{sample.name}.npz") for sample in samples]


def refined(job: Job, samples: tuple[Sample, ...], kind: str) -> Iterator[Row]:
    """The rows of one kind of maps, without a CRF."""
    yield Row("none", maps_of(job, samples, kind), "0")
    yield similar(job, samples, kind)
    irn = job.run.maps("irn")
    if kind == job.settings.seed_kind and all((irn / f"{s.name}.npz").is_file() for s in samples):
        made = job.run.manifest("refine")
        seconds = made["record"]["seconds"] / made["results"]["photos"]
        methods = "+".join(made["identity"]["refine"]["methods"])
        yield Row("IRN", maps_of(job, samples, "irn"), f"{seconds:.3f} (stage refine: {methods})")


def best(job: Job, samples: tuple[Sample, ...], row: Row) -> tuple[float, Callable[[float], float]]:
    """Threshold of the maps that is best on the ground truth, and their mIoU at any."""
    assert job.data.truth is not None
    histogram = Histogram(job.classes, THRESHOLDS)
    for sample, maps in zip(samples, row.maps, strict=True):
        for rows, scores in maps.bands():
            histogram.add(scores, maps.classes, job.data.truth(sample)[rows])
    curve, steps = 100 * curves(histogram).seeds.miou, np.asarray(THRESHOLDS)
    return float(steps[curve.argmax()]), lambda at: float(curve[np.abs(steps - at).argmin()])


def after_crf(
    job: Job, samples: tuple[Sample, ...], row: Row, thresholds: Sequence[float]
) -> tuple[list[float], float]:
    """MIoU of the CRF's masks at each threshold, and seconds a photo for all of them."""
    assert job.data.truth is not None
    total, seconds = np.zeros((len(thresholds), job.classes + 1, job.classes + 1), np.int64), 0.0
    for sample, maps in zip(samples, row.maps, strict=True):
        photo, started = load_image(sample.image), time.perf_counter()
        masks = crf_masks(photo, maps, thresholds, job.settings.refine, CPU)
        seconds += time.perf_counter() - started
        truth = job.data.truth(sample)
        total += np.stack([confusion(mask, truth, job.classes) for mask in masks])
    return [100 * metrics(counts).miou for counts in total], seconds / len(samples)


def table(
    job: Job, samples: tuple[Sample, ...], kind: str, at: dict[tuple[str, str], float], crf: bool
) -> Iterator[list[str]]:
    """Table rows of one kind of maps; fills in thresholds that are not chosen yet."""
    background: Background | None = None
    for row in refined(job, samples, kind):
        if (kind, row.name) not in at:
            background = background or background_of(job, samples)
            at[kind, row.name] = choose_threshold(row.maps, background)
        threshold = at[kind, row.name]
        top, miou = best(job, samples, row)
        yield [
            *(row.name, f"{threshold:.2f}: {miou(threshold):.1f}"),
            *(f"{top:.2f}: {miou(top):.1f}", row.seconds),
        ]
        if not crf:
            continue
        (own, highest), seconds = after_crf(job, samples, row, (threshold, top))
        name = "CRF" if row.name == "none" else f"{row.name} + CRF"
        at_both = [f"{threshold:.2f}: {own:.1f}", f"{top:.2f}: {highest:.1f}"]
        cells = [*at_both, f"+ {seconds:.3f} (both)"]
        yield [name, *cells]


def main() -> None:
    """Print a table of every run, list and kind of maps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--lists", nargs="+", default=["train"])
    parser.add_argument("--kinds", nargs="+", help="of maps; default: that which becomes seeds")
    parser.add_argument("--photos", type=int, default=0, help="at most so many of a list; 0: all")
    parser.add_argument("--set", nargs="+", default=[], metavar="refine.similarity.KEY=VALUE")
    parser.add_argument(
        "--no-crf",
        action="store_true",
        help="leave out the rows with a CRF, which take most of the time",
    )
    given = parser.parse_args()
    for run in given.runs:
        job = opened(run, given.set)
        at: dict[tuple[str, str], float] = {}
        for split in given.lists:
            labelled = tuple(s for s in job.data.samples(split) if s.mask is not None)
            samples = evenly_spaced(labelled, given.photos)
            for kind in given.kinds or [job.settings.seed_kind]:
                print(f"\n### {run.name}, {split}, {kind}: {len(samples)} photos\n")
                print("| refinement | at auto | best on ground truth | seconds a photo |")
                print("|---|---|---|---|", flush=True)
                for cells in table(job, samples, kind, at, not given.no_crf):
                    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
