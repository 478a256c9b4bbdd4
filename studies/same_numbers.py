"""Does a change move a number? The same runs with two revisions, compared file by file.

    OMP_NUM_THREADS=1 python studies/same_numbers.py REVISION [--out DIR] [--quick]

Runs `esol demo`, and every method with tests/smoke.yaml (and once instances and DeepLabV2) on a
small synthetic set, once with the code of REVISION (checked out below DIR) and once with the code
of this checkout, one after the other. Runs that are finished are not repeated, so an interrupted
comparison goes on. Compared are, byte by byte: metrics.jsonl and identity.json of every stage,
metrics.json, weights, maps and masks.
Prints a line per run, and every file that differs; exit code 1 if there is one.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPARED = (".jsonl", ".safetensors", ".npz", ".png")
NAMES = ("metrics.json", "identity.json")
SMOKE = "tests/smoke.yaml"
PEERS = ("--sccam.clusters=3", "--sccam.rounds=2", "--drs.fit.steps=4", "--masks.saliency=saliency")
OTHERS = (
    "--refine.instances=true",
    *("--segment.network=DeepLabV2", "--segment.encoder=test_resnet", "--backbone.norm=frozen"),
)
RUNS = {
    "demo": ("demo",),
    "instances and DeepLabV2": ("run", SMOKE, "PHOTOS", *OTHERS),
    **{
        method: ("run", SMOKE, "PHOTOS", f"--method={method}", *PEERS)
        for method in ("esol", "cam", "sccam", "drs", "eps")
    },
}


def main() -> None:
    """Run both revisions, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="git revision to compare with")
    parser.add_argument("--out", type=Path, default=Path("runs/same-numbers"))
    parser.add_argument("--quick", action="store_true", help="without esol demo, which is minutes")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    before = checked_out(arguments.revision, out)
    runs = {name: words for name, words in RUNS.items() if not (arguments.quick and name == "demo")}
    photos = drawn_photos(before, out)
    different = 0
    for name, words in runs.items():
        folders = []
        for side, code in ((before.name, before), (state(), ROOT)):
            folder = out / "runs" / side / name
            call_esol(code, [str(photos) if word == "PHOTOS" else word for word in words], folder)
            folders.append(folder)
        paths = differing(*folders)
        print(f"{name}: {len(compared(folders[0]))} files, {len(paths)} differ", flush=True)
        for path in paths:
            print(f"  {path}")
        different += len(paths)
    sys.exit(bool(different))


def checked_out(revision: str, out: Path) -> Path:
    """Clone of this repository at a revision, below ``out``."""
    command = ("git", "-C", str(ROOT), "rev-parse", "--short", revision)
    short = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    folder = out / short
    if not folder.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
        subprocess.run(["git", "-C", str(folder), "checkout", "-q", short], check=True)
    return folder


def state() -> str:
    """Name of this checkout's code: its commit, with a digest of the changes since."""
    git = ("git", "-C", str(ROOT))
    head = (*git, "rev-parse", "--short", "HEAD")
    name = "now-" + subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
    diff = subprocess.run((*git, "diff", "HEAD"), check=True, capture_output=True).stdout
    return f"{name}-{hashlib.sha256(diff).hexdigest()[:8]}" if diff else name


def drawn_photos(code: Path, out: Path) -> Path:
    """The synthetic set of the smoke runs, drawn once."""
    photos = out / "photos"
    if not photos.exists():
        draw = "import sys, esol; esol.write_synthetic(sys.argv[1], 24, 64, 0, 0.25)"
        subprocess.run([sys.executable, "-c", draw, str(photos)], check=True, env=environment(code))
    return photos


def environment(code: Path) -> dict[str, str]:
    """Environment in which ``import esol`` takes the package of a checkout."""
    return {**os.environ, "PYTHONPATH": str(code)}


def call_esol(code: Path, words: list[str], folder: Path) -> None:
    """One run with a checkout's code, unless it is finished; its own output goes to FOLDER.log."""
    if (folder / "report.html").exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    paths, flags = ([w for w in words if w[:2] != "--"], [w for w in words if w[:2] == "--"])
    command = [sys.executable, "-m", "esol", *paths, str(folder), *flags]
    with folder.with_name(f"{folder.name}.log").open("w") as log:
        # The package of `code` is imported, not one that is installed.
        subprocess.run(command, check=True, cwd=code, env=environment(code), stdout=log, stderr=log)


def compared(run: Path) -> set[Path]:
    """Files of a run whose bytes must be the same, relative to it."""
    return {
        path.relative_to(run)
        for path in run.rglob("*")
        if path.is_file() and (path.suffix in COMPARED or path.name in NAMES)
    }


def differing(before: Path, now: Path) -> list[Path]:
    """Files that one run lacks or whose bytes differ."""
    either = compared(before) | compared(now)
    both = compared(before) & compared(now)
    return sorted(
        path
        for path in either
        if path not in both or (before / path).read_bytes() != (now / path).read_bytes()
    )


if __name__ == "__main__":
    main()
