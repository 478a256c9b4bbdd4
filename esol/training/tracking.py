"""Training curves to TensorBoard or Weights & Biases, by Accelerate; off unless asked for."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, is_tensorboard_available, is_wandb_available

from esol.errors import InputError, one_line
from esol.runs.stages import STAGES
from esol.settings import Machine
from esol.system.distributed import all_wait, main_process
from esol.system.progress import log

TENSORBOARD = "tensorboard"
"""Folder in the run folder; in it one per trained stage."""

_AVAILABLE = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available}


def check_tracker(machine: Machine) -> None:
    """Raise an InputError if what ``machine.track`` names is not installed."""
    if not _AVAILABLE[machine.track]():
        raise InputError(
            f"machine.track = {machine.track!r}: not installed; pip install 'esol[track]', or set"
            " machine.track: none"
        )


def tracker_arguments(machine: Machine, folder: Path) -> dict[str, Any]:
    """Arguments of Accelerate's constructor for the tracker that ``machine.track`` names."""
    place = str(_run_and_name(folder)[0] / TENSORBOARD)
    return {
        "log_with": machine.track,
        "project_config": ProjectConfiguration(logging_dir=place),
    }


def _run_and_name(folder: Path) -> tuple[Path, str]:
    """The run folder, and a training's name: its stage's folder, or its place in that."""
    for stage in (folder, *folder.parents):
        if stage.name in {known.folder for known in STAGES.values()}:
            return stage.parent, folder.relative_to(stage.parent).as_posix()
    return folder.parent, folder.name


@contextmanager
def tracked(accelerator: Accelerator, machine: Machine, folder: Path, done: int) -> Iterator[None]:
    """Send what ``accelerator.log`` gets to the tracker.

    TensorBoard: events in RUN/tensorboard/STAGE. Weights & Biases: project RUN, run STAGE, files in
    RUN/wandb, and nothing is sent unless the environment variable WANDB_MODE says so.

    Args:
        accelerator: constructed with ``tracker_arguments``.
        machine: names the tracker.
        folder: the stage's folder, or one in it.
        done: steps already done; what it has of later ones is removed.

    Raises:
        InputError: the tracker cannot start.
    """
    if machine.track == "tensorboard":
        _start_tensorboard(accelerator, folder, done)
    else:
        _start_wandb(accelerator, folder)
    try:
        yield
    finally:
        # Not end_training: that would also end the process group, which later stages need.
        for tracker in accelerator.trackers:
            tracker.finish()


def _start_tensorboard(accelerator: Accelerator, folder: Path, done: int) -> None:
    run, name = _run_and_name(folder)
    place = run / TENSORBOARD / name
    if main_process() and not done and place.exists():
        # The curve of an abandoned training would mix with the new one.
        shutil.rmtree(place)
    all_wait()
    options = {"purge_step": done + 1} if done else {}
    accelerator.init_trackers(name, init_kwargs={"tensorboard": options})


def _start_wandb(accelerator: Accelerator, folder: Path) -> None:
    # wandb sends error reports even where it sends no runs.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    run, name = _run_and_name(folder)
    mode = os.environ.get("WANDB_MODE", "offline")
    options = {
        "name": name,
        "dir": str(run),
        "mode": mode,
        "settings": wandb.Settings(console="off", silent=mode == "offline"),
    }
    project = re.sub(r"[/\\#?%:]", "-", run.resolve().name)[:128]
    try:
        accelerator.init_trackers(project, init_kwargs={"wandb": options})
    except wandb.Error as error:
        raise InputError(
            f"machine.track = 'wandb': {one_line(error, 1, 200).rstrip('.')}; set"
            " WANDB_MODE=offline, or machine.track: none"
        ) from error
    log.info("Weights & Biases (%s): files in %s", mode, run / "wandb")
