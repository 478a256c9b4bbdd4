"""The paper's tables: our numbers beside the printed ones, as Markdown with notes and as CSV."""

import csv
import io
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from esol.metrics.curves import never_predicted
from esol.reproduce.runs import Plan
from esol.reproduce.specs import MASKS, TABLES, Line, Spec
from esol.system.files import read_json, write_atomic

BEST, FIXED = "best_on_ground_truth", "fixed"
PROTOCOLS = {BEST: "best threshold", FIXED: "fixed threshold", "": "masks as they are"}


@dataclass(frozen=True)
class Cell:
    """One number of ours beside the paper's; both in percent.

    Attributes:
        list: photo list on which it was measured.
        row: the row's label.
        measure: key in metrics.json.
        protocol: which threshold; "" for masks, which are measured as they are.
        ours: mean over seeds, None where it is missing.
        deviation: standard deviation over seeds, None for one seed.
        at: mean threshold, None where there is none.
        seeds: how many runs are in the mean.
        paper: the paper's number, None where it has none.
        source: where in the paper.
        missing: why there is no number of ours, or how many of the planned seeds are in it; "" if
            all are.
    """

    list: str
    row: str
    measure: str
    protocol: str
    ours: float | None
    deviation: float | None
    at: float | None
    seeds: int
    paper: float | None
    source: str
    missing: str


@cache
def paper() -> dict[str, Any]:
    """The paper's numbers in percent: table -> where, data, list, rows."""
    return read_json(Path(__file__).with_name("paper.json"))


def cells(plan: Plan, name: str) -> list[Cell]:
    """All cells of a table, list by list.

    Args:
        plan: what the rows share.
        name: a key of :data:`esol.reproduce.specs.TABLES`.
    """
    spec = TABLES[name]
    counts = {len(plan.seeds_of(line.row)) for line in spec.lines}
    found = []
    for split in plan.base.data.evaluate:
        for line in spec.lines:
            seeds = plan.seeds_of(line.row)
            found += _line_cells(plan, spec, line, split, seeds)
            # Beside rows of one seed a mean of several tells nothing of a difference: seeds of
            # the classifier, which rows share, differ more than rows do.
            if len(seeds) > min(counts):
                alone = replace(line, label=f"{line.label}, seed {seeds[0]} alone")
                found += _line_cells(plan, spec, alone, split, seeds[:1])
    return found


def _line_cells(
    plan: Plan, spec: Spec, line: Line, split: str, planned: Sequence[int]
) -> list[Cell]:
    missing = plan.missing(line.row) or plan.unrefined(line.refined)
    seeds = () if missing else planned
    found = [one["lists"] for seed in seeds if (one := plan.metrics(line.row, seed))]
    measured = [one[split][line.kind] for one in found if split in one]
    if not missing and not measured:
        missing = f"no masks for {split}" if found else "not run"
    elif len(measured) < len(seeds):
        missing = f"{len(measured)} of {len(seeds)} seeds"
    printed, source = printed_numbers(spec, line)
    protocols = ("",) if line.kind in MASKS else (BEST, FIXED)
    made = []
    for protocol in protocols:
        points = [one[protocol or FIXED] for one in measured]
        for measure, head in spec.measures.items():
            ours, deviation, at = _numbers(points, measure)
            made.append(
                Cell(
                    split,
                    line.label,
                    measure,
                    protocol,
                    ours,
                    deviation,
                    at,
                    seeds=len(measured),
                    paper=printed.get(measure, printed.get(split)),
                    source=source,
                    missing=_left_out(head, measure, ours, points) or missing,
                )
            )
    return made


def _left_out(
    head: str, measure: str, ours: float | None, points: Sequence[Mapping[str, Any]]
) -> str:
    """What a number that was measured does not count: precision of what is never predicted."""
    if not points:
        return ""
    if ours is None:
        return f"{head}: nothing predicted"
    classes = max(len(never_predicted(one)) for one in points)
    if not classes or measure not in ("precision", "f1_of_means"):
        return ""
    return f"{head}: {classes} classes never predicted, left out"


def _numbers(
    found: Sequence[Mapping[str, Any]], measure: str
) -> tuple[float | None, float | None, float | None]:
    """Mean and deviation in percent, and the mean threshold."""
    values = [100 * one[measure] for one in found if one[measure] is not None]
    at = [one["threshold"] for one in found if "threshold" in one]
    if not values or len(values) < len(found):
        return None, None, statistics.mean(at) if at else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return statistics.mean(values), deviation, statistics.mean(at) if at else None


def printed_numbers(spec: Spec, line: Line) -> tuple[Mapping[str, float], str]:
    """What the paper prints in a row, and where."""
    for name in spec.printed:
        table = paper()[name]
        if line.label in table["rows"]:
            return table["rows"][line.label], f"{table['where']}, {table['data']} {table['list']}"
    return {}, ""


