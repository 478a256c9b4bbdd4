"""Whether every step of `esol demo` gains on its set, and how long the command takes.

    OMP_NUM_THREADS=1 python studies/demo.py OUT [--seeds 20 21 22] [--hard] [--timed 3]

For each seed it draws a set as large as the demo's, in OUT/SEED/data, and runs the demo's settings
on it with the same seed. Nothing is chosen here: the settings and the scenes were chosen on seeds 0
and 1. It prints a table of the list "val" and of the goals, with each seed's numbers, and writes
docs/results/demo.csv and demo.md. With --hard the scenes are the hard ones, and nothing is written
there but OUT/demo.csv and OUT/demo.md. With --timed N, `esol demo` runs N times in processes of its
own, on as many threads as it chooses, and the table has the median of their seconds.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import esol
from esol.cli.demo import PHOTOS, SIZE, VAL_FRACTION
from esol.report.summary import COLUMNS, TITLES
from esol.runs.folder import RunFolder

RESULTS = Path(__file__).parents[1] / "docs" / "results"
BEST = "best_on_ground_truth"
KINDS = ("cam", "expansion", "shrinkage", "masks", "segmentation")

Figures = dict[tuple[str, str, str], float]
"""(kind, protocol, measure) -> percent."""


class Goal(NamedTuple):
    """A difference of two figures of the list "val", in points, and the least that it should be."""

    text: str
    least: float
    first: tuple[str, str, str]
    second: tuple[str, str, str]


GOAL_SECONDS = 60
"""Wall clock of `esol demo` on two idle cores."""

GOALS = (
    Goal(
        "Expansion finds more of the objects than CAM: fg R, run's threshold",
        10.0,
        ("expansion", "fixed", "foreground_recall"),
        ("cam", "fixed", "foreground_recall"),
    ),
    Goal(
        "Shrinkage above CAM: mIoU, run's threshold",
        4.0,
        ("shrinkage", "fixed", "miou"),
        ("cam", "fixed", "miou"),
    ),
    Goal(
        "Shrinkage above CAM: mIoU, each at its best threshold",
        4.0,
        ("shrinkage", BEST, "miou"),
        ("cam", BEST, "miou"),
    ),
    Goal(
        "masks above Shrinkage's seeds: mIoU",
        4.0,
        ("masks", "fixed", "miou"),
        ("shrinkage", "fixed", "miou"),
    ),
    Goal(
        "network, without tags, above CAM's seeds: mIoU",
        0.0,
        ("segmentation", "fixed", "miou"),
        ("cam", "fixed", "miou"),
    ),
    Goal(
        "network not more than 8 below its masks: mIoU",
        -8.0,
        ("segmentation", "fixed", "miou"),
        ("masks", "fixed", "miou"),
    ),
)


def main() -> None:
    """Draw, run, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for sets and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22])
    parser.add_argument("--hard", action="store_true", help="hard scenes")
    parser.add_argument("--timed", type=int, default=0, help="times that esol demo is timed")
    given = parser.parse_args()
    found = {seed: measured(given.out / str(seed), seed, given.hard) for seed in given.seeds}
    seconds = [timed(given.out / f"timed-{number}") for number in range(given.timed)]
    folder = given.out if given.hard else RESULTS
    write_rows(folder / "demo.csv", found)
    text = page(found, seconds, given.hard)
    (folder / "demo.md").write_text(text, encoding="utf-8")
    print(text)


def measured(folder: Path, seed: int, hard: bool) -> Figures:
    """The figures of one run; a finished one is not made again."""
    if not (folder / "data").exists():
        esol.write_synthetic(folder / "data", PHOTOS, SIZE, seed, VAL_FRACTION, hard=hard)
    run = esol.run(esol.load_settings("demo", f"--seed={seed}"), folder / "data", folder / "run")
    kinds = RunFolder(run).metrics()["lists"]["val"]
    return {
        (kind, protocol, measure): 100 * kinds[kind][protocol][measure]
        for kind in KINDS
        for protocol in ("fixed", BEST)
        for measure in (*COLUMNS, "threshold")
        if kinds[kind].get(protocol, {}).get(measure) is not None
    }


def timed(folder: Path) -> float:
    """Seconds of `esol demo` in a process of its own, from the command to the report."""
    if folder.exists():
        raise SystemExit(f"{folder}: there already: a finished run takes no time; remove it")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "esol", "demo", str(folder)],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


def write_rows(path: Path, found: dict[int, Figures]) -> None:
    """One line for each seed, kind, protocol and measure."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("seed", "kind", "threshold", "measure", "percent"))
        for seed, figures in found.items():
            writer.writerows((seed, *key, f"{value:.3f}") for key, value in figures.items())


def page(found: dict[int, Figures], seconds: Sequence[float], hard: bool) -> str:
    """Tables of means, of goals, and of the times, as Markdown."""
    names = " ".join(map(str, found))
    scenes = "hard scenes" if hard else "the demo's scenes"
    lines = [
        f"# `esol demo`, {scenes}",
        "",
        f"    OMP_NUM_THREADS=1 python studies/demo.py OUT --seeds {names}"
        + (" --hard" if hard else "")
        + (f" --timed {len(seconds)}" if seconds else ""),
        "",
        f"{PHOTOS} scenes of {SIZE} pixels for each of {len(found)} seeds, of which"
        f" {round(PHOTOS * VAL_FRACTION)} are `val`, on which everything below is measured."
        " Percent, mean ± standard deviation over the seeds. The settings (`configs/demo.yaml`)"
        " and the scenes were chosen on seeds 0 and 1.",
    ]
    for protocol, title in (("fixed", "the run's threshold"), (BEST, "best threshold")):
        lines += ["", f"## At {title}", ""]
        lines += ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        for kind in (
            kind for kind in KINDS if (kind, protocol, "miou") in next(iter(found.values()))
        ):
            cells = [
                spread([one[kind, protocol, key] for one in found.values()]) for key in COLUMNS
            ]
            lines.append(f"| {TITLES[kind]} | " + " | ".join(cells) + " |")
    lines += ["", "## Whether each step gains", "", "| points | goal | mean | each seed | |"]
    lines.append("|---|---|---|---|---|")
    for goal in GOALS:
        gains = [one[goal.first] - one[goal.second] for one in found.values()]
        mean, each = statistics.mean(gains), ", ".join(f"{gain:+.1f}" for gain in gains)
        passed = "reached" if mean >= goal.least else "**missed**"
        lines.append(f"| {goal.text} | {goal.least:+.0f} | {mean:+.1f} | {each} | {passed} |")
    if seconds:
        each = ", ".join(f"{one:.0f}" for one in seconds)
        lines += ["", f"`esol demo`: {statistics.median(seconds):.0f} s (median of {each}), on"]
        passed = "reached" if statistics.median(seconds) <= GOAL_SECONDS else "**missed**"
        lines[-1] += f" {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} at the end."
        lines[-1] += f" Goal: at most {GOAL_SECONDS} s: {passed}."
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation, or the one value."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
