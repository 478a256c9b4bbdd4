"""One recipe on several real networks: the full chain and its controls, maps of `train` and `val`.

    OMP_NUM_THREADS=1 python studies/networks.py DATA WEIGHTS OUT [--seeds 0 1 2] [--networks ..]
        [--rows esol lpcam ..] [--changes input.size=400 ..]

configs/voc-animals-cpu.yaml learns from the tags of the training list, once with each network:
ESOL, Shrinkage alone, and clipping with Shrinkage, or the rows that are asked for. A network's own
settings were found on `train`; `val` is only measured. It writes OUT/networks.csv and
OUT/networks.md: mean and standard deviation over seeds at the threshold that all rows share, 0.30,
and the best mIoU of any threshold on the ground truth. Finished stages are not repeated.
`studies/affinity.py` goes on from its run folders, OUT/NETWORK/rows/esol/seedS.
"""

import argparse
import csv
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from esol.reproduce.runs import Plan, run_rows
from esol.reproduce.specs import ROWS
from esol.system.allocator import keep_memory

CONFIG = "voc-animals-cpu"
LEARNING = ("backbone.learn=[blocks.5,blocks.6,conv_head,bn2]", "classify.backbone_lr=0.1")
"""The last two stages learn, at a tenth of the rate of W1 and W2."""

NETWORKS = {
    "mobilenetv2": ("mobilenetv2_100", "mobilenetv2_100_imagenet.safetensors", ()),
    "mobilenetv2, learning": (
        *("mobilenetv2_100", "mobilenetv2_100_imagenet.safetensors"),
        LEARNING,
    ),
    "efficientnet-lite2": (
        *("tf_efficientnet_lite2", "tf_efficientnet_lite2_imagenet.safetensors"),
        ("backbone.power=0.33",),
    ),
    "efficientnet-lite2, learning": (
        *("tf_efficientnet_lite2", "tf_efficientnet_lite2_imagenet.safetensors"),
        ("backbone.power=0.33", *LEARNING),
    ),
    "efficientnet-lite2, power 1": (
        *("tf_efficientnet_lite2", "tf_efficientnet_lite2_imagenet.safetensors"),
        (),
    ),
    "vit": (
        *("vit_small_patch14_dinov2", "vit_small_patch14_dinov2_saliency_fp16.safetensors"),
        (
            *("backbone.stride=14", "input.size=322", "head.decay=0.99", "classify.fit.steps=1875"),
            "refine.similarity.common=0.5",
        ),
    ),
}
"""Name -> timm's name, the file of its weights, and what differs from the configuration."""

RUNS = ("esol", "esol-without-dt-e-fl", "esol-without-dt-e")
MAPS = {
    ("esol", "cam"): "CAM",
    ("esol", "expansion"): "Expansion",
    ("esol", "shrinkage"): "Shrinkage",
    ("esol-without-dt-e-fl", "shrinkage"): "identity + Shrinkage",
    ("esol-without-dt-e", "expansion"): "clip only",
    ("esol-without-dt-e", "shrinkage"): "clip only + Shrinkage",
    ("esol-without-fl", "expansion"): "Expansion without clip",
    ("esol-without-fl", "shrinkage"): "Expansion without clip + Shrinkage",
    ("lpcam", "lpcam"): "LPCAM",
    ("lpcam-on-expansion", "lpcam"): "LPCAM, seeds of Expansion",
    ("lpcam-on-shrinkage", "lpcam"): "LPCAM, seeds of Shrinkage",
}
"""Row, kind of its maps -> name in the tables."""
COLUMNS = ("precision", "recall", "f1_of_means", "miou")


def main() -> None:
    """Run what is missing, and write the tables of what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="VOC folder with labels.csv and masks")
    parser.add_argument("weights", type=Path, help="folder of the weights")
    parser.add_argument("out", type=Path, help="folder for runs and tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    known = tuple(dict.fromkeys(row for row, _ in MAPS))
    parser.add_argument("--rows", nargs="+", default=RUNS, choices=known)
    parser.add_argument("--limit", type=int, default=0, help="most photos of a list; 0: all")
    parser.add_argument("--changes", nargs="+", default=[], help="settings of all rows, KEY=VALUE")
    options = parser.parse_args()
    assert set(known) <= set(ROWS)
    keep_memory()
    rows: list[dict[str, Any]] = []
    for name in options.networks:
        timm_name, file, changes = NETWORKS[name]
        flags = (f"backbone.name={timm_name}", f"backbone.weights={options.weights / file}")
        plan = Plan(
            *(CONFIG, options.data, options.out / name.replace(", ", "-").replace(" ", "")),
            seeds=tuple(options.seeds),
            flags=tuple(
                f"--{f}"
                for f in (*flags, f"data.limit={options.limit}", *changes, *options.changes)
            ),
            saliency="",
        )
        for seed in options.seeds:
            run_rows(Plan(**{**vars(plan), "seeds": (seed,)}), options.rows)
        rows += list(measured(name, plan, options.rows))
        write(rows, options.out)


def measured(name: str, plan: Plan, runs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row per list and kind of map, means and deviations in percent."""
    for part in plan.base.data.evaluate:
        for (run, kind), title in MAPS.items():
            if run not in runs:
                continue
            found = [plan.metrics(run, seed) for seed in plan.seeds]
            each = [metrics["lists"][part][kind] for metrics in found if metrics]
            yield {
                **{"network": name, "list": part, "maps": title, "seeds": len(each)},
                **{key: spread(float(one["fixed"][key]) for one in each) for key in COLUMNS},
                "best": spread(float(one["best_on_ground_truth"]["miou"]) for one in each),
                "commit": plan.commit(run, plan.seeds[0])[:7],
            }


def spread(values: Iterator[float]) -> str:
    """Mean and standard deviation in percent."""
    each = [100 * value for value in values]
    deviation = f" ± {statistics.stdev(each):.1f}" if len(each) > 1 else ""
    return f"{statistics.mean(each):.1f}{deviation}"


def write(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """The rows as CSV and as a Markdown table."""
    with (out / "networks.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    lines += [f"| {' | '.join(str(value) for value in row.values())} |" for row in rows]
    text = "\n".join(lines) + "\n"
    (out / "networks.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
