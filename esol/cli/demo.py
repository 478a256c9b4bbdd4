"""The embedded proof that the program works here: a synthetic set through the whole pipeline."""

from pathlib import Path

from esol.data.synthetic import write_synthetic
from esol.settings import Settings
from esol.stages import run
from esol.system.progress import log

PHOTOS = 600
SIZE = 96
SEED = 0
VAL_FRACTION = 0.25


def demo(out: Path, settings: Settings) -> Path:
    """Write the synthetic set to OUT/data, unless it is there, and run all stages on it.

    Args:
        out: run folder.
        settings: the run's settings, usually the configuration "demo".

    Returns:
        The run folder.
    """
    if not (out / "data").exists():
        log.info("drawing %d synthetic photos", PHOTOS)
        write_synthetic(out / "data", PHOTOS, SIZE, SEED, VAL_FRACTION)
    return run(settings, out / "data", out)
