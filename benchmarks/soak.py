"""Whether memory stays flat over many photos: ``check``, ``cams``, ``seeds`` and ``predict``.

    python benchmarks/soak.py [--photos 20000]

A few drawn photos become many by shifts and noise, each with its mask. Networks are trained for a
few steps; then each command runs over a tenth of the photos and over all of them, in a process of
its own, whose resident memory is sampled. The ratio is the peak of the tenth over that of all
photos, of the command where it is smallest: 1 where memory is flat. The error is the steepest
straight line through the samples after the start, in MB per 1,000 photos; above ``MOST`` the script
fails. Needs Linux (/proc).

Of a process that lives for less than some five seconds no line is taken: it only starts.
"""

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import Report, Taken, parser_of, within
from PIL import Image

from esol import write_synthetic
from esol.data.images import load_image, load_mask, save_mask

SMOKE = Path(__file__).parents[1] / "tests" / "smoke.yaml"
DRAWN = 48
MOST = 2.0
"""MB per 1,000 photos: about what a photo's name, paths and tags take, several times over."""
START = (0.25, 3.0)
"""Share of the time, and least seconds, that count as the start."""


class Course(NamedTuple):
    """One command's seconds, its peak in MB, and its growth in MB per 1,000 photos."""

    seconds: float
    peak: float
    growth: float


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=int, default=20_000)
    options = parser.parse_args()
    count = 64 if options.quick else options.photos
    report = Report("soak", options)
    with tempfile.TemporaryDirectory() as name:
        drawn, trained = Path(name, "drawn"), Path(name, "trained")
        write_synthetic(drawn, photos=DRAWN, size=96, seed=0, hard=True)
        call(["run", str(SMOKE), str(drawn), str(trained)])
        whole = courses(Path(name), drawn, trained, count, options.quick)
        few = max(DRAWN, count // 10)
        tenth = whole if options.quick else courses(Path(name), drawn, trained, few, False)
    print("| command | photos | seconds | ms a photo | peak, tenth | peak, all | growth |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for command, course in whole.items():
        first, each = tenth[command].peak, 1000 * course.seconds / count
        print(
            f"| {command} | {count:,} | {course.seconds:.0f} | {each:.1f} | {first:.0f} MB |"
            f" {course.peak:.0f} MB | {course.growth:+.2f} MB per 1,000 photos |"
        )
        if not options.quick:
            within(course.growth, MOST, f"{command}: memory per 1,000 photos")
        report.add(f"{command}, {count} photos", course.seconds, None)
        flat = Taken(first, course.peak, first / course.peak)
        rows.append(report.add(f"{command}, peak", flat, max(0.0, course.growth), unit="MB"))
    report.peak = round(max(course.peak for course in whole.values()))
    report.finish(min(rows, key=lambda row: row.ratio or 0.0))


def courses(folder: Path, drawn: Path, trained: Path, count: int, quick: bool) -> dict[str, Course]:
    """Command -> its course over so many photos."""
    data, run = folder / f"photos-{count}", folder / f"run-{count}"
    spread(drawn, data, count)
    given = [str(SMOKE), str(data), str(run), "--classify.fit.steps=5"]
    call(["run", *given, "--until=shrink"])
    commands = {
        "check": ["check", str(SMOKE), str(data)],
        "cams": ["cams", *given],
        "seeds": ["seeds", *given],
        "predict": ["predict", str(trained), str(data / "images"), str(folder / f"new-{count}")],
    }
    return {name: watched(name, given, count, quick) for name, given in commands.items()}


def spread(drawn: Path, data: Path, count: int) -> None:
    """Make many photos with masks out of few: shifted round the edges, with noise, in JPEG."""
    with (drawn / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    pairs = []
    for row in rows:
        mask = load_mask(drawn / "masks" / f"{Path(row['image']).stem}.png")
        pairs.append((np.asarray(load_image(drawn / row["image"]), np.int16), mask, row))
    (data / "images").mkdir(parents=True)
    listed = []
    for number in range(count):
        photo, mask, row = pairs[number % len(pairs)]
        rng = np.random.default_rng(number)
        shift = tuple(rng.integers(0, photo.shape[:2]))
        changed = np.roll(photo, shift, (0, 1)) + rng.integers(-8, 9, photo.shape, np.int16)
        image = f"images/{number:06d}.jpg"
        Image.fromarray(changed.clip(0, 255).astype(np.uint8)).save(data / image, quality=90)
        save_mask(np.roll(mask, shift, (0, 1)), data / "masks" / f"{number:06d}.png")
        listed.append((image, row["labels"], "val" if number % 4 == 3 else "train"))
    with (data / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "labels", "split"), *listed])
    (data / "classes.txt").write_bytes((drawn / "classes.txt").read_bytes())


def watched(name: str, arguments: list[str], count: int, quick: bool) -> Course:
    """Run a command and sample its memory until it ends."""
    begun, samples = time.monotonic(), [(0.0, 0.0, 0.0)]
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command(arguments), stdout=subprocess.DEVNULL, stderr=told)
        while process.poll() is None:
            time.sleep(0.05 if quick else 0.2)
            samples.append((time.monotonic() - begun, *memory(process.pid)))
        seconds = time.monotonic() - begun
        if process.returncode:
            told.seek(0)
            raise SystemExit(f"{name}: exit code {process.returncode}\n{told.read()}")
    when, resident, peak = np.array(samples).T
    late = (when > max(START[0] * seconds, START[1])) & (resident > 0)
    slope = float(np.polyfit(when[late], resident[late], 1)[0]) if late.sum() > 9 else 0.0
    course = Course(seconds, float(peak.max()), slope * seconds / count * 1000)
    print(f"{name}, {count} photos: {course}", file=sys.stderr, flush=True)
    return course


def memory(process: int) -> tuple[float, float]:
    """Resident memory now and at its peak, in MB; zeros of a process that has ended.

    Not ``ru_maxrss`` of a child, which begins with what its parent held.
    """
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    lines = (line.split() for line in text.splitlines() if line.startswith(("VmRSS", "VmHWM")))
    found = {key: int(value) * 1024 / 1e6 for key, value, _ in lines}
    return found.get("VmRSS:", 0.0), found.get("VmHWM:", 0.0)


def command(arguments: list[str]) -> list[str]:
    """The command line that runs esol."""
    return [sys.executable, "-m", "esol", *arguments]


def call(arguments: list[str]) -> None:
    """Run a command, in a process of its own, that is not watched."""
    subprocess.run(command(arguments), check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
