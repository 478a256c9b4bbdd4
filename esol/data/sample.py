"""Sample and Dataset: the one form in which every data source reaches the rest of the program."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""Mask value of pixels that take no part in any metric."""

MAX_CLASSES = 254
"""Masks are 8-bit: 0 is background, 255 is ignored, the rest are classes."""


@dataclass(frozen=True)
class Sample:
    """One photo with its image-level tags.

    Attributes:
        name: unique within the data set, a relative POSIX path without suffix ("cats/0001");
            output files are called after it. Never absolute, never with "..".
        image: the photo's file.
        tags: sorted class indices, 0 .. K-1 (background is not a tag).
        mask: key of the ground truth (a mask file for most layouts), None where there is none.
    """

    name: str
    image: Path
    tags: tuple[int, ...]
    mask: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """Photos, tags and, where known, masks.

    Attributes:
        kind: "folder", "voc" or "coco".
        root: folder given by the user.
        classes: names of the K classes, without background; mask value k + 1 is ``classes[k]``.
        splits: list name -> its samples, sorted by name.
        mask_set: what the ground truth is ("SegmentationClassAug", "masks", ...), "" without one.
        truth: reads a sample's mask as (H, W) uint8, 0 background, 1 .. K, 255 ignored.
        notes: what was left out while reading, one sentence each, to be printed and recorded.
    """

    kind: str
    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    mask_set: str = ""
    truth: Callable[[Sample], NDArray[np.uint8]] | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()

    def samples(self, *splits: str) -> tuple[Sample, ...]:
        """Samples of the named lists, each photo once, sorted by name."""
        union = {sample.name: sample for split in splits for sample in self.splits[split]}
        return tuple(union[name] for name in sorted(union))

    def fingerprint(self, *splits: str) -> str:
        """SHA-256 over class names and the named lists: members, tags, sizes of the photos' files.

        The root folder takes no part, so a moved data set keeps its fingerprint; neither do file
        contents, so that a large set is fingerprinted in seconds.
        """
        content = {
            "classes": self.classes,
            "mask_set": self.mask_set,
            "splits": {
                split: [[s.name, s.tags, s.image.stat().st_size] for s in samples]
                for split, samples in ((split, self.splits[split]) for split in splits)
            },
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
