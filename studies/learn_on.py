"""What a run saves that learns on: 250 photos of six classes, then 500 photos of eight.

    OMP_NUM_THREADS=1 python studies/learn_on.py DATA WEIGHTS OUT

DATA is a VOC folder with labels.csv, such as the one of configs/voc-animals-cpu.yaml, and WEIGHTS
are those of MobileNetV2, with which configs/tags-folder-cpu.yaml learns everything. A fixed seed
draws 500 photos with a tag of CLASSES, as many as there are from the list `train` and the rest from
`train_aug`; 250 of them have a tag of the first six classes. A classifier learns from these. Then
others learn from all 500: new ones, and ones that start from it (classify.init), with fewer and
fewer steps. `val` is not touched. The maps are measured on those of the 500 that are in `train`.
Times are seconds of one processor, of each stage by itself; features lie in a cache that is shared,
and computing them is timed by itself.

Finished stages are not repeated when it is called again. It writes OUT/learn_on.json and prints
a table.
"""

import argparse
import csv
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import esol
from esol.runs.folder import RunFolder
from esol.runs.manifest import provenance
from esol.settings.load import dump_settings
from esol.system.files import write_json
from esol.system.read import read_json

CONFIG = "tags-folder-cpu"
CLASSES = ("cat", "cow", "dog", "horse", "person", "sheep", "chair", "sofa")
BEFORE, FIRST, ALL, DRAW = 6, 250, 500, 0
SEEDS = (0, 1, 2)
STEPS = 600
"""Of the configuration."""
ROWS = {f"{how}, {steps}": (how, steps) for steps in (600, 150, 75) for how in ("new", "init")}
STAGES = ("classify", "expand", "shrink", "cams", "seeds", "masks", "evaluate")
KINDS = ("cam", "shrinkage")
UP_TO_MASKS = (
    *("--data.kind=voc", "--segment.network=none", "--masks.source=seeds"),
    *("--backbone.name=mobilenetv2_100", "--backbone.power=1"),
)


class Times:
    """Seconds of one processor that each stage of each run took, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.of: dict[str, dict[str, float]] = read_json(path) if path.exists() else {}

    def run(self, settings: esol.Settings, data: Path, out: Path, *stages: str) -> dict[str, float]:
        """Run the stages, save those that were; returns the seconds of each."""
        times = self.of.setdefault(out.name, {})
        for stage in stages:
            if stage not in times:
                begun = time.process_time()
                esol.run(settings, data, out, first=stage, last=stage)
                times[stage] = time.process_time() - begun
                write_json(self.path, self.of)
        return times


def main() -> None:
    """Draw, learn, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="VOC folder with labels.csv and masks")
    parser.add_argument("weights", type=Path, help="ImageNet weights of mobilenetv2_100")
    parser.add_argument("out", type=Path, help="folder for lists, runs and learn_on.json")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--size", type=int, default=320, help="input.size; smaller is faster")
    parsed = parser.parse_args()
    data, out = parsed.out / "voc", parsed.out
    _write_lists(parsed.data, data)
    times = Times(out / "times.json")
    found: dict[str, Any] = {"record": provenance(), "features": {}, "rows": {}}

    def settings(
        classes: int, seed: int, steps: int, *flags: str, cache: Path | str = ""
    ) -> esol.Settings:
        train, measured = ("all", "measured") if classes == len(CLASSES) else ("first", "first")
        return esol.load_settings(
            *(CONFIG, *UP_TO_MASKS, f"--seed={seed}", f"--classify.fit.steps={steps}"),
            *(f"--backbone.weights={parsed.weights}", f"--data.train={train}"),
            *(f"--data.evaluate=[{measured}]", f"--data.classes=[{','.join(CLASSES[:classes])}]"),
            *(f"--input.size={parsed.size}", f"--machine.cache={cache}", *flags),
        )

    firsts = f"--classify.init={out / 'features-first'}"
    for name, classes, flags in (
        ("first", BEFORE, ()),
        ("new", len(CLASSES), ()),
        ("init", len(CLASSES), (firsts,)),
    ):
        # Each with a cache of its own, and as good as no training.
        run = out / f"features-{name}"
        seconds = times.run(settings(classes, 0, 1, *flags), data, run, "classify")
        found["features"][name] = seconds["classify"]
    cache = out / "features-new" / "cache"
    for seed in parsed.seeds:
        first = out / f"first-{seed}"
        times.run(settings(BEFORE, seed, STEPS, cache=cache), data, first, "classify")
        for row, (how, steps) in ROWS.items():
            flags = (f"--classify.init={first}",) if how == "init" else ()
            chosen = settings(len(CLASSES), seed, steps, *flags, cache=cache)
            run = out / f"{how}-{steps}-{seed}"
            figures: dict[str, Any] = {"seconds": times.run(chosen, data, run, *STAGES)}
            measured = RunFolder(run).metrics()["lists"]["measured"]
            for kind in KINDS:
                figures[kind] = _means(measured[kind]["best_on_ground_truth"]["per_class"])
            found["rows"].setdefault(row, {})[seed] = figures
            found["settings"] = dump_settings(chosen)
            write_json(out / "learn_on.json", found)
    _print(found)


