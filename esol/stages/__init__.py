"""The stages: settings and files in, files out."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from esol.config import dump_settings
from esol.data import open_dataset
from esol.data.images import image_size
from esol.errors import InputError
from esol.files import write_atomic, write_json
from esol.progress import log
from esol.runfolder import STAGES
from esol.settings import Settings
from esol.stages.job import Job
from esol.stages.localize import cams, classify, expand, seeds, shrink
from esol.stages.masking import check_saliency, masks
from esol.stages.measure import evaluate
from esol.stages.refinement import refine
from esol.stages.segmentation import segment
from esol.summary import write_report

BY_NAME: dict[str, Callable[[Job], None]] = {
    "classify": classify,
    "expand": expand,
    "shrink": shrink,
    "cams": cams,
    "seeds": seeds,
    "refine": refine,
    "masks": masks,
    "segment": segment,
    "evaluate": evaluate,
}


def run(
    settings: Settings,
    data: Path | str,
    out: Path | str,
    *,
    first: str = STAGES[0],
    last: str = STAGES[-1],
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
    names = STAGES[STAGES.index(first) : STAGES.index(last) + 1]
    if not names:
        raise InputError(f"--from {first} --until {last}: {first} comes after {last}; swap them")
    job = Job(settings, open_dataset(data, settings.data), Path(out), overwrite)
    _check_input(job)
    for note in job.data.notes:
        log.info("%s", note)
    for name in names:
        BY_NAME[name](job)
    # Only now: a command that was refused must not change what the run says of itself.
    write_atomic(job.run / "settings.yaml", dump_settings(settings))
    write_json(job.run / "run.json", {"data": str(Path(data).resolve())})
    if last == "evaluate":
        write_report(job.run)
    return job.run


def _check_input(job: Job) -> None:
    """Refuse what would only fail hours later."""
    if job.run.resolve() == job.data.root.resolve():
        raise InputError(f"{job.run} is the data folder; give another folder for the results")
    unknown = [name for name in job.lists() if name not in job.data.splits]
    if unknown:
        known = ", ".join(job.data.splits)
        raise InputError(
            f"cams.lists = {unknown[0]!r}: must be of data.train, data.evaluate ({known})"
        )
    _check_masks(job)
    check_saliency(job)
    left_out = [name for name in job.settings.data.evaluate if name not in job.lists()]
    if left_out:
        raise InputError(f"cams.lists: must hold {left_out[0]!r}, which data.evaluate measures")
    for sample in job.data.samples(*job.settings.data.evaluate):
        if sample.mask is not None and sample.mask.is_file():
            mask, photo = image_size(sample.mask), image_size(sample.image)
            if mask != photo:
                raise InputError(
                    f"{sample.mask}: {mask} pixels, its photo {photo}: make them equal"
                )
    train = job.data.samples(job.settings.data.train)
    counts = Counter(tag for sample in train for tag in sample.tags)
    for index, name in enumerate(job.data.classes):
        if counts[index] < 2:
            log.warning("%s: %d photo to learn from, which is not enough", name, counts[index])


def _check_masks(job: Job) -> None:
    """Refuse settings under which the last stages would lack what they learn from."""
    settings, train = job.settings, job.settings.data.train
    learns = settings.segment.network != "none" and not settings.segment.truth
    if (learns or "irn" in settings.refine.methods) and train not in job.lists():
        raise InputError(
            f"cams.lists: must hold {train!r} (data.train), whose masks later stages learn from;"
            " or set refine.methods: [], masks.source: seeds and segment.network: none"
        )
