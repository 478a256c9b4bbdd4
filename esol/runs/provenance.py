"""What made a result: versions and commit."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from esol import __version__


def provenance() -> dict[str, str]:
    """Versions and commit, as far as they are known here."""
    packages = (
        *("torch", "torchvision", "timm", "segmentation-models-pytorch"),
        *("accelerate", "numpy", "pillow"),
    )
    versions = {"esol": __version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return {**versions, "python": platform.python_version(), "commit": _commit()}


def _commit() -> str:
    """Commit of the checkout this package runs from, "-dirty" appended where it was changed."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return "not a checkout"
    git = ["git", "-C", str(here.parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("-dirty" if dirty.stdout.strip() else "")
