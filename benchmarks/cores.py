"""What the command line makes of cores and memory, against PyTorch as it comes.

    OMP_WAIT_POLICY=passive python benchmarks/cores.py [FOLDER] [--photos 24]

CRF: masks of photos one after the other, each with all threads, against one photo on each thread.
The command line sets that policy; without it, threads spin. Training: the stage classify of
tags-folder-cpu on drawn photos and cached features, with malloc as it comes, against memory that is
kept (esol/system/allocator.py). Errors are shares of the masks' pixels.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import Report, Row, Taken, alternate, parser_of, within
from PIL import Image

from esol import write_synthetic
from esol.data.at_once import in_order, photos_at_once
from esol.data.images import load_image
from esol.maps.files import Maps, grid
from esol.masks.crf import crf_seeds
from esol.runs.folder import RunFolder
from esol.settings import Refine

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "tests" / "smoke.yaml"
AS_IT_COMES = {"MALLOC_PERTURB_": "0"}
"""A variable of malloc that changes nothing, but says that the user has chosen."""

CPU = torch.device("cpu")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="JPEGs; drawn photos without it")
    parser.add_argument("--photos", type=int, default=24)
    options = parser.parse_args()
    if options.quick:
        options.photos = 4
    report = Report("cores", options)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name, "images")
        if not options.folder:
            size = 48 if options.quick else 400
            write_synthetic(Path(name), photos=options.photos, size=size, seed=0, hard=True)
        row = masks(report, sorted(folder.glob("*.jpg"))[: options.photos], options.repeats)
        config, steps = (str(SMOKE), 2) if options.quick else ("tags-folder-cpu", 100)
        training(report, Path(name), config, steps, options.repeats)
    report.finish(row)


def masks(report: Report, paths: list[Path], repeats: int) -> Row:
    """CRF masks of photos with random maps of one class, smooth as real ones are."""
    photos = [load_image(path) for path in paths]
    rng = np.random.default_rng(0)

    def seeded(photo: Image.Image) -> tuple[Image.Image, Maps]:
        size = photo.height, photo.width
        coarse = Image.fromarray(rng.random((9, 9), np.float32)).resize(grid(size)[::-1])
        return photo, Maps(np.zeros(1, np.int64), np.asarray(coarse)[None].clip(0, 1), size)

    given, refine = [seeded(photo) for photo in photos], Refine()

    def mask(one: tuple[Image.Image, Maps]) -> np.ndarray:
        return crf_seeds(*one, (0.5,), refine, CPU)[0]

    workers = photos_at_once(paths, CPU)
    theirs, ours = [[*in_order(mask, given, count)] for count in (1, workers)]
    report.ours_ran()
    shares = (float((one != other).mean()) for one, other in zip(theirs, ours, strict=True))
    case = f"CRF of {len(photos)} photos, {workers} at once"
    error = within(max(shares), 1e-3, case)
    both = (lambda count=count: [*in_order(mask, given, count)] for count in (1, workers))
    return report.add(case, alternate(*both, repeats, warm=False), error)


def training(report: Report, folder: Path, config: str, steps: int, repeats: int) -> None:
    """Seconds of the stage classify with features from a cache, by its manifest."""
    data, cache = folder / "drawn", folder / "cache"
    write_synthetic(data, photos=32, size=64, seed=0, hard=True)

    def seconds(out: Path, environment: dict[str, str]) -> float:
        words = ["classify", config, str(data), str(out), "--backbone.weights=none"]
        words += [
            f"--classify.fit.steps={steps}",
            f"--machine.cache={cache}",
            "--machine.device=cpu",
        ]
        subprocess.run(
            [sys.executable, "-m", "esol", *words],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        return float(RunFolder(out).manifest("classify")["record"]["seconds"])

    seconds(folder / "first", {})  # fills the cache
    pairs = [
        (seconds(folder / f"theirs{turn}", AS_IT_COMES), seconds(folder / f"ours{turn}", {}))
        for turn in range(repeats)
    ]
    theirs, ours = map(statistics.median, zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    report.add(f"{steps} training steps on cached features", Taken(theirs, ours, ratio), None)


if __name__ == "__main__":
    main()
