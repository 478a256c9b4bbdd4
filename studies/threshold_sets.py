"""Data sets on which the rule for the mask threshold is developed: little, usual and no background.

    python studies/threshold_sets.py VOC OUT

VOC is a folder in VOC's layout with masks (SegmentationClassAug). Written are, in the layout of
docs/data.md, with masks:

    OUT/small    photos of `train_aug` whose tagged objects fill less than 5 %
    OUT/half     the same photos cropped until the tagged objects fill 45 to 60 %
    OUT/filled   cropped closer, until they fill more than 80 %
    OUT/drawn    the synthetic set, hard scenes
    OUT/covered  the same with grounds for classes: no pixel is background

Ground truth chooses photos and crops, as a photographer would, never a threshold. Each set has a
list "train" to develop on and a list "val", of VOC's `val`, to measure once.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import esol
from esol.data.classes import VOC_CLASSES
from esol.data.images import save_mask

KEPT = ("cat", "chair", "cow", "dog", "horse", "person", "sheep", "sofa")
"""Classes with 100 photos or more; pixels of the others are ignored (255)."""

SMALL = (0.003, 0.05)
CROPS = {"half": (0.45, 0.60), "filled": (0.82, 1.01)}
"""Least and greatest share of the pixels that tagged objects fill."""

SIDE, LIMIT = 128, 300
"""Least side of a crop in pixels, and photos of a list at most."""

Mask = NDArray[np.uint8]
Box = tuple[int, int, int, int]


def photos(voc: Path, split: str) -> Iterator[tuple[str, Image.Image, Mask]]:
    """Name, photo and mask (0, 1 .. 8, 255) of each photo of a list."""
    values = np.zeros(256, np.uint8)
    values[1:] = 255
    for place, name in enumerate(KEPT):
        values[VOC_CLASSES.index(name) + 1] = place + 1
    for name in (voc / f"ImageSets/Segmentation/{split}.txt").read_text().split():
        photo = Image.open(voc / f"JPEGImages/{name}.jpg")
        yield name, photo, values[np.asarray(Image.open(voc / f"SegmentationClassAug/{name}.png"))]


def crop(mask: Mask, low: float, high: float) -> Box | None:
    """The largest box (left, top, right, bottom) of which objects fill ``low`` to ``high``.

    Its sides move from the photo's towards the median of the objects' pixels: their bulk, no limb.
    """
    inside = (mask > 0) & (mask < 255)
    if not inside.any():
        return None
    y, x = (float(np.median(places)) for places in np.nonzero(inside))
    height, width = mask.shape
    for share in np.arange(1, 0.15, -0.03):
        left, right = round(x - share * x), round(x + share * (width - x))
        top, bottom = round(y - share * y), round(y + share * (height - y))
        if min(right - left, bottom - top) < SIDE:
            return None
        if (fill := inside[top:bottom, left:right].mean()) > low:
            return (left, top, right, bottom) if fill < high else None
    return None


def cropped(
    voc: Path, split: str, low: float, high: float
) -> Iterator[tuple[str, Image.Image, Mask]]:
    """Crops that objects fill to a degree."""
    for name, photo, mask in photos(voc, split):
        if box := crop(mask, low, high):
            left, top, right, bottom = box
            yield name, photo.crop(box), mask[top:bottom, left:right]


def small(voc: Path, split: str) -> Iterator[tuple[str, Image.Image, Mask]]:
    """Photos whose objects are small."""
    for name, photo, mask in photos(voc, split):
        if SMALL[0] < ((mask > 0) & (mask < 255)).mean() < SMALL[1]:
            yield name, photo, mask


def write(root: Path, lists: dict[str, Iterable[tuple[str, Image.Image, Mask]]]) -> None:
    """Write a data set."""
    rows = []
    (root / "images").mkdir(parents=True)
    for split, items in lists.items():
        for _, (name, photo, mask) in zip(range(LIMIT), items, strict=False):
            photo.convert("RGB").save(root / "images" / f"{name}.jpg", quality=95)
            save_mask(mask, root / "masks" / f"{name}.png")
            tags = " ".join(KEPT[v - 1] for v in np.unique(mask) if 0 < v < 255)
            rows.append((f"images/{name}.jpg", tags, split))
    with (root / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "labels", "split"), *rows])
    (root / "classes.txt").write_text("\n".join(KEPT) + "\n", encoding="utf-8")


def main() -> None:
    """Write the sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voc", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    voc, lists = given.voc, {"train": "train_aug", "val": "val"}
    write(given.out / "small", {name: small(voc, split) for name, split in lists.items()})
    for root, fill in CROPS.items():
        items = {name: cropped(voc, split, *fill) for name, split in lists.items()}
        write(given.out / root, items)
    esol.write_synthetic(given.out / "drawn", 600, 96, seed=1, hard=True)
    esol.write_synthetic(given.out / "covered", 600, 96, seed=1, background=False, hard=True)


if __name__ == "__main__":
    main()
