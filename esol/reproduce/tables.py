"""The paper's tables: our numbers, read from the rows' metrics.json, beside the printed ones."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from esol.files import read_json, write_atomic
from esol.reproduce.runs import Plan
from esol.reproduce.specs import MASKS, TABLES, Line, Spec

BEST, FIXED = "best_on_ground_truth", "fixed"
PROTOCOLS = {BEST: "best threshold", FIXED: "fixed threshold"}


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
        seeds: how many runs.
        paper: the paper's number, None where it has none.
        source: where in the paper.
        missing: why there is no number of ours, "" if there is.
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
    found: dict[str, Any] = read_json(Path(__file__).with_name("paper.json"))
    return found


def cells(plan: Plan, name: str) -> list[Cell]:
    """All cells of a table, list by list.

    Args:
        plan: what the rows share.
        name: a key of :data:`esol.reproduce.specs.TABLES`.
    """
    spec = TABLES[name]
    return [
        cell
        for split in plan.base.data.evaluate
        for line in spec.lines
        for cell in _line_cells(plan, spec, line, split)
    ]


def _line_cells(plan: Plan, spec: Spec, line: Line, split: str) -> list[Cell]:
    found = [(plan.metrics(line.row, seed) or {}).get("lists") for seed in plan.seeds]
    measured = [one[split][line.kind] for one in found if one and split in one]
    missing = plan.missing(line.row)
    if not missing and not measured:
        missing = f"no masks for {split}" if any(one is not None for one in found) else "not run"
    printed, source = _printed(spec, line)
    protocols = ("",) if line.kind in MASKS else (BEST, FIXED)
    return [
        Cell(
            split,
            line.label,
            measure,
            protocol,
            *_numbers([one[protocol or FIXED] for one in measured], measure),
            seeds=len(measured),
            paper=printed.get(measure, printed.get(split)),
            source=source,
            missing=missing,
        )
        for protocol in protocols
        for measure in spec.measures
    ]


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


def _printed(spec: Spec, line: Line) -> tuple[Mapping[str, float], str]:
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
    printed = [] if not spec.printed else list(spec.columns)
    heads = ["row", *(f"paper, {spec.columns[key]}" for key in printed)]
    protocols = list(dict.fromkeys(cell.protocol for cell in found))
    for protocol in protocols:
        told = PROTOCOLS.get(protocol, "masks as they are")
        heads += [f"ours, {head}, {told}" for head in spec.measures.values()]
        heads += ["at"] if protocol else []
    heads += ["seeds", "missing"]
    parts = [f"# {spec.title}", "", "Percent; mean ± standard deviation over seeds."]
    for split in dict.fromkeys(cell.list for cell in found):
        parts += ["", f"## {split}", "", _bar(heads), "|" + "---|" * len(heads)]
        for label in dict.fromkeys(cell.row for cell in found):
            own = [cell for cell in found if (cell.list, cell.row) == (split, label)]
            parts.append(_bar([label, *_paper_cells(spec, label), *_ours(spec, own, protocols)]))
    return "\n".join([*parts, "", *notes(plan, name), ""])


def _paper_cells(spec: Spec, label: str) -> list[str]:
    if not spec.printed:
        return []
    values, _ = _printed(spec, next(line for line in spec.lines if line.label == label))
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
    return [*parts, str(own[0].seeds), own[0].missing]


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
    if any(line.row == "esol-network" for line in spec.lines):
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
    runs = [(row, seed) for row in rows for seed in plan.seeds]
    known = {run: found for run in runs if (found := plan.metrics(*run))}
    commits = ", ".join(sorted({plan.commit(*run) for run in known})) or "nothing run"
    sets = ", ".join(sorted({found["mask_set"] for found in known.values()} - {""})) or "none"
    lists = [found["lists"] for found in known.values()]
    photos = (
        f"{split} {next((one[split]['photos'] for one in lists if split in one), 0)}"
        for split in plan.base.data.evaluate
    )
    return [
        f"seeds: {', '.join(map(str, plan.seeds))}; commit: {commits}",
        f"photos with masks: {', '.join(photos)}; mask set: {sets}",
    ]
