"""Thresholds chosen without ground truth, and how far from the best each lands; Markdown tables.

    python studies/thresholds.py RUN [RUN ...] --lists train val --saliency Saliency

Each RUN has finished the stage cams; IRN's maps are measured where they are. Rules are compared on
the first list. On the others only the fixed threshold and `auto`, the rule of
esol.masks.threshold, are measured, as nothing may be chosen there. Ground truth is used to measure,
never by a rule. Scores are mIoU in percent. docs/masks.md has the commands that make the runs.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import esol
from esol.data.images import load_image
from esol.data.saliency import find_saliency, load_saliency
from esol.data.sample import IGNORE
from esol.data.selection import spaced
from esol.maps.files import Maps, load_maps
from esol.masks.background import Background
from esol.masks.crf import crf_masks
from esol.masks.pseudo import pseudo_mask
from esol.masks.seeds import strongest
from esol.masks.threshold import (
    choose_threshold,
    estimate_background,
    threshold_of_share,
    top_counts,
)
from esol.metrics.confusion import fold, metrics, pair_counts
from esol.metrics.curves import curves
from esol.metrics.histogram import Histogram
from esol.runs.folder import RunFolder
from esol.settings import MAP_KINDS

Array = NDArray[np.float64]

SAMPLE = 200
"""Photos that the CRF looks at, as in the stage masks."""

LEVELS = np.arange(256) / 255
"""Score of each level. Curves over thresholds below have 256 values, one per level."""


@dataclass(frozen=True)
class Photo:
    """What a rule may look at, on the grid of the maps.

    Attributes:
        maps: kind -> maps.
        rgb: (h, w, 3) colours in 0 .. 1.
        salient: (h, w), all false without saliency maps.
    """

    maps: Mapping[str, Maps]
    rgb: Array
    salient: NDArray[np.bool_]

    def levels(self, kind: str) -> NDArray[np.intp]:
        """(h, w) highest score in steps of 1/255."""
        return np.rint(strongest(self.maps[kind].maps)[0] * 255).astype(np.intp)


@dataclass(frozen=True)
class Measured:
    """One list of one run: photos for the rules, mIoU at 0.00, 0.01 .. 1.00 for the tables.

    ``background`` is its estimated share, ``true`` the ground truth's.
    """

    photos: list[Photo]
    miou: Mapping[str, Array]
    background: Background
    true: float

    def counts(self, kind: str) -> Array:
        """(256,) shares of the cells by level."""
        total = sum(top_counts(photo.maps[kind]) for photo in self.photos)
        return np.asarray(total / np.sum(total))


def opened(run: Path) -> esol.Dataset:
    """The data set as the run's maps were made from it."""
    settings = esol.load_settings(str(RunFolder(run).stage("cams") / "settings.yaml"))
    return esol.open_dataset(RunFolder(run).data_root(), settings.data)


def labelled(
    run: Path, dataset: esol.Dataset, split: str
) -> Iterator[tuple[esol.Sample, NDArray[np.uint8], dict[str, Maps]]]:
    """Sample, ground truth and maps of each photo of a list that has a mask."""
    run_folder = RunFolder(run)
    kinds = [kind for kind in (*MAP_KINDS, "irn") if run_folder.maps(kind).exists()]
    for sample in dataset.samples(split):
        if sample.mask is not None and dataset.truth is not None:
            maps = {kind: load_maps(run_folder.maps(kind) / f"{sample.name}.npz") for kind in kinds}
            yield sample, dataset.truth(sample), maps


