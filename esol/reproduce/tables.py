"""The paper's tables: our numbers beside the printed ones, as Markdown with notes and as CSV."""

import csv
import io
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from esol.metrics.curves import never_predicted
from esol.reproduce.runs import Plan
from esol.reproduce.specs import MASKS, TABLES, Line, Spec
from esol.system.files import write_atomic
from esol.system.read import read_json

BEST, FIXED = "best_on_ground_truth", "fixed"
PROTOCOLS = {BEST: "best threshold", FIXED: "fixed threshold", "": "masks as they are"}


@dataclass(frozen=True)
class Cell:
    """One number of ours beside the paper's, in percent.

    Attributes:
        list: photo list of the measurement.
        row: label of the row.
        measure: key in metrics.json.
        protocol: which threshold; "" for masks, which have none.
        ours: mean over seeds, None if missing.
        deviation: standard deviation over seeds, None for one seed.
        at: mean threshold, None for masks.
        seeds: number of runs in the mean.
        paper: the paper's number, None if it prints none.
        source: where in the paper.
        missing: why a number of ours or some of its seeds are missing; "" if nothing is.
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
    """All cells of a table, a key of :data:`esol.reproduce.specs.TABLES`, list by list."""
    spec = TABLES[name]
    counts = {len(plan.seeds_of(line.row)) for line in spec.lines}
    result = []
    for split in plan.base.data.evaluate:
        for line in spec.lines:
            seeds = plan.seeds_of(line.row)
            result += _line_cells(plan, spec, line, split, seeds)
            # A mean of several seeds cannot be compared with rows of one seed: rows share the
            # classifier, whose seeds differ more than rows do.
            if len(seeds) > min(counts):
                alone = replace(line, label=f"{line.label}, seed {seeds[0]} alone")
                result += _line_cells(plan, spec, alone, split, seeds[:1])
    return result


def _line_cells(
    plan: Plan, spec: Spec, line: Line, split: str, planned: Sequence[int]
) -> list[Cell]:
    missing = plan.missing(line.row) or plan.unrefined(line.refined)
    seeds = () if missing else planned
    runs = [metrics["lists"] for seed in seeds if (metrics := plan.metrics(line.row, seed))]
    measured = [lists[split][line.kind] for lists in runs if split in lists]
    if not missing and not measured:
        missing = f"no masks for {split}" if runs else "not run"
    elif len(measured) < len(seeds):
        missing = f"{len(measured)} of {len(seeds)} seeds"
    printed, source = _printed(spec, line.label)
    result = []
    for protocol in ("",) if line.kind in MASKS else (BEST, FIXED):
        points = [curves[protocol or FIXED] for curves in measured]
        for measure, head in spec.measures.items():
            ours, deviation, at = _numbers(points, measure)
            where = (split, line.label, measure, protocol)
            number = printed.get(measure, printed.get(split))
            reason = _left_out(head, measure, ours, points) or missing
            result.append(Cell(*where, ours, deviation, at, len(measured), number, source, reason))
    return result


def _left_out(
    head: str, measure: str, ours: float | None, points: Sequence[Mapping[str, Any]]
) -> str:
    """What a measured number leaves out: the precision of classes that are never predicted."""
    if not points:
        return ""
    if ours is None:
        return f"{head}: nothing predicted"
    classes = max(len(never_predicted(point)) for point in points)
    left_out = classes and measure in ("precision", "f1_of_means")
    return f"{head}: {classes} classes never predicted, left out" if left_out else ""


def _numbers(
    points: Sequence[Mapping[str, Any]], measure: str
) -> tuple[float | None, float | None, float | None]:
    """Mean and deviation in percent, and the mean threshold."""
    values = [100 * point[measure] for point in points if point[measure] is not None]
    thresholds = [point["threshold"] for point in points if "threshold" in point]
    at = statistics.mean(thresholds) if thresholds else None
    if not values or len(values) < len(points):
        return None, None, at
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None, at


def _printed(spec: Spec, label: str) -> tuple[Mapping[str, float], str]:
    """The paper's numbers in a line, and where they are printed."""
    for name in spec.printed:
        table = paper()[name]
        if label in table["rows"]:
            return table["rows"][label], f"{table['where']}, {table['data']} {table['list']}"
    return {}, ""


def write_table(plan: Plan, name: str) -> str:
    """Write OUT/NAME.md and OUT/NAME.csv; returns the Markdown."""
    table = cells(plan, name)
    text = markdown(plan, name, table)
    write_atomic(plan.out / f"{name}.md", text)
    stream = io.StringIO()
    rows = [[round(v, 4) if isinstance(v, float) else v for v in astuple(cell)] for cell in table]
    head = [field.name for field in fields(Cell)]
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    write_atomic(plan.out / f"{name}.csv", stream.getvalue())
    return text


