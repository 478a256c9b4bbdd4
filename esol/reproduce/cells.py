"""Cells of the paper's tables: our numbers, from the rows' metrics.json, beside the printed."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from esol.metrics.curves import never_predicted
from esol.reproduce.runs import Plan
from esol.reproduce.specs import MASKS, TABLES, Line, Spec
from esol.system.read import read_json

BEST, FIXED = "best_on_ground_truth", "fixed"


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
