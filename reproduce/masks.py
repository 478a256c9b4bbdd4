"""From seeds to a segmentation model: CAM's masks, ESOL's masks and the fully supervised bound.

    python reproduce/masks.py configs/voc-animals-masks-cpu.yaml DATA OUT --seeds 0

Runs what is missing, then prints and writes OUT/table.md and OUT/table.csv. All rows share the
localization of the row "ESOL", and most the refinement of "ESOL" or "CAM". A second call goes on
where the first one stopped.
"""

import argparse
import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablations import NUMBERS, folder, spread

from esol import load_settings, run
from esol.progress import log
from esol.runfolder import finished, stage_path
from esol.summary import TITLES

LOCALIZATION = ("classify", "expand", "shrink", "cams")
NO_NETWORK = "--segment.network=none"
CAM = (
    "--seeds.kind=cam",
    # IRN's own thresholds for the baseline: the configuration's are for Shrinkage maps.
    *("--refine.affinity.foreground=0.3", "--refine.affinity.background=0.05"),
)
SALIENCY = ("--masks.saliency=Saliency", NO_NETWORK)
SEEDS = ("--refine.methods=[]", "--masks.source=seeds")

ROWS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "ESOL": ("", (), ()),
    "CAM": ("ESOL", LOCALIZATION, CAM),
    "ESOL, CRF": ("ESOL", (*LOCALIZATION, "seeds", "refine"), ("--masks.source=crf",)),
    "CAM, CRF": ("CAM", (*LOCALIZATION, "seeds", "refine"), (*CAM, "--masks.source=crf")),
    "ESOL, IRN + saliency": ("ESOL", (*LOCALIZATION, "seeds", "refine"), SALIENCY),
    "CAM, IRN + saliency": (
        "CAM",
        (*LOCALIZATION, "seeds", "refine"),
        (*CAM, *SALIENCY),
    ),
    "ESOL, seeds + saliency": ("ESOL", LOCALIZATION, (*SEEDS, *SALIENCY)),
    "CAM, seeds + saliency": ("ESOL", LOCALIZATION, ("--seeds.kind=cam", *SEEDS, *SALIENCY)),
    "ground truth": (
        "ESOL",
        LOCALIZATION,
        (*SEEDS, "--masks.threshold=0.3", "--segment.truth=true"),
    ),
}
"""Row -> the row whose stages it shares, these stages, the flags in which it differs."""

SHOWN = {
    "ESOL": ("cam", "expansion", "shrinkage", "crf", "irn", "segmentation"),
    "CAM": ("crf", "irn", "segmentation"),
    "ESOL, CRF": ("segmentation",),
    "CAM, CRF": ("segmentation",),
    "ground truth": ("segmentation",),
}
"""Row -> what of it is shown; other rows: their pseudo masks."""


def main() -> None:
    """Run rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    arguments = parser.parse_args()
    for row in arguments.rows:
        for seed in arguments.seeds:
            run_row(arguments, row, seed)
    write_tables(arguments.out)


def run_row(arguments: argparse.Namespace, row: str, seed: int) -> None:
    """Run one row with one seed, from what another row has of it."""
    target = folder(arguments.out, row, seed)
    if finished(target, "evaluate"):
        return
    log.warning("row %r, seed %d", row, seed)
    source, shared, flags = ROWS[row]
    for stage in shared:
        if not stage_path(target, stage).exists():
            there = stage_path(folder(arguments.out, source, seed), stage)
            shutil.copytree(there, stage_path(target, stage))
    own = [f"--seed={seed}", f"--machine.cache={arguments.out / 'cache'}"]
    run(load_settings(arguments.config, *own, *flags), arguments.data, target)


def write_tables(out: Path) -> None:
    """Gather every finished row under OUT into table.csv and table.md."""
    lines = [line for row in ROWS for line in gather(out, row)]
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    text = markdown(lines)
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def gather(out: Path, row: str) -> list[dict[str, Any]]:
    """One line per list, thing measured and protocol: percent, mean and deviation over seeds."""
    found = [
        json.loads((path / "09-evaluate" / "metrics.json").read_text(encoding="utf-8"))["lists"]
        for path in sorted(folder(out, row, 0).parent.glob("seed*"))
        if finished(path, "evaluate")
    ]
    lines = []
    for split in found[0] if found else ():
        for kind in SHOWN.get(row, ("masks",)):
            for protocol in ("fixed", "best_on_ground_truth"):
                values = [
                    one[split][kind][protocol] for one in found if protocol in one[split][kind]
                ]
                if not values:
                    continue
                at = [v["threshold"] for v in values if "threshold" in v]
                line: dict[str, Any] = {"list": split, "row": row, "measured": TITLES[kind]}
                line |= {"threshold": protocol if at else "", "at": spread(at, 1, 2) if at else ""}
                line |= {"seeds": len(found)}
                line |= {key: spread([v[key] for v in values], 100, 1) for key in NUMBERS}
                lines.append(line)
    return lines


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """One table per list."""
    heads = ("row", "measured", "threshold", "at", "seeds")
    parts = []
    for split in dict.fromkeys(line["list"] for line in lines):
        parts.append(f"\n### {split}\n")
        parts.append(
            "| row | measured | threshold | at | seeds | P | R | F1 | mIoU | fg P | fg R |"
        )
        parts.append("|" + "---|" * 11)
        for line in (line for line in lines if line["list"] == split):
            cells = [str(line[key]).replace("_", " ") for key in (*heads, *NUMBERS)]
            parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