def gather(run: Path, dataset: esol.Dataset, split: str, saliency: str) -> Measured:
    """Read the maps of one list and measure their seeds."""
    histograms: dict[str, Histogram] = {}
    photos, originals, values = [], [], np.zeros(256, np.int64)
    for sample, truth, maps in labelled(run, dataset, split):
        for kind, one in maps.items():
            histogram = histograms.setdefault(kind, Histogram(len(dataset.classes)))
            histogram.add(one.full(), one.classes, truth)
        values += np.bincount(truth.ravel(), minlength=256)
        originals.append((sample.image, maps[MAP_KINDS[-1]]))
        shape = one.maps.shape[:0:-1]
        small = load_image(sample.image).resize(shape, Image.Resampling.BOX)
        salient = np.zeros(shape[::-1], np.bool_)
        if saliency:
            grey = load_saliency(find_saliency(dataset.root / saliency, sample.name), truth.shape)
            salient = np.asarray(Image.fromarray(grey).resize(shape, Image.Resampling.BOX)) >= 0.5
        photos.append(Photo(maps, np.asarray(small) / 255.0, salient))
    moved = ((load_image(path), one) for path, one in spaced(originals, SAMPLE))
    return Measured(
        photos,
        {k: 100 * curves(h).seeds.miou for k, h in histograms.items()},
        estimate_background(moved, torch.device("cpu")),
        values[0] / values[:IGNORE].sum(),
    )


def highest(curve: Array) -> float:
    """Score in 0.05 .. 0.85 where a curve is highest; further out masks are nearly all or none."""
    inside = (LEVELS >= 0.05) & (LEVELS <= 0.85)
    return float(LEVELS[np.argmax(np.where(inside, curve, -np.inf))])


Rule = Callable[[Measured, str], float]


def fixed(found: Measured, kind: str) -> float:
    """Whatever the maps."""
    return 0.30


def auto(found: Measured, kind: str) -> float:
    """Mean score, or less where a CRF finds little background."""
    return choose_threshold((photo.maps[kind] for photo in found.photos), found.background)


def mean(found: Measured, kind: str) -> float:
    """Mean score."""
    return choose_threshold((photo.maps[kind] for photo in found.photos), Background(1, 0))


def crf(found: Measured, kind: str) -> float:
    """Share of background that a CRF suggests."""
    maps = (photo.maps[kind] for photo in found.photos)
    return threshold_of_share(maps, 1 - found.background.share)


def told(found: Measured, kind: str) -> float:
    """Share of background that the ground truth has, in steps of 5 %, as a user would say it."""
    maps = (photo.maps[kind] for photo in found.photos)
    return threshold_of_share(maps, max(0.05, round(20 * (1 - found.true)) / 20))


def otsu(found: Measured, kind: str) -> float:
    """Largest variance between foreground and background scores."""
    counts = found.counts(kind)
    low, moment = np.cumsum(counts), np.cumsum(counts * LEVELS)
    return highest((moment[-1] * low - moment) ** 2 / np.maximum(low * (1 - low), 1e-12))


def kapur(found: Measured, kind: str) -> float:
    """Largest sum of the entropies of foreground and background scores."""
    counts = found.counts(kind)
    terms = -counts * np.log(np.maximum(counts, 1e-12))
    low, entropy = np.cumsum(counts).clip(1e-9, 1 - 1e-9), np.cumsum(terms)
    high = 1 - low
    return highest(entropy / low + np.log(low) + (entropy[-1] - entropy) / high + np.log(high))


def plateau(found: Measured, kind: str) -> float:
    """Masks at 0.05 below and above agree best."""
    area, step = 1 - np.cumsum(found.counts(kind)), 13
    curve = np.zeros(256)
    curve[step:-step] = area[2 * step :] / np.maximum(area[: -2 * step], 1e-9)
    return highest(curve)


def colour(found: Measured, kind: str) -> float:
    """Share of the mask's variance within a photo that colours (8 x 8 x 8) explain, mean."""
    total = np.zeros(256)
    for photo in found.photos:
        bins = (photo.rgb * 7.999).astype(np.intp) @ np.array([64, 8, 1])
        used, bins = np.unique(bins, return_inverse=True)
        code = photo.levels(kind).ravel() * len(used) + bins.ravel()
        table = np.bincount(code, minlength=256 * len(used)).reshape(256, -1)
        sizes = table.sum(0)
        shares = 1 - np.cumsum(table, 0) / sizes
        mean = (shares * sizes).sum(1) / sizes.sum()
        explained = ((shares - mean[:, None]) ** 2 * sizes).sum(1) / sizes.sum()
        total += np.where(mean * (1 - mean) > 1e-3, explained / (mean * (1 - mean) + 1e-9), 0)
    return highest(total)


