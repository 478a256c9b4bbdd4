"""``esol run`` on real photos: seconds, peak memory and disk of each stage, and how they grow.

    python benchmarks/pipeline.py DATA CONFIG [--photos 100 200 400 800] [--price 2.5] [FLAGS]
    python benchmarks/pipeline.py DATA CONFIG --photos 800 --against REVISION [--theirs FLAGS]

Further flags are settings, as of ``esol run``. With --against each run is made first with the code
and the configuration of another revision of this repository, all stages, and the settings --theirs
in place of the others. Every stage runs in a process of its own, so that
its peak memory is its own; seconds and memory are those of the manifests, without the start of the
process. The ratio is seconds a photo of the smallest run over those of the largest: 1 where time
is linear, more where it grows less. Projections to larger sets take the straight line through the
two largest runs; for segmentation and IRNet they hold for these settings alone.
"""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from common import Report, Taken, middle, parser_of

from esol import write_synthetic
from esol.data.images import load_mask
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "tests" / "smoke.yaml"
SETS = {
    "VOC 2012 (10,582 photos)": 10_582,
    "COCO 2014 (82,081 photos)": 82_081,
    "a million photos": 1_000_000,
}


class Cost(NamedTuple):
    """Of one stage, or of all: seconds, peak memory in MB, bytes left on disk."""

    seconds: float
    memory: int
    disk: float


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("data", nargs="?", help="data folder; drawn photos without it")
    parser.add_argument("config", nargs="?", default=str(SMOKE), help="settings")
    parser.add_argument("--photos", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--price", type=float, help="of an hour on this machine, in any currency")
    parser.add_argument("--against", metavar="REVISION", help="of git, to run in turns with")
    parser.add_argument("--theirs", default="", metavar="FLAGS", help="its settings, one text")
    options, flags = parser.parse_known_args()
    report = Report("pipeline", options)
    with tempfile.TemporaryDirectory() as name:
        data = str(Path(options.data).resolve()) if options.data else f"{name}/photos"
        counts = sorted(options.photos)
        if Path(options.config).is_file():
            options.config = str(Path(options.config).resolve())
        if options.data is None:
            write_synthetic(Path(data), photos=24, size=64, seed=0, hard=True)
            counts = [8, 16]
        found, theirs = {}, options.against and checked_out(options.against, Path(name))
        for count in counts:
            run = Path(name, str(count))
            given = [options.config, data, str(run), f"--data.limit={count}"]
            if theirs:
                before = Path(name, f"{count}-{options.against}")
                words = [options.config, data, str(before), given[-1]]
                words += shlex.split(options.theirs) or flags
                old = total(measured(words, before, count, together=options.quick, code=theirs))
            found[count] = measured([*given, *flags], run, count, together=options.quick)
            report.peak = max(cost.memory for cost in found[count].values())
            for stage, cost in found[count].items():
                each = f"{cost.seconds:.1f} s | {cost.memory} MB | {cost.disk / count / 1e3:.1f} kB"
                print(f"| {count} photos | {stage} | {each} a photo |", flush=True)
            ours = total(found[count]).seconds
            if theirs:
                case = f"{count} photos, all stages, against {options.against}"
                report.add(case, Taken(old.seconds, ours, old.seconds / ours), None)
            else:
                report.add(f"{count} photos, all stages", ours, 0.0)
    for stage in found[counts[0]]:
        print(f"{stage}: " + growth(counts, [found[count][stage] for count in counts]))
    totals = {count: total(found[count]).seconds for count in counts}
    disks = {count: total(found[count]).disk for count in counts}
    for text, size in SETS.items():
        hours, disk = line(totals, size) / 3600, line(disks, size) / 1e9
        price = f", cost {hours * options.price:.2f}" if options.price else ""
        print(f"{text}: {hours:.1f} h, {disk:.1f} GB projected{price}")
    helping = middle(lambda: call(["--help"]), 2 if options.quick else 5)
    report.add("esol --help", helping, None)
    first, last = (totals[count] / count for count in (counts[0], counts[-1]))
    case = f"seconds a photo, {counts[0]} against {counts[-1]} photos"
    report.finish(report.add(case, Taken(first, last, first / last), 0.0))


def checked_out(revision: str, folder: Path) -> Path:
    """Clone of this repository at a revision."""
    path = folder / "code"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(path)], check=True)
    subprocess.run(["git", "-C", str(path), "checkout", "-q", revision], check=True)
    return path


def measured(
    given: list[str], run: Path, count: int, *, together: bool, code: Path = ROOT
) -> dict[str, Cost]:
    """Stage -> what it cost, and the feature cache's disk; every photo must have got its mask.

    ``together``: all stages in one process, which is quicker, but peaks are then those so far.
    """
    stages = [stage for stage in STAGES if stage != "peer"]
    for command in ["run"] if together else stages:
        call([command, *given], code)
    found = {}
    for stage in stages:
        if not RunFolder(run).is_finished(stage):
            print(f"{stage}: off in these settings", flush=True)
            continue
        manifest = RunFolder(run).manifest(stage)
        record, memory = manifest["record"], manifest["record"]["peak_memory_mib"] * 2**20 / 1e6
        found[stage] = Cost(record["seconds"], int(memory), manifest["outputs"]["bytes"])
    cached = sum(file.stat().st_size for file in (run / "cache").rglob("*") if file.is_file())
    found["feature cache"] = Cost(0.0, 0, cached)
    masks = [path for path in RunFolder(run).stage("masks").rglob("*.png") if load_mask(path).size]
    if len(masks) < count:
        raise SystemExit(f"{run}: {len(masks)} masks of {count} photos")
    return found


def call(arguments: list[str], code: Path = ROOT) -> None:
    """The command line, in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "esol", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Not the package that is installed, or lies in the current folder.
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},
    )


def total(found: dict[str, Cost]) -> Cost:
    """Of all stages: the sum of seconds and bytes, the largest memory."""
    seconds, memory, disk = zip(*found.values(), strict=True)
    return Cost(sum(seconds), max(memory), sum(disk))


def growth(counts: list[int], found: list[Cost]) -> str:
    """Milliseconds a photo and memory, run by run."""
    each = [1000 * cost.seconds / count for count, cost in zip(counts, found, strict=True)]
    times = ", ".join(f"{value:.0f}" for value in each)
    return f"{times} ms a photo; {', '.join(str(cost.memory) for cost in found)} MB"


def line(totals: dict[int, float], size: int) -> float:
    """Value for a larger set: the straight line through the two largest runs."""
    (one, first), (two, second) = ([(0, 0.0), *totals.items()])[-2:]
    return second + (size - two) * (second - first) / (two - one)


if __name__ == "__main__":
    main()
