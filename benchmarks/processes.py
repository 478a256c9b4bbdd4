"""Several processes of one thread against one process of two: features and maps, ``esol predict``.

    python benchmarks/processes.py [DATA [CONFIG]] [--model RUN] [--photos 96] [SETTINGS]

Makes a run of CONFIG with one step a training, as speed does not depend on what was learned, but
for a CRF, which skips photos of background: --model predicts with a run or model file of yours.
Several processes are started by torchrun. Maps are the stage cams without a feature cache, by its
manifest. Prediction is the time of all photos less that of the first few, which leaves out the
start. Both are seconds a photo; errors are differences of maps, and shares of the masks' pixels.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import FITS, Report, Taken, parser_of, within

from esol import load_settings, open_dataset, write_synthetic
from esol.data.images import load_mask
from esol.maps.files import load_maps
from esol.runs.folder import RunFolder

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "tests" / "smoke.yaml"
FIRST = 8
"""Photos of the prediction that only starts."""

STEP, SHARE = 2.5 / 255, 0.01
"""How far maps may differ, a little more than a step of their files' 255, and how many pixels."""


class Way(NamedTuple):
    """How many processes, and threads of each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        several = f"{self.processes} process{'es' * (self.processes > 1)}"
        return f"{several} of {self.threads} thread{'s' * (self.threads > 1)}"


ONE = Way(1, 2)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("data", nargs="?", help="data folder; drawn photos without it")
    parser.add_argument("config", nargs="?", default="tags-folder-cpu", help="settings")
    parser.add_argument("--model", type=Path, help="run or model file that predicts")
    parser.add_argument("--photos", type=int, default=96, help="photos that are timed")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="of a thread")
    parser.set_defaults(repeats=3)
    options, flags = parser.parse_known_args()
    if options.quick:
        options.config, options.photos, options.processes = str(SMOKE), 12, [2]
    report = Report("processes", options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Path(options.data or folder / "photos").resolve()
        if options.data is None:
            side = 64 if options.quick else 480
            write_synthetic(data, photos=options.photos, size=side, seed=0, hard=True)
        run = prepared(folder, data, options.config, options.photos, flags)
        settings = load_settings(str(run / "settings.yaml"))
        samples = open_dataset(data, settings.data).samples(settings.data.train)
        photos = [str(sample.image) for sample in samples[: options.photos]]
        model = (options.model or run).resolve()
        work: dict[str, Callable[[Way], float]] = {
            "features and maps": partial(mapped, run, folder),
            "esol predict": partial(predicted, model, photos, folder, options.device),
        }
        rows = []
        for case, seconds in work.items():
            for way in (Way(count, 1) for count in options.processes):
                taken = alternated(seconds, way, options.repeats)
                error = difference(case, folder, way)
                rows.append(report.add(f"{len(photos)} photos, {case}, {way}", taken, error))
                print(
                    f"{case}, {way}: {1 / taken.ours:.1f} photos a second; {ONE}:"
                    f" {1 / taken.theirs:.1f}",
                    flush=True,
                )
    report.peak = int(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)
    report.finish(rows[-1])


def alternated(seconds: Callable[[Way], float], way: Way, repeats: int) -> Taken:
    """Seconds a photo of both ways, in turns."""
    pairs = [(seconds(ONE), seconds(way)) for _ in range(repeats)]
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Taken(theirs, ours, statistics.median(one / two for one, two in pairs))


def prepared(folder: Path, data: Path, config: str, photos: int, flags: list[str]) -> Path:
    """A finished run with one step a training."""
    run = folder / "run"
    steps = [f"--{fit}.steps=1" for fit in FITS]
    given = [config, str(data), str(run), f"--data.limit={photos}", *steps, *flags]
    if not any(flag.startswith("--backbone.weights") for flag in flags):
        given.append("--backbone.weights=none")
    call(ONE, "run", *given)
    return run


def mapped(run: Path, folder: Path, way: Way) -> float:
    """Seconds a photo of the stage cams, features included."""
    own = folder / f"maps-{way}"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(run, own)
    made = RunFolder(own)
    for path in (own / "cache", made.stage("cams")):
        shutil.rmtree(path, ignore_errors=True)
    call(way, "cams", str(own))
    manifest = made.manifest("cams")
    return float(manifest["record"]["seconds"] / manifest["results"]["photos"])


def predicted(model: Path, photos: list[str], folder: Path, device: str, way: Way) -> float:
    """Seconds a photo of all photos but the first; of few photos, with the start."""
    few, taken = photos[: FIRST if len(photos) > 4 * FIRST else 0], [0.0]
    for given in filter(None, (few, photos)):
        out = folder / f"masks-{way}"
        shutil.rmtree(out, ignore_errors=True)
        begun = time.perf_counter()
        call(way, "predict", str(model), *given, str(out), "--device", device)
        taken.append(time.perf_counter() - begun)
    seconds = taken[-1] - taken[-2]
    if seconds <= 0:
        raise SystemExit(f"{len(photos)} photos take no longer than {len(few)}: give more --photos")
    return seconds / (len(photos) - len(few))


def difference(case: str, folder: Path, way: Way) -> float:
    """Of what both ways have made."""
    if case == "esol predict":
        one, other = (sorted((folder / f"masks-{of}").rglob("*.png")) for of in (ONE, way))
        pairs = zip(map(load_mask, one), map(load_mask, other), strict=True)
        return within(max(float((a != b).mean()) for a, b in pairs), SHARE, case)
    one, other = (
        sorted(RunFolder(folder / f"maps-{of}").stage("cams").rglob("*.npz")) for of in (ONE, way)
    )
    maps = ((load_maps(a).maps, load_maps(b).maps) for a, b in zip(one, other, strict=True))
    return within(max(float(np.abs(a - b).max(initial=0)) for a, b in maps), STEP, case)


def call(way: Way, *arguments: str) -> None:
    """The command line in so many processes."""
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={way.processes}"]
    words = [sys.executable, *(several if way.processes > 1 else []), "-m", "esol", *arguments]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(way.threads), "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words[1:])}\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
