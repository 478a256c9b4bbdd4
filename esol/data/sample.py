"""Sample and Dataset: the form of every data source."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data import packed

IGNORE = 255
"""Mask value of pixels that take no part in any metric."""

BACKGROUND = "background"
"""Name of mask value 0, which no tag may have."""

CLASSES = "classes.json"
"""Beside predicted masks: names and colours of their values, and what made them."""

MAX_CLASSES = 254
"""Masks are 8-bit: 0 is background, 255 is ignored, the rest are classes."""


@dataclass(frozen=True)
class Sample:
    """One photo with its image-level tags.

    Attributes:
        name: unique within the data set, a relative POSIX path without suffix ("cats/0001") and
            without ".."; it names the output files.
        image: the photo's file, or its path in a Parquet or Arrow file (:mod:`esol.data.packed`).
        tags: sorted class indices, 0 .. K-1 (background is not a tag); none of a photo of
            background, which shows none of the classes.
        mask: key of the ground truth (a mask file for most layouts), None where there is none.
    """

    name: str
    image: Path
    tags: tuple[int, ...]
    mask: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """Photos, tags and, if known, masks.

    Attributes:
        kind: "folder", "voc" or "coco".
        root: folder given by the user.
        classes: names of the K classes, without background; mask value k + 1 is ``classes[k]``.
        splits: list name -> its samples, sorted by name.
        mask_set: what the ground truth is ("SegmentationClassAug", "masks", ...), "" without one.
        colours: the table that says what the colours of masks mean, None where they are numbers.
        truth: reads a sample's mask as (H, W) uint8, 0 background, 1 .. K, 255 ignored.
        notes: what was left out, has no tag or may be a mistake, one sentence each, to be printed
            and recorded.
    """

    kind: str
    root: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    mask_set: str = ""
    truth: Callable[[Sample], NDArray[np.uint8]] | None = field(default=None, compare=False)
    notes: tuple[str, ...] = ()
    colours: Path | None = None

    def samples(self, *splits: str) -> tuple[Sample, ...]:
        """Samples of the named lists, each photo once, sorted by name."""
        union = {sample.name: sample for split in splits for sample in self.splits[split]}
        return tuple(union[name] for name in sorted(union))

    def fingerprint(self, *splits: str) -> dict[str, Any]:
        """Class names and, per named list, a SHA-256 over members, tags and sizes of photo files.

        Of photos in a Parquet or Arrow file, its size counts. A moved data set keeps its
        fingerprint. File contents are not read: a large set takes seconds.
        """
        return {"classes": self.classes} | {split: self._of_list(split) for split in splits}

    def _of_list(self, split: str) -> dict[str, Any]:
        rows = [[s.name, s.tags, packed.stat(s.image).st_size] for s in self.splits[split]]
        digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        return {"photos": len(rows), "sha256": digest}

    def truth_fingerprint(self, split: str) -> str:
        """SHA-256 over the ground truth of a list: the mask files, or the masks drawn from JSON.

        And over the table of their colours, if there is one.
        """
        digest = hashlib.sha256(self.mask_set.encode())
        digest.update(self.colours.read_bytes() if self.colours else b"")
        for sample in self.splits[split]:
            if sample.mask is None or self.truth is None:
                continue
            is_file = sample.mask.is_file()
            content = sample.mask.read_bytes() if is_file else self.truth(sample).tobytes()
            digest.update(sample.name.encode() + b"\0" + content)
        return digest.hexdigest()
