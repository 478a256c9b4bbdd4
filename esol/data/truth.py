"""Ground truth that cannot mean what it says: without classes, without background, or other classes
than the tags. What is said of it is said here, for check, run, evaluate and the report.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import IGNORE

NEARLY_ALL = 0.9
"""Share of masks that disagree with their tags from which on it is no accident."""

_LEAST = 2
"""So many masks at least must speak against the order of the classes."""

Pixels = Mapping[int, int]
"""Mask value -> its number of pixels."""


def pixels(mask: NDArray[np.uint8]) -> Pixels:
    """Count the pixels of an (H, W) mask by value, 0 .. 255; values without pixels are left out."""
    counts = np.bincount(mask.ravel(), minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def only_ignored(total: Pixels) -> str:
    """Why masks with these pixels measure no class, if all but background is 255; else ""."""
    if IGNORE not in total or total.keys() - {0, IGNORE}:
        return ""
    return (
        f"all that is not background in the masks is {IGNORE} (ignored), so no class is measured:"
        " store 1 for the class (2 for a second one, ..)"
    )


def cautions(total: Pixels) -> tuple[str, ...]:
    """What numbers cannot say that are measured on a ground truth with these pixels in all."""
    classes = total.keys() - {0, IGNORE}
    if why := only_ignored(total):
        return (why,)
    if not classes:
        shown = "the ground truth shows no class, only background"
        return (f"{shown}: mIoU and all other means are of the background alone",) if total else ()
    if 0 in total:
        return ()
    without = "the ground truth has no background"
    if len(classes) == 1:
        all_over = "a mask that shows the class all over is perfect: store 0 for the background"
        return (f"{without}: precision says nothing (no pixel can be wrong), and {all_over}",)
    return (
        f"{without}: foreground precision, recall and F1 say nothing (any mask that shows classes"
        " all over is perfect, whichever they are)",
    )


@dataclass(frozen=True)
class Shown:
    """What a mask shows, beside the tags of its photo.

    Attributes:
        mask: its file.
        tags: names of classes.
        drawn: names of classes.
        pixels: by mask value.
    """

    mask: Path
    tags: frozenset[str]
    drawn: frozenset[str]
    pixels: Pixels

    @property
    def contradicts(self) -> bool:
        """Whether mask and tags each have a class that the other lacks."""
        return bool(self.drawn - self.tags and self.tags - self.drawn)


def shown(
    mask: NDArray[np.uint8], file: Path, tags: Iterable[str], classes: Sequence[str]
) -> Shown:
    """See what an (H, W) mask shows; its values 1 .. K stand for the classes."""
    counts = pixels(mask)
    drawn = frozenset(classes[value - 1] for value in counts if 0 < value <= len(classes))
    return Shown(file, frozenset(tags), drawn, counts)


def total_pixels(masks: Iterable[Shown]) -> Pixels:
    """Pixels of all masks by value."""
    total: Counter[int] = Counter()
    for mask in masks:
        total.update(mask.pixels)
    return total


def against_tags(
    masks: Sequence[Shown], classes: Sequence[str], *, alphabetical: bool
) -> tuple[str, str]:
    """Compare masks with the tags of their photos.

    Args:
        masks: what they show.
        classes: names, mask value 1 first.
        alphabetical: nobody gave the order of the classes, so a new tag shifts their values.

    Returns:
        A problem and a warning, of which one or both are "". It is a problem if nearly all masks
        contradict their tags, or if a class that the alphabet put in its place is in several masks
        but never among the tags of their photos, which name classes that those masks lack.
    """
    compared = [mask for mask in masks if mask.tags and mask.drawn]
    wrong = [mask for mask in compared if mask.contradicts]
    if not wrong:
        return "", ""
    first = wrong[0]
    name = min(first.drawn - first.tags, key=classes.index)
    example = (
        f"{first.mask} shows {name!r} (value {classes.index(name) + 1}), but the photo's tags are"
        f" {', '.join(sorted(first.tags))}"
    )
    line = f"{len(wrong)} of {len(compared)} masks show other classes than the tags: {example}"
    advice = (
        "write the class names in the order of the mask values to classes.txt, or fix the tags"
        if alphabetical
        else "give the masks the values of these classes, or fix the tags"
    )
    strangers = [c for c in classes if alphabetical and _is_stranger(c, compared)]
    many = len(wrong) >= max(_LEAST, NEARLY_ALL * len(compared))
    return (f"{line}: {advice}", "") if many or strangers else ("", line)


def _is_stranger(name: str, masks: Sequence[Shown]) -> bool:
    """Whether several masks show a class, all against the tags, which never name it."""
    showing = [mask for mask in masks if name in mask.drawn]
    return len(showing) >= _LEAST and all(m.contradicts and name not in m.tags for m in showing)