def markdown(plan: Plan, name: str, table: Sequence[Cell]) -> str:
    """The table as text, one block per list, with the settings that matter below it."""
    spec = TABLES[name]
    protocols = list(dict.fromkeys(cell.protocol for cell in table))
    parts = [f"# {spec.title}", "", "Percent; mean ± standard deviation over seeds."]
    for split in dict.fromkeys(cell.list for cell in table):
        for group in [[protocol] for protocol in protocols] if spec.apart else [protocols]:
            block = [cell for cell in table if cell.list == split and cell.protocol in group]
            title = f"{split}, {PROTOCOLS[group[0]]}" if spec.apart else split
            parts += ["", f"## {title}", "", *_block(spec, block, group)]
    return "\n".join([*parts, "", *notes(plan, name), ""])


def _block(spec: Spec, block: Sequence[Cell], protocols: Sequence[str]) -> list[str]:
    """One list's lines, with the columns of some protocols."""
    heads = ["row", *(f"paper, {head}" for head in spec.columns.values())]
    for protocol in protocols:
        heads += [
            head if spec.apart else f"ours, {head}, {PROTOCOLS[protocol]}"
            for head in spec.measures.values()
        ]
        heads += ["at"] if protocol else []
    heads += ["seeds", "missing"]
    lines = [_line(heads), "|" + "---|" * len(heads)]
    for label in dict.fromkeys(cell.row for cell in block):
        row = [cell for cell in block if cell.row == label]
        lines.append(_line([label, *_paper_cells(spec, label), *_our_cells(spec, row, protocols)]))
    return lines


def _paper_cells(spec: Spec, label: str) -> list[str]:
    values, _ = _printed(spec, label)
    return [f"{values[key]:.1f}" if key in values else "" for key in spec.columns]


def _our_cells(spec: Spec, row: Sequence[Cell], protocols: Sequence[str]) -> list[str]:
    """Cells of one row and list, after the paper's."""
    parts = []
    for protocol in protocols:
        part = [cell for cell in row if cell.protocol == protocol]
        parts += [_number(cell) for cell in part] or [""] * len(spec.measures)
        if protocol:
            at = part[0].at if part else None
            parts.append("" if at is None else f"{at:.2f}")
    reasons = dict.fromkeys(cell.missing for cell in row if cell.missing)
    return [*parts, str(row[0].seeds), "; ".join(reasons)]


def _number(cell: Cell) -> str:
    if cell.ours is None:
        return ""
    return f"{cell.ours:.1f}" + ("" if cell.deviation is None else f" ± {cell.deviation:.1f}")


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"


def notes(plan: Plan, name: str) -> list[str]:
    """The settings that matter, as a Markdown list."""
    base, spec = plan.base, TABLES[name]
    backbone, flags = base.backbone, " ".join(flag.removeprefix("--") for flag in plan.flags)
    lines = []
    if spec.printed:
        table = paper()[spec.printed[0]]
        where = " and ".join(paper()[key]["where"] for key in spec.printed)
        lines.append(
            f"paper: {where}, {table['data']} {table['list']}, ResNet-50 classifier; ours are for"
            " the photos below, so compare the order of rows first"
        )
    lines += [
        f"configuration: {Path(plan.config).name}" + (f", with {flags}" if flags else ""),
        f"backbone: {backbone.name}, initial weights {Path(backbone.weights).name}"
        + ("" if backbone.learn else ", frozen"),
        *_measured_notes(plan, spec),
        f"fixed threshold {base.seeds.threshold:g}, common to all rows; the best one was chosen on"
        " the masks it is measured on, as is the field's custom",
        *spec.notes,
    ]
    if any(line.kind == "segmentation" for line in spec.lines):
        net = base.segment
        lines.append(f"networks: {net.network}, {net.encoder}, weights {Path(net.weights).name}")
    if any(line.row.startswith("drs") for line in spec.lines) and not backbone.learn:
        lines.append("DRS suppresses in the head alone (drs.everywhere: false): frozen backbone")
    return [f"- {line}" for line in lines]


def _measured_notes(plan: Plan, spec: Spec) -> list[str]:
    """Seeds, commits, photos and masks of the finished runs."""
    rows = dict.fromkeys(line.row for line in spec.lines)
    runs = [(row, seed) for row in rows for seed in plan.seeds_of(row)]
    metrics = {run: content for run in runs if (content := plan.metrics(*run))}
    commits = ", ".join(sorted({plan.commit(*run) for run in metrics})) or "nothing run"
    sets = ", ".join(sorted({run["mask_set"] for run in metrics.values()} - {""})) or "none"
    lists = [run["lists"] for run in metrics.values()]
    photos = (
        f"{split} {next((part[split]['photos'] for part in lists if split in part), 0)}"
        for split in plan.base.data.evaluate
    )
    return [
        f"seeds: {_seeds(plan, rows)}; commit: {commits}",
        f"photos with masks: {', '.join(photos)}; mask set: {sets}",
    ]


def _seeds(plan: Plan, rows: Collection[str]) -> str:
    every, first = (", ".join(map(str, seeds)) for seeds in (plan.seeds, plan.seeds[:1]))
    repeated = [row for row in rows if plan.seeds_of(row) == plan.seeds]
    if len(repeated) == len(rows):
        return every
    return f"{every} of {', '.join(repeated)}; {first} of the other rows" if repeated else first
