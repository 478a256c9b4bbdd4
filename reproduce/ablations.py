"""Ablations and controls of the paper's Table 1 and appendix: run what is missing, print the table.

    python reproduce/ablations.py CONFIG DATA OUT --seeds 0 1 2 --rows full
    python reproduce/ablations.py CONFIG DATA OUT --seeds 0

Rows share the classifier (and Expansion, where only Shrinkage differs) and the feature cache of the
row "full", which therefore runs first. A second call goes on where the first one stopped.
"""

import argparse
import csv
import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esol import load_settings, run
from esol.progress import log
from esol.runfolder import finished, stage_path
from esol.settings import MAP_KINDS

NO_SAMPLER, NO_CLIP = "--expand.learn=nothing", "--expand.clip=1"

ROWS: dict[str, tuple[str, ...]] = {
    "full": (),
    "identity + Shrinkage (w/o DT_e, FL)": (NO_SAMPLER, NO_CLIP),
    "clip only + Shrinkage (w/o DT_e)": (NO_SAMPLER,),
    "without clip + Shrinkage (w/o FL)": (NO_CLIP,),
    "Shrinkage w/o DT_s, area": ("--shrink.learn=v", "--shrink.area=0"),
    "Shrinkage w/o DT_s": ("--shrink.learn=v",),
    "Shrinkage w/o area": ("--shrink.area=0",),
    "no deformable layer (A.1.1)": ("--expand.learn=w1", NO_CLIP),
    "W1 learns (A.1.3)": ("--expand.learn=offsets+w1",),
    "loss minimised": ("--expand.objective=minimise",),
    "alpha 1e-4": ("--expand.alpha=0.0001",),
    "alpha 1e-3": ("--expand.alpha=0.001",),
    "alpha 0.1": ("--expand.alpha=0.1",),
    "alpha 1": ("--expand.alpha=1",),
}
"""Row -> the flags in which it differs from the configuration."""

NUMBERS = (
    *("precision", "recall", "f1_of_means", "miou"),
    *("foreground_precision", "foreground_recall"),
)


def main() -> None:
    """Run rows and write OUT/table.md and OUT/table.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument(
        "--set", nargs="*", default=[], help="settings for every row: group.name=value"
    )
    arguments = parser.parse_args()
    for row in arguments.rows:
        for seed in arguments.seeds:
            run_row(arguments, row, seed)
    write_tables(arguments.out)


def folder(out: Path, row: str, seed: int) -> Path:
    """Run folder of one row and seed."""
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in row.lower())
    return out / name / f"seed{seed}"


def run_row(arguments: argparse.Namespace, row: str, seed: int) -> None:
    """Run one row with one seed up to its evaluation, from what "full" has of it."""
    target, full = folder(arguments.out, row, seed), folder(arguments.out, "full", seed)
    if finished(target, "evaluate"):
        return
    log.warning("row %r, seed %d", row, seed)
    shared = ["classify"]
    if ROWS[row] and all(flag.startswith("--shrink") for flag in ROWS[row]):
        shared.append("expand")
    for stage in shared if row != "full" else ():
        if not stage_path(target, stage).exists():
            shutil.copytree(stage_path(full, stage), stage_path(target, stage))
    flags = [f"--seed={seed}", f"--machine.cache={arguments.out / 'cache'}"]
    flags += [f"--{setting}" for setting in arguments.set]
    settings = load_settings(arguments.config, *flags, *ROWS[row])
    # Seeds are not needed to measure maps; the report and the seeds are made for "full" alone.
    if row == "full":
        run(settings, arguments.data, target)
    else:
        run(settings, arguments.data, target, last="cams")
        run(settings, arguments.data, target, first="evaluate")


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
    """One line per list, kind of map and protocol: percent, mean and deviation over seeds."""
    found = [
        json.loads((path / "09-evaluate" / "metrics.json").read_text(encoding="utf-8"))["lists"]
        for path in sorted(folder(out, row, 0).parent.glob("seed*"))
        if finished(path, "evaluate")
    ]
    lines = []
    for split in found[0] if found else ():
        for kind in MAP_KINDS:
            for protocol in ("fixed", "best_on_ground_truth"):
                values = [one[split][kind][protocol] for one in found]
                line: dict[str, Any] = {"row": row, "list": split, "maps": kind}
                line |= {"threshold": protocol, "seeds": len(found)}
                line |= {"at": spread([v["threshold"] for v in values], 1, 2)}
                line |= {key: spread([v[key] for v in values], 100, 1) for key in NUMBERS}
                lines.append(line)
    return lines


def spread(values: Sequence[float | None], scale: float, digits: int) -> str:
    """Mean ± standard deviation; a dash where a value does not exist."""
    known = [scale * value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    mean = f"{statistics.mean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.{digits}f}"


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """One table per list and protocol. CAM is shown once: all rows share it."""
    parts = []
    for split in dict.fromkeys(line["list"] for line in lines):
        for protocol in dict.fromkeys(line["threshold"] for line in lines):
            parts.append(f"\n### {split}, threshold: {protocol.replace('_', ' ')}\n")
            parts.append("| row | maps | seeds | at | P | R | F1 | mIoU | fg P | fg R |")
            parts.append("|---|---|---|---|---|---|---|---|---|---|")
            for line in lines:
                if (line["list"], line["threshold"]) != (split, protocol):
                    continue
                if line["maps"] == "cam" and line["row"] != "full":
                    continue
                cells = [line["row"], line["maps"], line["seeds"], line["at"]]
                cells += [line[key] for key in NUMBERS]
                parts.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