def two_colours(found: Measured, kind: str) -> float:
    """Masks agree best (phi) with their own refinement: a normal law of colours for each side."""
    curve = np.zeros(256)
    for level in range(13, 218, 13):
        for photo in found.photos[::3]:
            front, rgb = (photo.levels(kind) > level).ravel(), photo.rgb.reshape(-1, 3)
            if not 20 < front.sum() < len(front) - 20:
                continue
            likely = [_log_normal(rgb, side) + np.log(side.mean()) for side in (front, ~front)]
            refined = likely[0] > likely[1]
            if 0 < refined.sum() < len(refined):
                curve[level] += np.corrcoef(refined, front)[0, 1]
    return highest(curve)


def _log_normal(rgb: Array, inside: NDArray[np.bool_]) -> Array:
    covariance = np.cov(rgb[inside].T) + 1e-3 * np.eye(3)
    off = rgb - rgb[inside].mean(0)
    distance = (off @ np.linalg.inv(covariance) * off).sum(1)
    return np.asarray(-0.5 * (distance + np.linalg.slogdet(covariance)[1]))


def kinds(found: Measured, kind: str) -> float:
    """Masks agree best (phi) with those of another kind at any threshold (CAM: Shrinkage)."""
    other = MAP_KINDS[-1] if kind == MAP_KINDS[0] else MAP_KINDS[0]
    table = np.zeros(256 * 256)
    for photo in found.photos:
        code = photo.levels(kind) * 256 + photo.levels(other)
        table += np.bincount(code.ravel(), minlength=256 * 256)
    low = np.cumsum(np.cumsum(table.reshape(256, 256), 0), 1) / table.sum()
    one, two = low[:, -1:], low[-1:, :]
    spread = np.sqrt(np.maximum(one * (1 - one) * two * (1 - two), 1e-6))
    return highest(((low - one * two) / spread)[:, 13:218].max(1))


def saliency(found: Measured, kind: str) -> float:
    """Largest IoU of the masks with the salient cells."""
    table = np.zeros((256, 2))
    for photo in found.photos:
        code = photo.levels(kind) * 2 + photo.salient
        table += np.bincount(code.ravel(), minlength=512).reshape(256, 2)
    above = table.sum(0) - np.cumsum(table, 0)
    return highest(above[:, 1] / np.maximum(above[:, 0] + table[:, 1].sum(), 1))


RULES: tuple[Rule, ...] = (
    fixed,
    auto,
    mean,
    crf,
    told,
    otsu,
    kapur,
    plateau,
    colour,
    two_colours,
    kinds,
    saliency,
)


def rows(found: Measured, rules: Sequence[Rule]) -> Iterator[list[str]]:
    """Table rows: rule, then per kind threshold, mIoU and what it is below the best."""
    best = [f"{curve.argmax() / 100:.2f}: {curve.max():.1f}" for curve in found.miou.values()]
    yield ["best on ground truth", *best]
    for rule in rules:
        cells, losses = [], []
        for kind, curve in found.miou.items():
            threshold = rule(found, kind)
            value = curve[round(threshold * 100)]
            losses.append(curve.max() - value)
            cells.append(f"{threshold:.2f}: {value:.1f} ({value - curve.max():+.1f})")
        name = f"{rule.__name__.replace('_', ' ')}: {(rule.__doc__ or '').rstrip('.')}"
        yield [name, *cells, f"{np.mean(losses):.1f}", f"{max(losses):.1f}"]


def sensitivity(found: Measured) -> Iterator[list[str]]:
    """Table rows: mIoU around what `auto` chooses."""
    for kind, curve in found.miou.items():
        place = round(auto(found, kind) * 100)
        near = [int(np.clip(place + step, 0, 100)) for step in (-10, -5, 0, 5, 10)]
        yield [kind, f"{place / 100:.2f}", *(f"{curve[step]:.1f}" for step in near)]


