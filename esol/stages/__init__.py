"""The stages: settings and files in, files out."""

from collections.abc import Callable, Sequence
from pathlib import Path

from esol.data import open_dataset
from esol.errors import InputError
from esol.networks.pretrained import notes
from esol.report.summary import write_report
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.runs.work import FolderLock
from esol.settings import LEARNS, Settings
from esol.settings.load import dump_settings
from esol.stages import (
    cams,
    classify,
    evaluate,
    expand,
    masks,
    peer,
    refine,
    seeds,
    segment,
    shrink,
)
from esol.stages.begun import as_begun
from esol.stages.checks import check_input
from esol.stages.job import Job
from esol.system.distributed import all_from_main, all_wait, main_process
from esol.system.files import write_atomic, write_json
from esol.system.progress import log

BY_NAME: dict[str, Callable[[Job], None]] = {
    "classify": classify.classify,
    "peer": peer.peer,
    "expand": expand.expand,
    "shrink": shrink.shrink,
    "cams": cams.cams,
    "seeds": seeds.seeds,
    "refine": refine.refine,
    "masks": masks.masks,
    "segment": segment.segment,
    "evaluate": evaluate.evaluate,
}


def run(
    settings: Settings,
    data: Path | str,
    out: Path | str,
    *,
    first: str = "classify",
    last: str = "evaluate",
    overwrite: bool = False,
) -> Path:
    """Run the stages from ``first`` to ``last``, skipping those already done.

    Args:
        settings: all settings.
        data: data folder.
        out: run folder.
        first: name of the first stage.
        last: name of the last stage.
        overwrite: replace stages that were made with other settings.

    Returns:
        The run folder.

    Raises:
        InputError: something the user gave is wrong.
    """
    names = _stages(settings, first, last)
    folder = RunFolder(Path(out))
    settings = all_from_main(lambda: as_begun(settings, folder))
    job = Job(settings, open_dataset(data, settings.data), folder, overwrite)
    all_from_main(lambda: check_input(job, names))
    for note in (*job.data.notes, *notes(settings)):
        log.info("%s", note)
    lock = FolderLock(job.run.path)
    all_from_main(lock.acquire)
    try:
        _work(job, names, data, last)
    finally:
        lock.release()
    return job.run.path


def _work(job: Job, names: Sequence[str], data: Path | str, last: str) -> None:
    """Do the stages, and say what was done."""
    new = not (job.run.path / "run.json").exists()
    for name in names:
        BY_NAME[name](job)
        # What an interrupted first run leaves is a run folder, too.
        if new and name == names[0] and main_process():
            _describe(job, data)
    if main_process():
        # Only now: a command that was refused must not change what the run says of itself.
        if not new:
            _describe(job, data)
        if last == "evaluate":
            write_report(job.run.path)
    all_wait()


def _describe(job: Job, data: Path | str) -> None:
    write_atomic(job.run.path / "settings.yaml", dump_settings(job.settings))
    write_json(job.run.path / "run.json", {"data": str(Path(data).resolve())})


def _stages(settings: Settings, first: str, last: str) -> tuple[str, ...]:
    """Those of the method, from ``first`` to ``last``."""
    order = list(STAGES)
    names = order[order.index(first) : order.index(last) + 1]
    if not names:
        raise InputError(f"--from {first} --until {last}: {first} comes after {last}; swap them")
    others = set().union(*LEARNS.values()) - set(settings.learns)
    names = [name for name in names if name not in others]
    if not names:
        raise InputError(f"method {settings.method} has no stage {first}; set another method")
    return tuple(names)
