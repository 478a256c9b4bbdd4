"""What photos without a tag are worth: cats alone, with untagged photos, with tagged ones.

    OMP_NUM_THREADS=1 python studies/untagged.py DATA WEIGHTS OUT

From a VOC folder with labels.csv, such as the one of configs/voc-animals-cpu.yaml, it draws 60
photos whose only tag is cat and 120 photos without a cat, all with masks. Three data sets are made
of them: the cats; the cats and the others without tags; the cats and the others with their tags.
configs/tags-folder-cpu.yaml learns from each, with MobileNetV2 and ten epochs, up to the seeds, and
the seeds of the 60 cats are measured with their masks. Nothing is chosen here: photos are drawn by
a fixed seed, and all other settings are those of the configuration. It writes OUT/untagged.json
and prints a table.
"""

import argparse
import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import esol
from esol.data.classes import VOC_CLASSES
from esol.data.images import load_mask, save_mask
from esol.maps.files import load_maps
from esol.masks.threshold import choose_threshold
from esol.runs.folder import RunFolder
from esol.runs.manifest import provenance
from esol.settings.load import dump_settings
from esol.system.files import write_json

CLASS, CATS, OTHERS, DRAW = "cat", 60, 120, 0
SEEDS = (0, 1, 2)
ROWS = ("cats alone", "with the others, untagged", "with the others, tagged")
COLUMNS = ("fixed", "auto", "best")
KINDS = ("cam", "shrinkage")
CONFIG = "tags-folder-cpu"
UNTIL_SEEDS = (
    *("--data.evaluate=[cats]", "--refine.methods=[]", "--segment.network=none"),
    *("--masks.source=seeds", "--masks.threshold=0.3"),
    *("--backbone.name=mobilenetv2_100", "--backbone.power=1"),
    *("--classify.fit.steps=0", "--classify.fit.epochs=10"),
)


def main() -> None:
    """Draw, learn, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="VOC folder with labels.csv and masks")
    parser.add_argument("weights", type=Path, help="ImageNet weights of mobilenetv2_100")
    parser.add_argument("out", type=Path, help="folder for data sets, runs and untagged.json")
    parsed = parser.parse_args()
    tags = _tags(parsed.data)
    cats, others = _drawn(parsed.data, tags)
    found: dict[str, Any] = {
        "photos": {"cats": cats, "others": others},
        "everything is cat": _trivial(parsed.data, cats),
        "record": provenance(),
        "rows": {},
    }
    for number, row in enumerate(ROWS):
        root = parsed.out / f"data-{number}"
        _write_set(parsed.data, root, cats, others if number else [], tags if number == 2 else {})
        for seed in SEEDS:
            settings = esol.load_settings(
                *(CONFIG, f"--seed={seed}", f"--backbone.weights={parsed.weights}"),
                *(f"--machine.cache={parsed.out / 'cache'}", *UNTIL_SEEDS),
            )
            run = esol.run(settings, root, parsed.out / f"run-{number}-{seed}")
            measured = RunFolder(run).metrics()["lists"]["cats"]
            figures = {kind: _figures(measured[kind], run, kind) for kind in KINDS}
            found["rows"].setdefault(row, {})[seed] = figures
    found["settings"] = dump_settings(settings)
    write_json(parsed.out / "untagged.json", found)
    print(json.dumps(found["everything is cat"]))
    _print(found)


def _tags(data: Path) -> dict[str, list[str]]:
    with (data / "labels.csv").open() as file:
        return {Path(row["image"]).stem: row["labels"].split() for row in csv.DictReader(file)}


def _drawn(data: Path, tags: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """Names of the cats and of the others, among the photos with masks."""
    lists = data / "ImageSets" / "Segmentation"
    names = [name for s in ("train", "val") for name in (lists / f"{s}.txt").read_text().split()]
    rng = np.random.default_rng(DRAW)
    alone = sorted(name for name in names if tags[name] == [CLASS])
    without = sorted(name for name in names if CLASS not in tags[name])
    cats = rng.choice(alone, CATS, replace=False).tolist()
    return sorted(cats), sorted(rng.choice(without, OTHERS, replace=False).tolist())


def _cat_mask(data: Path, name: str) -> np.ndarray:
    """(H, W) mask: 1 cat, 255 ignored, 0 elsewhere."""
    mask = load_mask(data / "SegmentationClassAug" / f"{name}.png")
    value = VOC_CLASSES.index(CLASS) + 1
    return np.where(mask == value, 1, np.where(mask == 255, 255, 0)).astype(np.uint8)


def _trivial(data: Path, cats: list[str]) -> float:
    """IoU of cat where every pixel of the cats' photos is called cat."""
    masks = [_cat_mask(data, name) for name in cats]
    return float(sum((m == 1).sum() for m in masks) / sum((m != 255).sum() for m in masks))


def _write_set(
    data: Path, root: Path, cats: list[str], others: list[str], tags: dict[str, list[str]]
) -> None:
    """A data folder with the list train, and the list cats to measure; photos are links."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = [f"{name},{CLASS},{split}" for name in cats for split in ("train", "cats")]
    rows += [f"{name},{';'.join(tags.get(name, ()))},train" for name in others]
    for name in (*cats, *others):
        link = root / "images" / f"{name}.jpg"
        if not link.exists():
            os.symlink(data.resolve() / "JPEGImages" / f"{name}.jpg", link)
    for name in cats:
        save_mask(_cat_mask(data, name), root / "masks" / f"{name}.png")
    used = sorted({tag for name in others for tag in tags.get(name, ())} - {CLASS})
    (root / "classes.txt").write_text("\n".join((CLASS, *used)) + "\n")
    (root / "labels.csv").write_text("\n".join(("image,labels,split", *rows)) + "\n")


def _figures(measured: dict[str, Any], run: Path, kind: str) -> dict[str, float]:
    """IoU of cat at three thresholds.

    The run's; the one that ``masks.threshold: auto`` chooses from the maps; the one with the best
    mean IoU, which takes masks to find.
    """
    best, folder = measured["best_on_ground_truth"], RunFolder(run).maps(kind)
    auto = choose_threshold(map(load_maps, sorted(folder.glob("*.npz"))))
    curves = measured["curves"]
    place = curves["threshold"].index(auto)
    precision, recall = (curves["per_class"][CLASS][key][place] for key in ("precision", "recall"))
    return {
        "auto": 1 / (1 / precision + 1 / recall - 1),
        "auto threshold": auto,
        "fixed": measured["fixed"]["per_class"][CLASS]["iou"],
        "best": best["per_class"][CLASS]["iou"],
        "best threshold": best["threshold"],
    }


def _print(found: dict[str, Any]) -> None:
    """The table of docs/data.md: means over the seeds, and each seed's."""
    print("| learned from | " + " | ".join(f"{k}, {at}" for k in KINDS for at in COLUMNS) + " |")
    for row, seeds in found["rows"].items():
        cells = []
        for kind in KINDS:
            for at in COLUMNS:
                values = [figures[kind][at] for figures in seeds.values()]
                each = ", ".join(f"{value:.3f}" for value in values)
                cells.append(f"{np.mean(values):.3f} ({each})")
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
