"""The stages: settings and files in, files out."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from esol.data import open_dataset
from esol.errors import InputError
from esol.networks.initial import NAMED
from esol.networks.pretrained import notes, recall, told
from esol.networks.published import source_of
from esol.report.summary import write_report
from esol.runs.folder import DESCRIPTION, IDENTITY, SETTINGS, RunFolder
from esol.runs.plan import Plan
from esol.runs.stages import STAGES
from esol.runs.work import FolderLock
from esol.settings import LEARNS, Settings
from esol.settings.load import dump_settings, load_settings
from esol.stages.begun import as_begun, with_precision
from esol.stages.checks import check_input, check_others, check_places
from esol.stages.job import Job
from esol.stages.reads import READS
from esol.system.distributed import all_from_main, all_wait, main_process
from esol.system.files import write_atomic, write_json
from esol.system.progress import duration, log, whole_run


def run(
    settings: Settings | str,
    data: Path | str,
    out: Path | str,
    *,
    first: str = "classify",
    last: str = "evaluate",
    overwrite: bool = False,
) -> Path:
    """Run the stages from ``first`` to ``last``, skipping those already done.

    Args:
        settings: all settings, or the name of a configuration or a settings file.
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
    if isinstance(settings, str):
        settings = load_settings(settings)
    folder, given = RunFolder(Path(out)), settings
    recall(folder.description())
    begun = all_from_main(lambda: as_begun(given, folder, overwrite=overwrite))
    settings = begun
    method = _stages(settings, first, last)
    names = tuple(name for name in method if STAGES[name].is_on(settings))
    job = Job(settings, open_dataset(data, settings.data), folder, overwrite)
    plan = all_from_main(lambda: _plan(job, names))
    if plan.to_do:
        # Once, for processes on unlike machines too.
        settings = all_from_main(lambda: with_precision(given, begun, folder))
        job = replace(job, settings=settings)
    trains = any(STAGES[name].weights for name in plan.to_do)
    for note in (*job.data.notes, *(notes(settings) if trains else ())):
        log.info("%s", note)
    if not names:
        log.info("%s: off with these settings", first)
    if overwrite:
        _say_what_is_replaced(settings, plan, names)
    lock = FolderLock(job.run.path)
    all_from_main(lock.acquire)
    try:
        if main_process():
            # Only now: a command that was refused must not change what the run says of itself.
            _describe(job, data)
        if plan.to_do:
            with whole_run(plan.seconds(names)) as begin:
                for name in names:
                    begin(name, STAGES[name].purpose)
                    _work(job, name)
        elif names:
            log.info("done before: %s", ", ".join(names))
        report = job.run.path / "report.html"
        if last == "evaluate" and main_process() and (plan.to_do or not report.is_file()):
            write_report(job.run.path)
        all_wait()
    finally:
        lock.release()
    return job.run.path


def _plan(job: Job, names: Sequence[str]) -> Plan:
    """What will be done to the stages, after all checks.

    Raises:
        InputError: something the user gave is wrong, or work of other settings is in the way.
    """
    check_places(job)
    order = _stages(job.settings, next(iter(STAGES)), list(STAGES)[-1])
    order = tuple(name for name in order if STAGES[name].is_on(job.settings))
    check_others(job, names, order, idle=False)
    # Said before PyTorch and timm are imported: for the networks below, of new stages already here.
    new = not any((job.run.stage(name) / IDENTITY).is_file() for name in names)
    if new and names:
        _say_what_is_to_do(names)
    plan = Plan(job.run, job.overwrite)
    looking = replace(job, plan=plan)
    for name in names:
        if STAGES[name].renewed and plan.to_do:
            plan.expect(name)
        else:
            _work(looking, name)
    if not plan.to_do:
        check_others(job, names, order, idle=True)
    elif not new:
        _say_what_is_to_do(plan.to_do)
    check_input(job, plan)
    return plan


def _work(job: Job, name: str) -> None:
    """Do what is left of a stage. Its module is imported only then: PyTorch and timm take 4 s."""
    with job.enter(name, READS[name](job)) as stage:
        if stage is not None:
            getattr(import_module(f"{__name__}.{name}"), name)(job, stage)


def _say_what_is_to_do(names: Iterable[str]) -> None:
    log.info("to do: %s; first a look at photos and networks", ", ".join(names))


def _say_what_is_replaced(settings: Settings, plan: Plan, names: Sequence[str]) -> None:
    """One line on what --overwrite keeps and costs, before it begins."""
    anew, new, seconds = plan.replacement()
    if not anew:
        return
    stays = [name for name in names if name not in plan.to_do]
    if settings.backbone.cache:
        stays.append("cached features of unchanged photos")
    kept = ", ".join(stays) or "nothing"
    cost = "" if seconds is None else f": about {duration(seconds)}, as last time"
    then = f"; then {', '.join(new)}" if new else ""
    log.info("--overwrite: keeps %s; makes %s anew%s%s", kept, ", ".join(anew), cost, then)


def _describe(job: Job, data: Path | str) -> None:
    write_atomic(job.run.path / SETTINGS, dump_settings(_from_anywhere(job.settings)))
    description = {"data": str(Path(data).resolve()), **told(job.settings)}
    write_json(job.run.path / DESCRIPTION, description)


def _from_anywhere(settings: Settings) -> Settings:
    """The settings, with files of weights and networks' folders found from any current folder."""

    def path(weights: str) -> str:
        return weights if weights in NAMED else str(Path(weights).resolve())

    def name(backbone: str) -> str:
        source, place = source_of(backbone) or ("", "")
        return f"{source}:{Path(place).resolve()}" if source == "local-dir" else backbone

    backbone, segment, classify = settings.backbone, settings.segment, settings.classify
    init = str(Path(classify.init).resolve()) if classify.init else ""
    return replace(
        settings,
        classify=replace(classify, init=init),
        backbone=replace(backbone, name=name(backbone.name), weights=path(backbone.weights)),
        segment=replace(segment, weights=path(segment.weights)),
    )


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
