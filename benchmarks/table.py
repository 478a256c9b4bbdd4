"""Put the results of benchmarks/results/*.csv into docs/speed.md, between its two marks.

python benchmarks/table.py
"""

import csv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, BEGIN, END = ROOT / "docs" / "speed.md", "<!-- results -->\n", "<!-- end of results -->"
HEADS = ("case", "theirs", "ours", "ratio", "max error", "limit", "reached", "threads, load, day")


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    parts = [part(path) for path in sorted((ROOT / "benchmarks" / "results").glob("*.csv"))]
    PAGE.write_text(before + BEGIN + "\n".join(parts) + END + rest.split(END)[1], encoding="utf-8")


def part(path: Path) -> str:
    """One machine."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = [f"\n### {path.stem}\n"]
    for name in dict.fromkeys(row["benchmark"] for row in rows):
        mine = [row for row in rows if row["benchmark"] == name]
        lines += [f"\n`{name}.py`, our peak {mine[0]['peak_mb']} MB, {mine[0]['versions']}\n"]
        lines += [f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]
        lines += [f"| {' | '.join(cells(row))} |" for row in mine]
    return "\n".join(lines) + "\n\n"


def cells(row: dict[str, str]) -> list[str]:
    """As :data:`HEADS`."""
    unit = row["unit"]
    sides = [f"{row[side]} {unit}" if row[side] else "" for side in ("theirs", "ours", "limit")]
    share = f"{100 * float(row['reached']):.0f} %" if row["reached"] else ""
    when = f"{row['threads']}, {row['load']}, {row['day']}"
    return [row["case"], *sides[:2], row["ratio"], row["max_error"], sides[2], share, when]


if __name__ == "__main__":
    main()
