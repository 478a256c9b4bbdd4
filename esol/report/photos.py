"""The page's photos, read from a run folder and its data set."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data import Dataset, Sample
from esol.data.images import load_image, load_mask, palette
from esol.data.selection import spaced
from esol.maps.files import Maps, load_maps
from esol.masks.pseudo import confidence
from esol.masks.seeds import photo_seed
from esol.metrics.confusion import confusion, metrics
from esol.metrics.histogram import thresholds
from esol.predict.overlay import classes_in, draw_overlay
from esol.report.answer import Picture
from esol.report.gallery import Gallery, Shot, jpeg, reduced, shot
from esol.report.known import Known
from esol.report.titles import TITLES
from esol.runs.folder import RunFolder
from esol.settings import Settings
from esol.system.progress import track

THREADS = 4
"""Photos read at a time: decoding releases Python's lock, and few large ones fit into memory."""

PICTURE = 208
"""Longest side of a picture on the first screen, pixels."""


@dataclass(frozen=True)
class Ranked:
    """Photos with a tag, the best first.

    Attributes:
        measure: what ranks them: "mIoU" where there is ground truth, else "confidence".
        photos: with their values, 0 .. 1.
    """

    measure: str
    photos: Sequence[tuple[float, Sample]]


@dataclass(frozen=True)
class _Read:
    """A photo of the gallery, and how good its finished mask or seed is."""

    sample: Sample
    shot: Shot
    miou: float | None
    confidence: float


def gallery(
    run: RunFolder,
    data: Dataset,
    settings: Settings,
    known: Known,
    lists: Sequence[str],
    number: int,
) -> tuple[Gallery, Ranked]:
    """Read photos of a run with their maps, truth and finished masks.

    Args:
        run: its folder.
        data: its data set.
        settings: its settings.
        known: what the run knows; it has maps.
        lists: which photos are shown.
        number: 0 or more: photos to show, an equal share of each list, evenly spaced.

    Raises:
        InputError: a photo, map or mask is missing or damaged.
    """
    masks = run.mask_folders(settings)
    members = {name: {sample.name for sample in data.samples(name)} for name in lists}
    samples = _samples(data, lists, number)
    cut = list(known.kinds).index(_cut_kind(known))

    def read(sample: Sample) -> _Read:
        positions = [place for place, name in enumerate(lists) if sample.name in members[name]]
        maps = [load_maps(run.maps(kind) / f"{sample.name}.npz") for kind in known.kinds]
        files = [folder / f"{sample.name}.png" for folder in masks.values()]
        drawn = {place: load_mask(path) for place, path in enumerate(files) if path.is_file()}
        truth = data.truth(sample) if data.truth and sample.mask is not None else None
        made = shot(sample.name, positions, load_image(sample.image), maps, drawn, truth)
        miou = None
        # Where most of a photo is not measured, any mask can have a high mIoU.
        if truth is not None and (truth < 255).mean() > 0.5:
            table = confusion(_finished(run, known, sample, maps[cut]), truth, len(data.classes))
            miou = float(metrics(table).miou)
        start = known.thresholds[known.kinds[cut]].value
        return _Read(sample, made, miou, confidence(maps[cut].maps, maps[cut].classes, start))

    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(read, samples)
        found = list(track(results, "report", total=len(samples), unit="photos"))
    starts = [known.thresholds[kind] for kind in known.kinds]
    made = Gallery(
        shots=[one.shot for one in found],
        lists=lists,
        kinds=[TITLES[kind] for kind in known.kinds],
        fixed=[TITLES[kind] for kind in masks],
        seed=list(known.kinds).index(settings.seed_kind),
        starts=[start.value for start in starts],
        origins=[start.origin for start in starts],
        thresholds=thresholds(*(start.value for start in starts)),
    )
    return made, _ranked(found)


def _ranked(found: Sequence[_Read]) -> Ranked:
    """Photos without a tag say little of masks and are left out."""
    tagged = [one for one in found if one.sample.tags]
    measured = [(one.miou, one.sample) for one in tagged if one.miou is not None]
    values = measured or [(one.confidence, one.sample) for one in tagged]
    best_first = sorted(values, key=lambda pair: (-pair[0], pair[1].name))
    return Ranked("mIoU" if measured else "confidence", best_first)


def pictures(run: RunFolder, data: Dataset, known: Known, ranked: Ranked) -> list[Picture]:
    """The photos of the first screen under their masks.

    Raises:
        InputError: a photo, map or mask is missing or damaged.
    """
    made = []
    for rank, place in six(len(ranked.photos)):
        value, sample = ranked.photos[place]
        mask = _finished(run, known, sample)
        photo = reduced(load_image(sample.image), PICTURE)
        small = np.asarray(Image.fromarray(mask).resize(photo.size, Image.Resampling.NEAREST))
        shown = classes_in(mask, len(data.classes))
        colours = [(data.classes[v - 1], "#" + bytes(palette()[v]).hex()) for v in shown]
        picture = jpeg(draw_overlay(photo, small))
        made.append(Picture(sample.name, rank, value, picture, photo.size, colours))
    return made


def six(number: int) -> list[tuple[str, int]]:
    """Rank and place of up to six out of some photos: the first, the middle and the last ones."""
    each, last = (2 if number >= 6 else 1), ("best", "middle", "worst")
    if number < len(last):
        return [("best", 0), ("worst", 1)][:number]
    firsts = (0, (number - each) // 2, number - each)
    return [
        (rank, first + step)
        for rank, first in zip(last, firsts, strict=True)
        for step in range(each)
    ]


def _cut_kind(known: Known) -> str:
    """The kind of maps that becomes masks."""
    return known.masks.kind if known.masks else known.seed_kind


def _finished(
    run: RunFolder, known: Known, sample: Sample, maps: Maps | None = None
) -> NDArray[np.uint8]:
    """A photo's corrected or pseudo mask; before these are made, its seed."""
    if known.masks:
        return load_mask(_mask_file(run, known, sample))
    kind = _cut_kind(known)
    maps = maps or load_maps(run.maps(kind) / f"{sample.name}.npz")
    return photo_seed(maps, known.thresholds[kind].value)


def _mask_file(run: RunFolder, known: Known, sample: Sample) -> Path:
    corrected = run.masks("corrected") / f"{sample.name}.png"
    if known.corrected and corrected.is_file():
        return corrected
    return run.masks("masks") / f"{sample.name}.png"


def _samples(data: Dataset, lists: Sequence[str], number: int) -> list[Sample]:
    """An equal share of each list; a photo on several of them once."""
    samples: dict[str, Sample] = {}
    for place, name in enumerate(lists):
        share = number // len(lists) + (place < number % len(lists))
        samples |= {sample.name: sample for sample in spaced(data.samples(name), share)}
    return [samples[name] for name in sorted(samples)]
