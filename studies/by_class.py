"""Where the method gains: IoU of maps by class, by size, and by whether a class has company.

    python studies/by_class.py RUN [RUN ...] --list train --stuff grass sky

Each RUN has finished the stage cams on a list with masks. A pair is a photo and one of its tags;
the IoU of a group of pairs is hits / (truth + prediction - hits), summed over the group's photos.
Every kind of maps is cut at its own threshold, which masks.threshold auto chooses on the list
without ground truth. Percent; one Markdown table for each run.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from affinity import background_of, maps_of, opened
from numpy.typing import NDArray

from esol.data.sample import IGNORE, Sample
from esol.masks.seeds import photo_seed
from esol.masks.threshold import choose_threshold
from esol.stages.job import Job

SIZES = (0.05, 0.2, 0.5)
"""A class's shares of a photo at which sizes are parted."""

Counts = NDArray[np.int64]
"""(3,) pixels of a class in one photo or more: hits, truth, prediction."""


def groups_of(sample: Sample, tag: int, share: float, names: Sequence[str]) -> Iterator[str]:
    """The groups that a pair belongs to: the class of index ``tag`` fills ``share`` of a photo."""
    yield f"class {names[tag]}"
    low, high = (0.0, *SIZES), (*SIZES, 1.0)
    place = int(np.searchsorted(SIZES, share, side="right"))
    yield f"fills {low[place]:3.0%} to {high[place]:.0%}"
    yield "alone in the photo" if len(sample.tags) == 1 else "with other classes"


def counted(job: Job, samples: Sequence[Sample], stuff: Sequence[str]) -> dict[str, list[Counts]]:
    """Group -> for each of its pairs (kinds of maps, 3) counts."""
    background, names = background_of(job, tuple(samples)), job.data.classes
    masks = []
    for kind in job.settings.map_kinds:
        maps = maps_of(job, tuple(samples), kind)
        threshold = choose_threshold(maps, background)
        masks.append([photo_seed(one, threshold) for one in maps])
    groups: dict[str, list[Counts]] = defaultdict(list)
    assert job.data.truth is not None
    for place, sample in enumerate(samples):
        truth = job.data.truth(sample)
        labelled = truth != IGNORE
        for tag in sample.tags:
            own = truth == tag + 1
            seen = [(each[place] == tag + 1) & labelled for each in masks]
            pair = np.array([[(own & mask).sum(), own.sum(), mask.sum()] for mask in seen])
            share = own.sum() / max(labelled.sum(), 1)
            of_pair = [*groups_of(sample, tag, share, names), "all pairs"]
            if stuff:
                of_pair.append("stuff" if names[tag] in stuff else "things")
            for group in of_pair:
                groups[group].append(pair)
    return groups


def rows(job: Job, groups: dict[str, list[Counts]]) -> Iterator[list[str]]:
    """The table's rows: group, pairs, IoU of each kind of maps, last less first."""
    kinds = job.settings.map_kinds
    yield ["group", "pairs", *kinds, f"{kinds[-1]} - {kinds[0]}"]
    order = ("all", "class", "things", "stuff", "fills", "alone", "with")
    for group in sorted(groups, key=lambda name: (order.index(name.split()[0]), name)):
        hits, truth, seen = np.sum(groups[group], axis=0).T
        iou = 100 * hits / np.maximum(truth + seen - hits, 1)
        pairs = str(len(groups[group]))
        yield [group, pairs, *(f"{value:.1f}" for value in iou), f"{iou[-1] - iou[0]:+.1f}"]


def main() -> None:
    """Print one table for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--list", default="train")
    parser.add_argument(
        "--stuff", nargs="+", default=[], help="names of classes; others are things"
    )
    given = parser.parse_args()
    for run in given.runs:
        job = opened(run, ())
        samples = [s for s in job.data.samples(given.list) if s.mask is not None and s.tags]
        print(f"\n### {run.name}, {given.list}: {len(samples)} photos\n")
        for number, cells in enumerate(rows(job, counted(job, samples, given.stuff))):
            print(f"| {' | '.join(cells)} |", flush=True)
            if not number:
                print("|---" * len(cells) + "|")


if __name__ == "__main__":
    main()
