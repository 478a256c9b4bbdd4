"""From a Reading to a Dataset: which photos are used."""

from collections.abc import Mapping
from pathlib import Path

from esol.data.reading import Entry, Reading, Truth, choose_classes
from esol.data.sample import Dataset, Sample
from esol.errors import InputError
from esol.settings import Data


def to_dataset(reading: Reading, settings: Data) -> Dataset:
    """Choose classes and photos by ``classes`` and ``limit`` of the settings, and number the tags.

    Photos with none of the classes are left out of every list; ``notes`` says so.

    Raises:
        InputError: the reading has problems, a class is not known, two photos share a name, or
            too few photos are left.
    """
    if reading.problems:
        more = len(reading.problems) - 1
        tail = f" (and {more} more: `esol check` lists them)" if more else ""
        raise InputError(reading.problems[0] + tail)
    classes = choose_classes(reading, settings)
    notes = list(reading.warnings)
    splits: dict[str, tuple[Sample, ...]] = {}
    for split, entries in reading.splits.items():
        samples = _samples(entries, classes)
        if len(samples) < len(entries):
            count = len(entries) - len(samples)
            notes.append(f"{split}: {count} of {len(entries)} photos have no tag, left out")
        splits[split] = evenly_spaced(samples, settings.limit)
    _require_photos(reading.root, settings, splits)
    truth = None
    if reading.stored:
        truth = Truth(reading.stored, reading.known, classes, reading.alphabetical)
    root, masks = reading.root, reading.mask_set
    return Dataset(reading.kind, root, classes, splits, masks, truth, tuple(notes))


def evenly_spaced(samples: tuple[Sample, ...], limit: int) -> tuple[Sample, ...]:
    """At most ``limit`` samples, evenly spaced; 0: all of them."""
    if not limit or len(samples) <= limit:
        return samples
    return tuple(samples[i * len(samples) // limit] for i in range(limit))


def _samples(entries: tuple[Entry, ...], classes: tuple[str, ...]) -> tuple[Sample, ...]:
    number = {name: k for k, name in enumerate(classes)}
    samples = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        tags = tuple(sorted({number[tag] for tag in entry.tags if tag in number}))
        if tags:
            samples.append(Sample(entry.name, entry.image, tags, entry.mask))
    return tuple(samples)


def _require_photos(root: Path, settings: Data, splits: Mapping[str, tuple[Sample, ...]]) -> None:
    """Check that no list has too few photos, and no two photos one name."""
    for split, samples in splits.items():
        least = 2 if split == settings.train else 1
        if len(samples) < least:
            what = f"{len(samples)} tagged photos: at least {least} needed"
            raise InputError(f"{root}: list {split!r} has {what}")
    files: dict[str, Path] = {}
    for sample in (sample for samples in splits.values() for sample in samples):
        other = files.setdefault(sample.name, sample.image)
        if other != sample.image:
            raise InputError(f"{sample.image}: same name as {other}: rename one of them")
