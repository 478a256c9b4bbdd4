"""Running the rows: one run folder per row and seed, finished stages copied from other rows."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from esol.data import open_dataset
from esol.data.saliency import saliency_folder
from esol.errors import InputError
from esol.reproduce.specs import ROWS, TRUTH, with_sources
from esol.runs.folder import RunFolder
from esol.runs.work import OtherSettingsError
from esol.settings import RefineMethod, Settings
from esol.settings.load import load_settings
from esol.stages import run
from esol.system.files import TEMPORARY, make_folder
from esol.system.progress import log

_load = cache(load_settings)
"""Cached: a row's settings are needed many times, and reading them takes a fifth of a second."""


@dataclass(frozen=True)
class Plan:
    """What all rows share.

    Attributes:
        config: settings file, or the name of one that comes with esol.
        data: data folder.
        out: folder of the results.
        seeds: each gives one run of every repeated row; the other rows have the first alone.
        flags: settings for every row, as on the command line.
        saliency: folder of saliency maps, inside or outside the data folder.
        repeat: the repeated rows with their sources; None: every row.
    """

    config: str
    data: Path
    out: Path
    seeds: tuple[int, ...]
    flags: tuple[str, ...]
    saliency: str
    repeat: tuple[str, ...] | None = None

    def seeds_of(self, row: str) -> tuple[int, ...]:
        """Seeds of a row's runs."""
        return self.seeds if self.repeat is None or row in self.repeat else self.seeds[:1]

    def folder(self, row: str, seed: int) -> RunFolder:
        """Run folder of a row."""
        return RunFolder(self.out / "rows" / row / f"seed{seed}")

    @cached_property
    def base(self) -> Settings:
        """Settings of the row esol with the first seed."""
        return self.settings("esol", self.seeds[0])

    def settings(self, row: str, seed: int) -> Settings:
        """Settings of a row; an InputError if the file or a setting is wrong."""
        flags = [f"--machine.cache={self.out / 'cache'}", *self.flags, f"--seed={seed}"]
        flags += ["--method=esol", "--seeds.kind=auto", *ROWS[row].flags]
        if ROWS[row].saliency:
            flags.append(f"--masks.saliency={self.saliency}")
        if "--method=drs" in ROWS[row].flags and not self.base.backbone.learn:
            flags.append("--drs.everywhere=false")
        return _load(self.config, *flags)

    def missing(self, row: str) -> str:
        """Why a row cannot be run on these data with this configuration; "" if it can."""
        spec, train = ROWS[row], self.base.data.train
        if spec.saliency:
            try:
                saliency_folder(self.data, self.saliency)
            except InputError:
                return f"no folder {self.saliency} of saliency maps"
        if spec.until == "segment" and self.base.segment.network == "none":
            return "the configuration has no segmentation network"
        if TRUTH in spec.flags:
            return "" if self.labelled else f"{train} has no masks to learn from"
        if spec.until == "segment" and train not in (self.base.cams.lists or (train,)):
            return f"cams.lists leaves out {train}, from which networks learn"
        return self.unrefined(spec.refined) or (spec.source and self.missing(spec.source))

    def unrefined(self, refined: RefineMethod | Literal[""]) -> str:
        """Why the configuration lacks a refinement; "" if it has it, or for ""."""
        if refined and refined not in self.base.refine.methods:
            return f"the configuration's refine.methods leave out {refined}"
        if refined == "irn" and self.base.masks.source != "irn":
            return "the configuration's masks.source is not irn"
        return ""

    @cached_property
    def labelled(self) -> bool:
        """Whether any photo to learn from has a mask."""
        data = open_dataset(self.data, self.base.data)
        return any(sample.mask is not None for sample in data.samples(self.base.data.train))

    def metrics(self, row: str, seed: int) -> dict[str, Any] | None:
        """A row's metrics.json; None if the row is not run or cannot be."""
        if self.missing(row) or not self.folder(row, seed).is_current("evaluate"):
            return None
        return self.folder(row, seed).metrics()

    def commit(self, row: str, seed: int) -> str:
        """The commit at which a row was measured."""
        return str(self.folder(row, seed).manifest("evaluate")["record"]["commit"])


def run_rows(plan: Plan, names: Iterable[str]) -> None:
    """Run the rows and their sources, except what is finished.

    Raises:
        InputError: wrong input, or a folder holds a run with other settings.
    """
    for name in with_sources(names):
        if reason := plan.missing(name):
            log.warning("row %s: not run: %s", name, reason)
            continue
        for seed in plan.seeds_of(name):
            _run_row(plan, name, seed)


def _run_row(plan: Plan, name: str, seed: int) -> None:
    """Run one row with one seed, unless that is finished."""
    row, target, settings = ROWS[name], plan.folder(name, seed), plan.settings(name, seed)
    if _is_done(plan, target, settings):
        return
    log.warning("row %s, seed %d", name, seed)
    for stage in row.shared:
        _copy(plan.folder(row.source, seed).stage(stage), target.stage(stage))
    try:
        run(settings, plan.data, target.path, last=row.until)
        run(settings, plan.data, target.path, first="evaluate")
    except OtherSettingsError as error:
        raise InputError(f"{error.conflict}; use another --out") from error


def _is_done(plan: Plan, target: RunFolder, settings: Settings) -> bool:
    """Whether the folder holds this run, evaluated."""
    if not target.is_current("evaluate") or not (target.path / "settings.yaml").is_file():
        return False
    # Read as settings: those that did not exist then get their defaults.
    stored = target.settings().resolved()
    same = replace(stored, machine=settings.machine) == settings.resolved()
    return same and target.data_root() == plan.data.resolve()


def _copy(source: Path, target: Path) -> None:
    """Copy a finished stage atomically, unless the target exists."""
    if target.exists():
        return
    part = target.with_name(f"{TEMPORARY}{target.name}")
    shutil.rmtree(part, ignore_errors=True)
    make_folder(target.parent)
    shutil.copytree(source, part)
    part.replace(target)
