"""The gallery's photos, read from a run folder and its data set."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from esol.data import Dataset, Sample
from esol.data.images import load_image, load_mask
from esol.data.selection import spaced
from esol.maps.files import load_maps
from esol.metrics.histogram import thresholds
from esol.report.gallery import Gallery, Shot, shot
from esol.runs.folder import RunFolder
from esol.settings import Settings
from esol.system.progress import track

THREADS = 4
"""Photos read at a time: decoding releases Python's lock, and few large ones fit into memory."""


def gallery(
    run: RunFolder, data: Dataset, settings: Settings, titles: Mapping[str, str], number: int
) -> Gallery:
    """Read photos of a run with their maps, truth and finished masks.

    ``titles``: kind of maps or masks -> title. ``number``, 0 or more: photos to show, an equal
    share of each evaluated list, evenly spaced.

    Raises:
        InputError: a photo, map or mask is missing or damaged.
    """
    maps, masks = run.map_folders(settings), run.mask_folders(settings)
    lists = settings.data.evaluate
    members = {name: {sample.name for sample in data.samples(name)} for name in lists}
    samples = _samples(data, lists, number)

    def read(sample: Sample) -> Shot:
        positions = [place for place, name in enumerate(lists) if sample.name in members[name]]
        files = [folder / f"{sample.name}.png" for folder in masks.values()]
        return shot(
            sample.name,
            positions,
            load_image(sample.image),
            [load_maps(folder / f"{sample.name}.npz") for folder in maps.values()],
            {place: load_mask(path) for place, path in enumerate(files) if path.is_file()},
            data.truth(sample) if data.truth and sample.mask is not None else None,
        )

    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(read, samples)
        shots = list(track(results, "report", total=len(samples), unit="photos"))
    return Gallery(
        shots=shots,
        lists=lists,
        kinds=[titles[kind] for kind in maps],
        fixed=[titles[kind] for kind in masks],
        seed=list(maps).index(settings.seed_kind),
        threshold=settings.seeds.threshold,
        thresholds=thresholds(settings.seeds.threshold),
    )


def _samples(data: Dataset, lists: Sequence[str], number: int) -> list[Sample]:
    """An equal share of each list; a photo on several of them once."""
    samples: dict[str, Sample] = {}
    for place, name in enumerate(lists):
        share = number // len(lists) + (place < number % len(lists))
        samples |= {sample.name: sample for sample in spaced(data.samples(name), share)}
    return [samples[name] for name in sorted(samples)]
