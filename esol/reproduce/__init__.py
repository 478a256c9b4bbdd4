"""The paper's tables and figures, and two tables of ours, reproduced by one program."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from esol.data import layout, open_dataset
from esol.data.saliency import saliency_folder
from esol.errors import InputError
from esol.reproduce.figures import write_figure
from esol.reproduce.runs import Plan, run_rows
from esol.reproduce.specs import ALL, FIGURES, ROWS, TABLES, TARGETS, rows_of, with_sources
from esol.reproduce.tables import write_table
from esol.settings import Data
from esol.settings.load import Parser, load_settings
from esol.system.files import make_folder

CONFIGS = {"voc": "voc12", "coco": "coco14", "folder": "tags-folder"}
"""Layout of the data folder -> default configuration."""

SALIENCY = {"voc": "Saliency", "coco": "Saliency", "folder": "saliency"}
"""Layout of the data folder -> default folder of saliency maps."""

_SET_ELSEWHERE = {
    "method": "every row has its own",
    "seeds.kind": "every row has its own",
    "seed": "use --seeds",
    "data.kind": "use --kind",
    "masks.saliency": "use --saliency",
    "machine.cache": "rows share the one in --out",
}
"""Settings that --set refuses -> why, or what to use."""


def reproduce(target: str, plan: Plan) -> list[str]:
    """Run what is missing, then write tables and figures into the plan's folder, those of a target
    out of :data:`esol.reproduce.specs.TARGETS`, or of "all": those in ``ALL``.

    Returns:
        Texts to print: tables as Markdown, the figures' files, and what is missing and why.

    Raises:
        InputError: wrong input, or the folder holds runs with other settings.
        ValueError: no such target.
    """
    if target not in (*TARGETS, "all"):
        raise ValueError(f"no target {target!r}")
    targets = ALL if target == "all" else (target,)
    rows = with_sources(row for name in targets for row in rows_of(name))
    if unused := [row for row in plan.repeat or () if row not in rows]:
        known = ", ".join(rows)
        raise InputError(f"--repeat {unused[0]}: {target} has no such row; it has {known}")
    # Refuses wrong data before anything is written.
    open_dataset(plan.data, plan.base.data)
    make_folder(plan.out)
    run_rows(plan, rows)
    texts = []
    for name in targets:
        if name in TABLES:
            texts.append(write_table(plan, name))
        if name in FIGURES:
            texts += write_figure(plan, name)
    return texts


def plan_for(
    data: Path,
    out: Path,
    *,
    kind: Literal["auto", "voc", "coco", "folder"] | None = None,
    config: str | None = None,
    seeds: Sequence[int] = (0,),
    flags: Sequence[str] = (),
    saliency: str | None = None,
    repeat: Sequence[str] | None = None,
) -> Plan:
    """A plan; missing arguments follow from the layout of the data folder.

    Args:
        data: data folder.
        out: folder of the results.
        kind: layout of the data folder; None: as the configuration says.
        config: settings file or name of one; None: the one in CONFIGS.
        seeds: each gives one run of every repeated row; the other rows have the first alone.
        flags: settings for every row, "group.name=value".
        saliency: existing folder of saliency maps; None: the one in SALIENCY, which may be missing.
        repeat: names of the repeated rows; their sources are repeated too. None: every row.

    Raises:
        InputError: no such folder, an unknown layout, a repeated seed, a malformed flag, or no
            such row.
    """
    if not data.is_dir():
        raise InputError(f"{data}: no such folder: give the folder of the data set")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds {' '.join(map(str, seeds))}: give each seed once")
    for flag in flags:
        if "=" not in flag or flag.startswith("-"):
            raise InputError(f"--set {flag}: must be group.name=value")
        if (key := flag.split("=")[0]) in _SET_ELSEWHERE:
            raise InputError(f"--set {flag}: {_SET_ELSEWHERE[key]}")
    for name in repeat or ():
        if name not in ROWS:
            raise InputError(f"--repeat {name}: no such row; there are {', '.join(ROWS)}")
    options = (*([f"--data.kind={kind}"] if kind else []), *(f"--{flag}" for flag in flags))
    settings = load_settings(config, *options).data if config else Data(kind=kind or "auto")
    name = layout(data, settings) if settings.kind == "auto" else settings.kind
    if saliency is not None:
        saliency_folder(data, saliency)
    return Plan(
        config=config or CONFIGS[name],
        data=data,
        out=out,
        seeds=tuple(seeds),
        flags=options,
        saliency=saliency or SALIENCY[name],
        repeat=None if repeat is None else with_sources(repeat),
    )


def command(arguments: list[str]) -> int:
    """``esol reproduce``: parse, run, print."""
    parser = Parser(
        prog="esol reproduce",
        description="The paper's tables and figures: run what is missing, print ours beside the"
        " paper's numbers.",
    )
    parser.add_argument("target", choices=[*TARGETS, "all"], help="table or figure; all: not masks")
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--kind", choices=["auto", "voc", "coco", "folder"], help="its layout")
    parser.add_argument("--config", help="settings file, or the name of one that comes with esol")
    parser.add_argument("--out", default="runs/reproduce", help="folder of the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run for each")
    parser.add_argument("--repeat", nargs="+", metavar="ROW", help="rows with a run for each seed")
    parser.add_argument("--saliency", help="folder of saliency maps, for DRS, EPS, tables 3 and 4")
    parser.add_argument("--set", nargs="+", default=[], help="group.name=value, for every row")
    parsed = parser.parse_args(arguments)
    plan = plan_for(
        Path(parsed.data),
        Path(parsed.out),
        kind=parsed.kind,
        config=parsed.config,
        seeds=parsed.seeds,
        flags=parsed.set,
        saliency=parsed.saliency,
        repeat=parsed.repeat,
    )
    print("\n".join(reproduce(parsed.target, plan)))
    print(f"written to {plan.out}")
    return 0
