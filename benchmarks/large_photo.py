"""Peak memory of every stage, and of prediction, on photos of 4,000 x 3,000 pixels.

    python benchmarks/large_photo.py [PHOTO] [--config NAME] [--batch N]

Enlarges a photo (given, or drawn) to 12 megapixels, four times: two photos have two tags, one has
one, and one has all 20. Each stage of the configuration, with one step a training and random
weights, the report, an export to a label tool and a prediction run in a process of their own.
A training's memory goes with its batch, not with the photos' size: --batch 0 keeps the
configuration's.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import FITS
from PIL import Image

from esol.data.images import load_image, save_mask
from esol.data.synthetic import write_synthetic
from esol.runs.stages import STAGES

SIZE = (4000, 3000)
LIMIT_MB = 4096
TAGS = tuple(f"tag{number:02d}" for number in range(1, 21))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photo", nargs="?", type=Path, help="a photo to enlarge")
    parser.add_argument("--config", default="tags-folder", help="configuration, name or file")
    parser.add_argument("--batch", type=int, default=2, help="photos a step; 0: as configured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        peaks = measured(Path(folder), options.photo, options.config, options.batch)
    print("| stage | seconds | peak, MB |\n|---|---|---|")
    for name, (seconds, peak) in peaks.items():
        print(f"| {name} | {seconds:.0f} | {peak:.0f} |")
    worst = max(peak for _, peak in peaks.values())
    found = {"name": "large_photo", "ratio": round(LIMIT_MB / worst, 2), "max_error": 0.0}
    print(json.dumps({**found, "peak_mb": round(worst)}))


def measured(
    folder: Path, photo: Path | None, config: str, batch: int
) -> dict[str, tuple[float, float]]:
    """Seconds and peak memory in MB of each command."""
    data, run = folder / "data", folder / "run"
    write_photos(data, photo)
    flags = ["--backbone.weights=none", "--segment.weights=none", "--machine.device=cpu"]
    flags += ["--refine.instances=true", "--data.evaluate=[train]"]
    for fit in FITS:
        flags += [f"--{fit}.steps=1", *([f"--{fit}.batch={batch}"] if batch else [])]
    given = [config, str(data), str(run), *flags]
    stages = [name for name in STAGES if name != "peer"]
    commands = {
        "check": ["check", config, str(data)],
        **{stage: [stage, *given] for stage in stages},
        "report": ["report", str(run)],
        "export": ["export", str(run), str(folder / "masks.json"), "--to", "coco"],
        "predict": ["predict", str(run), str(data / "images"), str(folder / "out"), "--crf", "on"],
    }
    return {name: measure(name, command) for name, command in commands.items()}


def write_photos(data: Path, photo: Path | None) -> None:
    """A data folder of four photos of ``SIZE`` with masks."""
    drawn = data.with_name("drawn")
    write_synthetic(drawn, photos=2, size=256, seed=0, hard=True)
    source, mask = photo or drawn / "images/00000.jpg", drawn / "masks/00000.png"
    large = load_image(source).resize(SIZE, Image.Resampling.BICUBIC)
    truth = np.asarray(Image.open(mask).resize(SIZE, Image.Resampling.NEAREST))
    (data / "images").mkdir(parents=True)
    (data / "classes.txt").write_text("\n".join(TAGS) + "\n")
    rows = ["image,labels"]
    for name, tags in zip("abcd", (TAGS[:2], TAGS[2:4], TAGS[:1], TAGS), strict=True):
        large.save(data / f"images/{name}.jpg", quality=92)
        save_mask(truth, data / f"masks/{name}.png")
        rows.append(f"images/{name}.jpg,{' '.join(tags)}")
    (data / "labels.csv").write_text("\n".join(rows) + "\n")


def measure(name: str, command: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MB of one command, in a process of its own."""
    begun = time.monotonic()
    words = [sys.executable, "-m", "esol", *command]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(sys.executable, words, os.environ, file_actions=quiet)
    _, status, used = os.wait4(process, 0)
    # Tags of one photo only are a problem to esol check.
    if status and name != "check":
        raise SystemExit(f"{name}: exit status {os.waitstatus_to_exitcode(status)}")
    seconds, peak = time.monotonic() - begun, used.ru_maxrss / 1024
    print(f"{name}: {seconds:.0f} s, {peak:.0f} MB", file=sys.stderr, flush=True)
    return seconds, peak


if __name__ == "__main__":
    main()
