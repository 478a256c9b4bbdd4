"""The photos of docs/quickstart.md: 40 to learn from, 12 new ones, and masks in other folders.

    python studies/quickstart.py VOC OUT

VOC is a folder in VOC's layout with labels.csv and masks (SegmentationClassAug). Written are

    OUT/photos/TAG/NAME.jpg    the first ten photos of `train` with no other tag, for each of TAGS
    OUT/truth/TAG/NAME.png     their masks, which no command but `esol evaluate MASKS --gt` sees
    OUT/new-photos/NAME.jpg    the first three of `val` for each, with OUT/new-truth/NAME.png

The page's commands, called in OUT, then give its figures.
"""

import argparse
import csv
import os
from pathlib import Path

import numpy as np

from esol.data.classes import VOC_CLASSES
from esol.data.images import load_mask, save_mask

TAGS = ("cat", "dog", "horse", "sheep")
LEARNED, NEW = 10, 3


def main() -> None:
    """Link photos and write masks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voc", type=Path)
    parser.add_argument("out", type=Path)
    parsed = parser.parse_args()
    for tag in TAGS:
        for name in _alone(parsed.voc, "train", tag)[:LEARNED]:
            _write(parsed.voc, name, parsed.out / "photos" / tag, parsed.out / "truth" / tag)
        for name in _alone(parsed.voc, "val", tag)[:NEW]:
            _write(parsed.voc, name, parsed.out / "new-photos", parsed.out / "new-truth")


def _alone(voc: Path, split: str, tag: str) -> list[str]:
    """Names of a list's photos that have this tag and no other."""
    with (voc / "labels.csv").open() as file:
        tags = {Path(row["image"]).stem: row["labels"].split() for row in csv.DictReader(file)}
    names = (voc / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
    return [name for name in names if tags[name] == [tag]]


def _write(voc: Path, name: str, photos: Path, truth: Path) -> None:
    """A link to the photo, and its mask: 1 .. 4 in the order of TAGS, 255 ignored, 0 elsewhere."""
    photos.mkdir(parents=True, exist_ok=True)
    os.symlink(voc.resolve() / "JPEGImages" / f"{name}.jpg", photos / f"{name}.jpg")
    values = np.zeros(256, np.uint8)
    values[255] = 255
    for place, tag in enumerate(TAGS):
        values[VOC_CLASSES.index(tag) + 1] = place + 1
    save_mask(
        values[load_mask(voc / "SegmentationClassAug" / f"{name}.png")], truth / f"{name}.png"
    )


if __name__ == "__main__":
    main()
