"""From a Reading to a Dataset: which photos are used, and what those without a tag are."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from esol.data.reading import Entry, Reading, Truth, choose_classes
from esol.data.sample import Dataset, Sample
from esol.errors import InputError
from esol.settings import Data

T = TypeVar("T")

_VARYING = re.compile(r"\(.*?\)|(?<!class )(?<!classes )(?<!tag )(?<!and )'.*?'|\S*[\d/\\._]\S*")
"""What differs in lines that say the same of several files: brackets, quotes, numbers, paths. Not
names of classes: each has to be told."""

_LEAST_TAGGED = 2
"""Photos with a tag without which nothing can be learned."""


def to_dataset(reading: Reading, settings: Data) -> Dataset:
    """Choose classes and photos as the settings say, and number the tags.

    ``notes`` has the reading's warnings, and what became of photos with none of the classes.

    Raises:
        InputError: the reading has problems, a class is not known, two photos share a name, or
            too few photos are left.
    """
    _refuse(reading.problems)
    classes = choose_classes(reading, settings)
    _refuse(untagged_problems(reading, settings, classes))
    notes = [*reading.warnings, *_unlisted_notes(reading)]
    splits: dict[str, tuple[Sample, ...]] = {}
    for split, entries in reading.splits.items():
        samples = _samples(reading, settings, entries, classes)
        notes += _untagged_notes(split, entries, samples)
        splits[split] = evenly_spaced(samples, settings.limit)
    _require_photos(reading.root, settings, splits)
    truth = None
    if reading.stored:
        truth = Truth(reading.stored, reading.known, classes, reading.alphabetical)
    root, masks = reading.root, reading.mask_set
    return Dataset(reading.kind, root, classes, splits, masks, truth, tuple(notes), reading.colours)


def _refuse(problems: Sequence[str]) -> None:
    """Raise an InputError of the first problems that are alike, if there are any."""
    if problems:
        first, *others = grouped(problems, least=2)
        tail = f" (and {len(others)} more: `esol check` lists them)" if others else ""
        raise InputError(first + tail)


def grouped(lines: Sequence[str], least: int = 4) -> list[str]:
    """The lines; of ``least`` or more that are alike only the first, with their number.

    Lines are alike if what they say of a file is, apart from names, numbers and brackets.

    >>> grouped([f"{n}.png: mask is {n} x {n} pixels: make them equal" for n in range(3, 8)])
    ['3.png: mask is 3 x 3 pixels: make them equal (and 4 more like this)']
    """
    kinds: dict[str, list[str]] = {}
    for line in lines:
        said = line.partition(": ")[2] or line
        kinds.setdefault(_VARYING.sub("", said), []).append(line)
    groups = (
        [f"{kind[0]} (and {len(kind) - 1} more like this)"] if len(kind) >= least else kind
        for kind in kinds.values()
    )
    return [line for group in groups for line in group]


def is_negative(entry: Entry, settings: Data, classes: Collection[str]) -> bool:
    """Whether a photo is one of background: it shows none of the classes, and is used."""
    used = settings.untagged == "negative" or (settings.untagged == "auto" and entry.finished)
    return used and not set(entry.tags) & set(classes)


def untagged_problems(
    reading: Reading, settings: Data, classes: Collection[str]
) -> tuple[str, ...]:
    """A line for each list with photos without a tag, where these are refused."""
    if settings.untagged != "refuse":
        return ()
    problems = []
    for split, entries in reading.splits.items():
        if names := [entry.name for entry in entries if not set(entry.tags) & set(classes)]:
            problems.append(
                f"{reading.root}: list {split!r}: {some(names)} without a tag: give tags, or set"
                " data.untagged: negative (photos of background) or skip"
            )
    return tuple(problems)


def some(names: Sequence[str]) -> str:
    """Number of photos and the first names.

    >>> some(["a"]), some(["a", "b", "c", "d"])
    ('1 photo (a)', '4 photos (a, b, c, ...)')
    """
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} photo{'s' if len(names) != 1 else ''} ({shown})"


def evenly_spaced(samples: tuple[Sample, ...], limit: int) -> tuple[Sample, ...]:
    """At most ``limit`` samples, evenly spaced; 0: all of them."""
    return tuple(spaced(samples, limit)) if limit else samples


def spaced(items: Sequence[T], number: int) -> Sequence[T]:
    """``number`` of the items, evenly spaced from the first on; at most all."""
    number = min(number, len(items))
    return [items[place * len(items) // number] for place in range(number)]


def _samples(
    reading: Reading, settings: Data, entries: tuple[Entry, ...], classes: tuple[str, ...]
) -> tuple[Sample, ...]:
    """Photos with one of the classes, and those of background."""
    number = {name: k for k, name in enumerate(classes)}
    blank = settings.untagged_masks and reading.stored is not None
    samples = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        tags = tuple(sorted({number[tag] for tag in entry.tags if tag in number}))
        if tags:
            samples.append(Sample(entry.name, entry.image, tags, entry.mask))
        elif is_negative(entry, settings, classes):
            mask = entry.image if blank and entry.mask is None else entry.mask
            samples.append(Sample(entry.name, entry.image, (), mask))
    return tuple(samples)


def _unlisted_notes(reading: Reading) -> Iterator[str]:
    """Photos beside the listed ones that nobody has listed."""
    if names := [path.relative_to(reading.root).as_posix() for path in reading.unlisted]:
        one = len(names) == 1
        is_not, rows = (
            ("is", "it is not used: add a row") if one else ("are", "they are not used: add rows")
        )
        yield f"{some(names)} {is_not} not in {reading.tag_set}, so {rows} (esol check lists all)"


def _untagged_notes(
    split: str, entries: tuple[Entry, ...], samples: tuple[Sample, ...]
) -> Iterator[str]:
    """What became of a list's photos without a tag."""
    negative = sum(not sample.tags for sample in samples)
    left_out = len(entries) - len(samples)
    for count, what in ((negative, "taken for background"), (left_out, "left out")):
        if count:
            verb = "has" if count == 1 else "have"
            yield f"{split}: {count} of {len(entries)} photos {verb} no tag, {what}"


def _require_photos(root: Path, settings: Data, splits: Mapping[str, tuple[Sample, ...]]) -> None:
    """Check that no list has too few photos, and no two photos one name."""
    for split, samples in splits.items():
        if not samples:
            raise InputError(f"{root}: list {split!r} has no tagged photo: name another list")
        tagged = sum(bool(sample.tags) for sample in samples)
        if split == settings.train and tagged < _LEAST_TAGGED:
            what = f"{tagged} tagged photos: at least {_LEAST_TAGGED} needed"
            raise InputError(f"{root}: list {split!r} has {what}")
    files: dict[str, Path] = {}
    for sample in (sample for samples in splits.values() for sample in samples):
        other = files.setdefault(sample.name, sample.image)
        if other != sample.image:
            raise InputError(f"{sample.image}: same name as {other}: rename one of them")
