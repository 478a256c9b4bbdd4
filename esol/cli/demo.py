"""The embedded proof that the method works here: a synthetic set through the whole pipeline."""

from pathlib import Path

import psutil

from esol.data.synthetic import write_synthetic
from esol.settings import Settings
from esol.system.progress import log

PHOTOS = 300
SIZE = 96
SEED = 0
VAL_FRACTION = 0.25

SECONDS = 0.5
"""For how long other work is watched."""

THREADS = 2
"""More than two gain nothing on networks of this size."""


def demo(out: Path, settings: Settings) -> Path:
    """Write the synthetic set to OUT/data, unless it is there, and run all stages on it.

    Args:
        out: run folder.
        settings: the run's settings, usually the configuration "demo".

    Returns:
        The run folder.
    """
    cores = psutil.cpu_count() or 1
    # Measured now: a load average still holds what ended a minute ago.
    busy = psutil.cpu_percent(SECONDS) / 100 * cores
    threads = threads_for(cores, busy)
    log.info(
        "demo: about 80 seconds on two idle cores; of the %d here, other work keeps %.0f busy%s",
        cores,
        min(busy, cores),
        "" if threads == THREADS else ", so it may take several",
    )
    # Only now, since it takes seconds.
    import torch

    from esol.stages import run

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    if not (out / "data").exists():
        log.info("drawing %d synthetic photos", PHOTOS)
        write_synthetic(out / "data", PHOTOS, SIZE, SEED, VAL_FRACTION)
    return run(settings, out / "data", out)


def threads_for(cores: int, busy: float) -> int:
    """Threads for the demo: those that other work leaves idle, 1 to THREADS.

    A thread that waits for another one spins. With more threads than idle cores, most of the time
    goes into waiting.
    """
    return max(1, min(THREADS, cores - round(busy)))
