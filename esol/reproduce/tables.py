"""The paper's tables as files: Markdown with the settings that matter below, and CSV."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from esol.reproduce.cells import BEST, FIXED, Cell, cells, paper, printed_numbers
from esol.reproduce.runs import Plan
from esol.reproduce.specs import TABLES, Spec
from esol.system.files import write_atomic

PROTOCOLS = {BEST: "best threshold", FIXED: "fixed threshold", "": "masks as they are"}


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
