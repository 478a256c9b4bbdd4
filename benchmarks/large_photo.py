"""Peak memory of the whole run with, and of prediction of, one photo of 4,000 x 3,000 pixels.

    python benchmarks/large_photo.py [PHOTO]

Draws a small synthetic set, adds the photo (given, or drawn) enlarged to 12 megapixels, trains on
it with tests/smoke.yaml, refines, and predicts it with the CRF, each in a process of its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from esol.data.synthetic import write_synthetic

SIZE = (4000, 3000)
LIMIT_MB = 4096
CONFIG = Path(__file__).parents[1] / "tests" / "smoke.yaml"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        write_synthetic(data, photos=12, size=64, seed=0, val_fraction=0.25)
        rows = (data / "labels.csv").read_text().splitlines()
        given = Path(sys.argv[1]) if len(sys.argv) > 1 else data / rows[1].split(",")[0]
        large = data / "large.jpg"
        Image.open(given).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(large)
        classes = sorted({tag for row in rows[1:] for tag in row.split(",")[1].split()})
        rest = [",train"] if rows[0].count(",") == 2 else [""]
        rows.append(f"large.jpg,{' '.join(classes[:3])}{rest[0]}")
        (data / "labels.csv").write_text("\n".join(rows) + "\n")
        config = ["--refine.crf.iterations=10", "--machine.workers=0"]
        commands = {
            "run": ["run", str(CONFIG), str(data), str(run), *config],
            "predict": ["predict", str(run), str(large), str(Path(folder, "out")), "--crf", "on"],
        }
        peaks = {name: measure(name, command) for name, command in commands.items()}
    worst = max(peaks.values())
    found = {"name": "large_photo", "ratio": round(LIMIT_MB / worst, 2), "max_error": 0.0}
    print(json.dumps({**found, "peak_mb": round(worst)}))


def measure(name: str, command: list[str]) -> float:
    """Peak memory in MB of one command. Children's peaks never fall: the largest comes last."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "esol", *command], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{name}: {time.monotonic() - begun:.0f} s, at most {peak:.0f} MB so far", flush=True)
    return peak


if __name__ == "__main__":
    main()
