"""Rows of a study in a CSV file, which goes on where it stopped."""

import csv
from collections.abc import Mapping
from pathlib import Path


class Rows:
    """Rows with the columns run and variation; written after each variation.

    Args:
        file: read if it is there.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self.rows = list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []

    def have(self, run: str, variation: str) -> bool:
        """Whether a variation of a run is measured."""
        return any((row["run"], row["variation"]) == (run, variation) for row in self.rows)

    def add(self, row: Mapping[str, object]) -> None:
        """Keep a row, and print it as one of a Markdown table."""
        self.rows.append({key: str(value) for key, value in row.items()})
        print(f"| {' | '.join(self.rows[-1].values())} |", flush=True)

    def save(self) -> None:
        """Write all."""
        with self.file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