def pseudo(
    run: Path, dataset: esol.Dataset, split: str, saliency: str, thresholds: Mapping[str, float]
) -> Iterator[list[str]]:
    """Table rows: pseudo masks of the last kind of maps, by source, and fused at low cuts.

    ``thresholds`` is what `auto` chose for each kind of maps.
    """
    classes, threshold = len(dataset.classes), thresholds[MAP_KINDS[-1]]
    refine = RunFolder(run).settings().refine
    plans = [("seeds", threshold, 0.0), ("crf", threshold, 0.0)]
    plans += [("irn", thresholds["irn"], 0.0)] if "irn" in thresholds else []
    plans += [("seeds", threshold, 0.05), ("seeds", threshold, 0.1)]
    if saliency:
        plans += [("fused", cut, 0.0) for cut in (0.05, 0.1, 0.2, threshold)]
    for name, cut, margin in plans:
        both, doubtful = np.zeros((2, 256, 256), np.int64), []
        ranked: tuple[list[float], list[float]] = ([], [])
        for sample, truth, maps in labelled(run, dataset, split):
            one, grey = maps["irn" if name == "irn" else MAP_KINDS[-1]], None
            if name == "fused":
                path = find_saliency(dataset.root / saliency, sample.name)
                grey = load_saliency(path, truth.shape)
            made = pseudo_mask(
                one.bands(), one.classes, threshold=cut, margin=margin, saliency=grey
            )
            if name == "crf":
                photo = load_image(sample.image)
                (refined,) = crf_masks(photo, one, (cut,), refine, torch.device("cpu"))
                made = replace(made, mask=refined)
            pairs = pair_counts(made.mask, truth)
            both[0] += pairs
            ranked[0].append(made.confidence)
            ranked[1].append(float(np.nanmean(metrics(fold(pairs, classes)).iou[one.classes + 1])))
            if grey is not None:
                doubtful.append(truth[(grey < 0.5) & (made.mask == IGNORE) & (truth != IGNORE)])
        both[1] = both[0]
        both[1, :, IGNORE] = 0
        miou, where = (100 * metrics(fold(table, classes)).miou for table in both)
        ignored = 100 * both[0, :IGNORE, IGNORE].sum() / both[0, :IGNORE].sum()
        rank = np.asarray(np.corrcoef(np.argsort(np.argsort(ranked))))[0, 1]
        found = f"{100 * (np.concatenate(doubtful) > 0).mean():.0f}" if doubtful else ""
        numbers = (f"{number:.1f}" for number in (miou, where, ignored))
        yield [name, f"{cut:.2f}", f"{margin:.2f}", *numbers, f"{rank:+.2f}", found]


def show(title: str, head: Sequence[str], body: Iterator[list[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in body:
        print(f"| {' | '.join(row + [''] * (len(head) - len(row)))} |", flush=True)


def main() -> None:
    """Print the tables of every run and list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--lists", nargs="+", default=["train"])
    parser.add_argument("--saliency", default="", help="folder of saliency maps inside DATA")
    given = parser.parse_args()
    for place, split in enumerate(given.lists):
        for run in given.runs:
            dataset = opened(run)
            found = gather(run, dataset, split, given.saliency if place == 0 else "")
            head = ["rule", *found.miou, "mean loss", "worst"]
            shares = (f"{100 * share:.1f} %" for share in (found.true, found.background.share))
            title = "{}, {}: {} photos, background {}, estimated {}".format(
                run.name, split, len(found.photos), *shares
            )
            rules = (RULES if given.saliency else RULES[:-1]) if place == 0 else RULES[:2]
            show(title, head, rows(found, rules))
            around = ["maps", "auto", "-0.10", "-0.05", "0", "+0.05", "+0.10"]
            show(f"{title}, mIoU around auto", around, sensitivity(found))
            head = ["masks", "threshold", "margin", "mIoU", "mIoU where labelled", "255", "rank"]
            thresholds = {kind: auto(found, kind) for kind in found.miou}
            body = pseudo(run, dataset, split, given.saliency, thresholds)
            show(
                f"{title}, pseudo masks, {MAP_KINDS[-1]}",
                [*head, "doubtful that are objects"],
                body,
            )


if __name__ == "__main__":
    main()
