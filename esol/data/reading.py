"""Reading: a data folder as its layout's reader saw it, problems included, and its Dataset."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esol.data.images import image_size
from esol.data.sample import BACKGROUND, IGNORE, MAX_CLASSES, Dataset, Sample
from esol.errors import InputError
from esol.settings import Data


@dataclass(frozen=True)
class Entry:
    """A photo as read: a Sample whose tags are still names."""

    name: str
    image: Path
    tags: tuple[str, ...]
    mask: Path | None = None


@dataclass(frozen=True)
class Reading:
    """Content of a data folder.

    Attributes:
        kind: "folder", "voc" or "coco".
        root: the data folder.
        known: classes in the order of the stored mask values; value k + 1 is ``known[k]``.
        splits: list name -> its photos, in any order.
        problems: one line each, beginning with a file name; the data set is unusable with any.
        mask_set: what the ground truth is, "" without one.
        stored: reads the mask under a photo's key as (H, W) uint8 of stored values.
        own_classes: the user chose the class names, so a class without photos is a mistake.
        unlisted: photos beside the listed ones that are not listed.
        available: all existing lists, read or not.
        tag_set: source of the tags, "" if the layout fixes it.
    """

    kind: str
    root: Path
    known: tuple[str, ...]
    splits: Mapping[str, tuple[Entry, ...]]
    problems: tuple[str, ...] = ()
    mask_set: str = ""
    stored: Callable[[Path], NDArray[np.uint8]] | None = None
    own_classes: bool = False
    unlisted: tuple[Path, ...] = ()
    available: tuple[str, ...] = ()
    tag_set: str = ""


@dataclass(frozen=True)
class Truth:
    """Reads masks and renumbers their classes; loader processes can copy it."""

    stored: Callable[[Path], NDArray[np.uint8]]
    known: tuple[str, ...]
    classes: tuple[str, ...]

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """Mask of a sample: (H, W) uint8, 0 background, 1 .. K, 255 ignored.

        A mask that is missing, unreadable or not that of the photo is an InputError.
        """
        if sample.mask is None:
            raise InputError(f"{sample.image}: has no mask")
        mask = self.stored(sample.mask)
        if problem := mask_problem(mask, sample.mask, self.known, image_size(sample.image)):
            raise InputError(problem)
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[0] = 0
        for number, name in enumerate(self.classes, start=1):
            table[self.known.index(name) + 1] = number
        return table[mask]


def mask_problem(
    mask: NDArray[np.uint8], key: Path, known: tuple[str, ...], size: tuple[int, int]
) -> str:
    """One line on what is wrong with a stored (H, W) uint8 mask, or "".

    Values 1 .. K stand for the known classes; ``size`` is the photo's (height, width).
    """
    if mask.shape != size:
        own, photo = (f"{width} x {height}" for height, width in (mask.shape, size))
        return f"{key}: mask is {own} pixels, its photo {photo}: make them equal"
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = [int(v) for v in values if len(known) < v < IGNORE]
    if unknown:
        shown = ", ".join(map(str, unknown[:5]))
        return f"{key}: value {shown} is not a class: use 0, 1 .. {len(known)} and {IGNORE}"
    return ""


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
    notes: list[str] = []
    splits: dict[str, tuple[Sample, ...]] = {}
    for split, entries in reading.splits.items():
        samples = _samples(entries, classes)
        if len(samples) < len(entries):
            count = len(entries) - len(samples)
            notes.append(f"{split}: {count} of {len(entries)} photos have no tag, left out")
        splits[split] = evenly_spaced(samples, settings.limit)
    _require_photos(reading.root, settings, splits)
    truth = Truth(reading.stored, reading.known, classes) if reading.stored else None
    root, masks = reading.root, reading.mask_set
    return Dataset(reading.kind, root, classes, splits, masks, truth, tuple(notes))


def choose_classes(reading: Reading, settings: Data) -> tuple[str, ...]:
    """The classes in use: ``settings.classes``, or all known ones, at most ``MAX_CLASSES``."""
    for name in settings.classes:
        if name not in reading.known:
            known = ", ".join(reading.known)
            raise InputError(f"data.classes = {name!r}: {reading.root} has {known}")
    if BACKGROUND in reading.known:
        raise InputError(f"{reading.root}: no class may be called {BACKGROUND!r}: rename the tag")
    classes = settings.classes or reading.known
    count = len(reading.known)
    if not 1 <= count <= MAX_CLASSES:
        raise InputError(f"{reading.root}: {count} classes: must be 1 .. {MAX_CLASSES}")
    return classes


def wanted_lists(settings: Data) -> tuple[str, ...]:
    """The lists that a run needs, each once: the training list, then those to evaluate on."""
    return tuple(dict.fromkeys((settings.train, *settings.evaluate)))


def require_lists(root: Path, settings: Data, available: list[str]) -> tuple[str, ...]:
    """The wanted lists; an InputError that gives the existing ones if one is missing."""
    for split in wanted_lists(settings):
        if split not in available:
            key = "data.train" if split == settings.train else "data.evaluate"
            lists = ", ".join(sorted(available)) or "none"
            raise InputError(f"{key} = {split!r}: {root} has no such list (available: {lists})")
    return wanted_lists(settings)


def mask_folder(root: Path, settings: Data, usual: tuple[str, ...]) -> Path | None:
    """The folder of masks: that of ``settings.masks``, which must exist, else a usual one."""
    if settings.masks and not (root / settings.masks).is_dir():
        raise InputError(f"data.masks = {settings.masks!r}: {root} has no such folder")
    names = (settings.masks,) if settings.masks else usual
    return next((root / name for name in names if (root / name).is_dir()), None)


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
