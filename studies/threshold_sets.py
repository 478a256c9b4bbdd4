"""Data sets on which the rule for the mask threshold is developed: little, usual and no background.

    python studies/threshold_sets.py VOC OUT

VOC is a folder in VOC's layout with masks (SegmentationClassAug). Written are, in the layout of
docs/data.md, with masks:

    OUT/filled   photos of `train_aug`, cropped until the tagged objects fill more than 80 %
    OUT/small    photos of `train_aug` whose tagged objects fill less than 5 %
    OUT/drawn    the synthetic set
    OUT/covered  the synthetic set with grounds for classes: no pixel is background

Ground truth chooses photos and crops, as a photographer would, never a threshold. Each set but
`drawn` has a list "train" to develop on and a list "val", made from VOC's `val`, to measure once.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import esol
from esol.data.images import save_mask
from esol.data.voc import VOC_CLASSES

KEPT = ("cat", "chair", "cow", "dog", "horse", "person", "sheep", "sofa")
"""Classes with 100 photos or more; pixels of the others are ignored (255)."""

FILLED, SMALL, LEAST, SIDE = 0.8, 0.05, 0.003, 128
"""Shares of the pixels that tagged objects fill, and the least side of a crop, pixels."""

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


def crop(mask: Mask) -> Box | None:
    """The largest box (left, top, right, bottom) around the objects' centre that they fill."""
    inside = (mask > 0) & (mask < 255)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    # Sides shrink towards the median of the objects' pixels: towards their bulk, not a limb.
    y, x = (float(np.median(places)) for places in np.nonzero(inside))
    for share in np.arange(1, 0.2, -0.05):
        left, right = (round(x + share * (edge - x)) for edge in (columns[0], columns[-1] + 1))
        top, bottom = (round(y + share * (edge - y)) for edge in (rows[0], rows[-1] + 1))
        if min(right - left, bottom - top) < SIDE:
            return None
        if inside[top:bottom, left:right].mean() > FILLED + 0.02:
            return left, top, right, bottom
    return None


def filled(voc: Path, split: str) -> Iterator[tuple[str, Image.Image, Mask]]:
    """Crops that objects fill."""
    for name, photo, mask in photos(voc, split):
        if box := crop(mask):
            left, top, right, bottom = box
            yield name, photo.crop(box), mask[top:bottom, left:right]


def small(voc: Path, split: str) -> Iterator[tuple[str, Image.Image, Mask]]:
    """Photos whose objects are small."""
    for name, photo, mask in photos(voc, split):
        if LEAST < ((mask > 0) & (mask < 255)).mean() < SMALL:
            yield name, photo, mask


def write(
    root: Path, lists: dict[str, Iterable[tuple[str, Image.Image, Mask]]], limit: int
) -> None:
    """Write a data set; ``limit`` photos of each list at most."""
    rows = []
    (root / "images").mkdir(parents=True)
    for split, items in lists.items():
        for _, (name, photo, mask) in zip(range(limit), items, strict=False):
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
    for name, chosen in (("filled", filled), ("small", small)):
        lists = {"train": chosen(given.voc, "train_aug"), "val": chosen(given.voc, "val")}
        write(given.out / name, lists, 400)
    esol.write_synthetic(given.out / "drawn", 600, 96, seed=1)
    esol.write_synthetic(given.out / "covered", 600, 96, seed=1, background=False)


if __name__ == "__main__":
    main()
