"""Steps: losses of a training by step, one JSON object a line, as metrics.jsonl has them."""

import json
from pathlib import Path

from esol.runs.manifest import damaged

METRICS = "metrics.jsonl"


def parse_step(line: str) -> dict[str, float] | None:
    """Numbers of a line, its "step" among them; None for a damaged line, or one cut off."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and "step" in row
    return row if whole and all(isinstance(v, int | float) for v in row.values()) else None


def read_steps(path: Path) -> list[dict[str, float]]:
    """Numbers of every line.

    Raises:
        InputError: the file cannot be read, or a line is damaged.
    """
    try:
        rows = [parse_step(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        rows = [None]
    steps = [row for row in rows if row is not None]
    if len(steps) < len(rows):
        raise damaged(path)
    return steps
