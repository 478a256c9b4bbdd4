"""IRN's random walk from other starts: which maps, to which power; Markdown tables.

    python studies/walk.py RUN [RUN ...] --lists train --starts cam shrinkage both --powers 1 2 3

Each RUN has finished the stage refine with irn: its IRNet gives the edges, so runs that differ in
the maps that IRNet's labels come from (seeds.kind) are compared by giving both. A photo's edges are
computed once, and all starts walk together. `both` is the product of CAM and Shrinkage,
`affinity` the run's seed maps spread by refine.similarity. The threshold is what masks.threshold
auto chooses on the first list, and on the other lists the same; the best one is chosen on the
ground truth that it is measured on. Scores are mIoU in percent.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from affinity import Row, as_stored, background_of, best, maps_of, opened, similar
from numpy.typing import NDArray

from esol.data.images import load_image
from esol.data.sample import Sample
from esol.data.selection import evenly_spaced
from esol.maps.files import Maps
from esol.masks.refine import boundaries, spread_maps
from esol.masks.threshold import choose_threshold
from esol.networks.affinity import AffinityNet
from esol.networks.weights import load_weights
from esol.stages.fitting import trained_backbone
from esol.stages.job import Job
from esol.system.progress import track

Start = tuple[str, float]
"""Which maps, and the power to which they are raised."""


def started(job: Job, samples: tuple[Sample, ...], kinds: Sequence[str]) -> dict[str, list[Maps]]:
    """Maps of each kind of start."""
    found = {}
    for kind in kinds:
        if kind == "both":
            pairs = zip(*(maps_of(job, samples, of) for of in ("cam", "shrinkage")), strict=True)
            found[kind] = [replace(a, maps=divided(a.maps * b.maps)) for a, b in pairs]
        elif kind == "affinity":
            found[kind] = similar(job, samples, job.settings.seed_kind).maps
        else:
            found[kind] = maps_of(job, samples, kind)
    return found


def divided(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each map divided by its maximum."""
    return maps / np.maximum(maps.max((1, 2), keepdims=True), np.float32(1e-5))


def walked(
    job: Job, samples: tuple[Sample, ...], kinds: Sequence[str], powers: Sequence[float]
) -> Iterator[tuple[Start, Row]]:
    """Maps of every start after the walk."""
    starts = started(job, samples, kinds)
    ways = [(kind, power) for kind in kinds for power in powers]
    found: dict[Start, list[Maps]] = {way: [] for way in ways}
    settings, network = job.settings.refine, trained(job)
    for place, sample in enumerate(track(samples, "walk", total=len(samples), unit="photos")):
        photo = load_image(sample.image)
        edge, _ = boundaries(network, photo, settings.affinity.input, settings.longest)
        for kind, power in ways:
            maps = starts[kind][place]
            spread = spread_maps(maps, edge, replace(settings.walk, power=power))
            found[kind, power].append(replace(maps, maps=as_stored(spread)))
    for way in ways:
        yield way, Row(f"{way[0]}, power {way[1]:g}", found[way], "")


def trained(job: Job) -> AffinityNet:
    """The run's IRNet."""
    network = AffinityNet(trained_backbone(job), displacement=job.settings.refine.instances)
    load_weights(network.branches, job.run.weights("refine"))
    return network.eval()


def main() -> None:
    """Print a table of every run and list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--lists", nargs="+", default=["train"])
    parser.add_argument("--starts", nargs="+", default=["cam", "shrinkage", "both"])
    parser.add_argument("--powers", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--photos", type=int, default=0, help="at most so many of a list; 0: all")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    for run in given.runs:
        job = opened(run, ())
        at: dict[Start, float] = {}
        for split in given.lists:
            labelled = tuple(s for s in job.data.samples(split) if s.mask is not None)
            samples = evenly_spaced(labelled, given.photos)
            title = f"{run.name}, edges of {job.settings.seed_kind}, {split}: {len(samples)} photos"
            print(f"\n### {title}\n\n| start | at auto | best on ground truth |\n|---|---|---|")
            background = background_of(job, samples) if not at else None
            for way, row in walked(job, samples, given.starts, given.powers):
                if background is not None:
                    at[way] = choose_threshold(row.maps, background)
                top, miou = best(job, samples, row)
                own, highest = (f"{score:.2f}: {miou(score):.1f}" for score in (at[way], top))
                print(f"| {row.name} | {own} | {highest} |", flush=True)


if __name__ == "__main__":
    main()