def write_table(plan: Plan, name: str) -> str:
    """Write OUT/NAME.md and OUT/NAME.csv; returns the Markdown."""
    found = cells(plan, name)
    text = markdown(plan, name, found)
    write_atomic(plan.out / f"{name}.md", text)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [one.name for one in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _rounded(v) for k, v in asdict(cell).items()} for cell in found)
    write_atomic(plan.out / f"{name}.csv", stream.getvalue())
    return text


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def markdown(plan: Plan, name: str, found: Sequence[Cell]) -> str:
    """The table as text, one block per list, with the settings that matter below it."""
    spec = TABLES[name]
    protocols = list(dict.fromkeys(cell.protocol for cell in found))
    parts = [f"# {spec.title}", "", "Percent; mean ± standard deviation over seeds."]
    for split in dict.fromkeys(cell.list for cell in found):
        for group in [[one] for one in protocols] if spec.apart else [protocols]:
            own = [cell for cell in found if cell.list == split and cell.protocol in group]
            title = f"{split}, {PROTOCOLS[group[0]]}" if spec.apart else split
            parts += ["", f"## {title}", "", *_block(spec, own, group)]
    return "\n".join([*parts, "", *notes(plan, name), ""])


def _block(spec: Spec, found: Sequence[Cell], protocols: Sequence[str]) -> list[str]:
    """One list's lines, with the columns of some protocols."""
    heads = ["row", *(f"paper, {head}" for head in spec.columns.values())]
    for protocol in protocols:
        heads += [
            head if spec.apart else f"ours, {head}, {PROTOCOLS[protocol]}"
            for head in spec.measures.values()
        ]
        heads += ["at"] if protocol else []
    heads += ["seeds", "missing"]
    lines = [_bar(heads), "|" + "---|" * len(heads)]
    for label in dict.fromkeys(cell.row for cell in found):
        own = [cell for cell in found if cell.row == label]
        lines.append(_bar([label, *_paper_cells(spec, label), *_ours(spec, own, protocols)]))
    return lines


def _paper_cells(spec: Spec, label: str) -> list[str]:
    line = next((line for line in spec.lines if line.label == label), None)
    values = printed_numbers(spec, line)[0] if line else {}
    return [f"{values[key]:.1f}" if key in values else "" for key in spec.columns]


def _ours(spec: Spec, own: Sequence[Cell], protocols: Sequence[str]) -> list[str]:
    """Cells of one row and list, after the paper's."""
    parts = []
    for protocol in protocols:
        chosen = [cell for cell in own if cell.protocol == protocol]
        parts += [_shown(cell) for cell in chosen] or [""] * len(spec.measures)
        if protocol:
            at = chosen[0].at if chosen else None
            parts.append("" if at is None else f"{at:.2f}")
    reasons = dict.fromkeys(cell.missing for cell in own if cell.missing)
    return [*parts, str(own[0].seeds), "; ".join(reasons)]


def _shown(cell: Cell) -> str:
    if cell.ours is None:
        return ""
    return f"{cell.ours:.1f}" + ("" if cell.deviation is None else f" ± {cell.deviation:.1f}")


def _bar(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"


def notes(plan: Plan, name: str) -> list[str]:
    """The settings that matter, as a Markdown list."""
    base, spec = plan.base, TABLES[name]
    chosen, flags = base.backbone, " ".join(flag.removeprefix("--") for flag in plan.flags)
    lines = [
        *_paper_notes(spec),
        f"configuration: {Path(plan.config).name}" + (f", with {flags}" if flags else ""),
        f"backbone: {chosen.name}, initial weights {Path(chosen.weights).name}"
        + ("" if chosen.learn else ", frozen"),
        *_measured_notes(plan, spec),
        f"fixed threshold {base.seeds.threshold:g}, common to all rows; the best one was chosen on"
        " the masks it is measured on, as is the field's custom",
        *spec.notes,
    ]
    if any(line.kind == "segmentation" for line in spec.lines):
        net = base.segment
        lines.append(f"networks: {net.network}, {net.encoder}, weights {Path(net.weights).name}")
    if any(line.row.startswith("drs") for line in spec.lines) and not chosen.learn:
        lines.append("DRS suppresses in the head alone (drs.everywhere: false): frozen backbone")
    return [f"- {line}" for line in lines]


def _paper_notes(spec: Spec) -> list[str]:
    """What the paper's numbers are for."""
    if not spec.printed:
        return []
    table = paper()[spec.printed[0]]
    where = " and ".join(paper()[key]["where"] for key in spec.printed)
    return [
        f"paper: {where}, {table['data']} {table['list']}, ResNet-50 classifier; ours are for"
        " the photos below, so compare the order of rows first"
    ]


def _measured_notes(plan: Plan, spec: Spec) -> list[str]:
    """Seeds, commits, photos and masks of the runs that are there."""
    rows = dict.fromkeys(line.row for line in spec.lines)
    runs = [(row, seed) for row in rows for seed in plan.seeds_of(row)]
    known = {run: found for run in runs if (found := plan.metrics(*run))}
    commits = ", ".join(sorted({plan.commit(*run) for run in known})) or "nothing run"
    sets = ", ".join(sorted({found["mask_set"] for found in known.values()} - {""})) or "none"
    lists = [found["lists"] for found in known.values()]
    photos = (
        f"{split} {next((one[split]['photos'] for one in lists if split in one), 0)}"
        for split in plan.base.data.evaluate
    )
    return [
        f"seeds: {_seeds(plan, rows)}; commit: {commits}",
        f"photos with masks: {', '.join(photos)}; mask set: {sets}",
    ]


def _seeds(plan: Plan, rows: Collection[str]) -> str:
    """Seeds of the rows."""
    every, first = (", ".join(map(str, seeds)) for seeds in (plan.seeds, plan.seeds[:1]))
    repeated = [row for row in rows if plan.seeds_of(row) == plan.seeds]
    if len(repeated) == len(rows):
        return every
    return f"{every} of {', '.join(repeated)}; {first} of the other rows" if repeated else first