def _write_lists(voc: Path, root: Path) -> None:
    """A VOC folder of links with the lists of the study."""
    lists = root / "ImageSets" / "Segmentation"
    if lists.exists():
        return
    root.mkdir(parents=True, exist_ok=True)
    for name in ("JPEGImages", "SegmentationClassAug", "labels.csv"):
        os.symlink(voc.resolve() / name, root / name)
    with (voc / "labels.csv").open() as file:
        tags = {Path(row["image"]).stem: row["labels"].split() for row in csv.DictReader(file)}
    train, more = (
        [
            name
            for name in (voc / "ImageSets" / "Segmentation" / f"{of}.txt").read_text().split()
            if set(tags[name]) & set(CLASSES)
        ]
        for of in ("train", "train_aug")
    )
    rng = np.random.default_rng(DRAW)
    others = sorted(set(more) - set(train))
    drawn = sorted([*train, *rng.choice(others, ALL - len(train), replace=False).tolist()])
    known = [name for name in drawn if set(tags[name]) & set(CLASSES[:BEFORE])]
    first = sorted(rng.choice(known, FIRST, replace=False).tolist())
    lists.mkdir(parents=True)
    for of, names in (("all", drawn), ("first", first), ("measured", train)):
        (lists / f"{of}.txt").write_text("\n".join(names) + "\n")


def _means(per_class: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean IoU, %: of all classes and background, of those of the earlier run, of the added."""
    iou = {name: 100 * measured["iou"] for name, measured in per_class.items()}
    added = [iou[name] for name in CLASSES[BEFORE:]]
    known = [value for name, value in iou.items() if name not in CLASSES[BEFORE:]]
    return {
        "all": float(np.mean([*known, *added])),
        "known": float(np.mean(known)),
        "added": float(np.mean(added)),
    }


def _print(found: dict[str, Any]) -> None:
    """The table of docs/data.md: means over the seeds."""
    print(found["features"])
    print(
        "| classifier, steps | classify, s | expand to masks, s | CAM | ESOL: all | known | added |"
    )
    for row, seeds in found["rows"].items():
        figures = list(seeds.values())
        classify = np.mean([one["seconds"]["classify"] for one in figures])
        later = np.mean([sum(one["seconds"][s] for s in STAGES[1:-1]) for one in figures])
        cells = [f"{classify:.1f}", f"{later:.1f}"]
        for kind, of in (("cam", "all"), *(("shrinkage", of) for of in ("all", "known", "added"))):
            cells.append(f"{np.mean([one[kind][of] for one in figures]):.1f}")
        print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
