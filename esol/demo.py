"""The embedded proof that the program works here: a synthetic set through the whole pipeline."""

import json
from pathlib import Path

from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.progress import log
from esol.settings import Settings
from esol.stages import run

PHOTOS = 600
SIZE = 96
SEED = 0
VAL_FRACTION = 0.25


def demo(out: Path, settings: Settings) -> Path:
    """Write the synthetic set to OUT/data, unless it is there, and run all stages on it.

    Args:
        out: run folder.
        settings: the run's settings, by custom those of the configuration "demo".

    Returns:
        The run folder.

    Raises:
        InputError: OUT/data holds something else.
    """
    data, made = out / "data", out / "data" / "synthetic.json"
    recipe = {"photos": PHOTOS, "size": SIZE, "seed": SEED, "val_fraction": VAL_FRACTION}
    if not made.is_file():
        if data.exists():
            raise InputError(f"{data} is not a finished synthetic set; remove it, or give another folder")
        log.info("drawing %d synthetic photos", PHOTOS)
        write_synthetic(data, PHOTOS, SIZE, SEED, VAL_FRACTION)
        made.write_text(json.dumps(recipe), encoding="utf-8")
    return run(settings, data, out)
