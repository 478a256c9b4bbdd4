"""The table that ``esol evaluate MASKS --gt DIR`` prints."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from esol.data.sample import BACKGROUND
from esol.errors import visible
from esol.metrics.curves import never_predicted
from esol.metrics.folders import Measured
from esol.report import percent
from esol.system.progress import Screen

_COLUMNS = {"iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1"}
"""Metric of a class -> head of its column."""

_MEANS = ("miou", "precision", "recall", "f1_of_means")
"""Mean metrics, in the order of the columns."""


def print_measured(measured: Measured, names: Sequence[str], named_by: Path | None) -> None:
    """Print a row per class, their mean, and what the numbers are of.

    Args:
        measured: of masks whose classes are called "1", "2" ..
        names: of the mask values, value 1 first; those that are missing keep their numbers.
        named_by: the file that has the names, if there is one.
    """
    metrics, screen = measured.metrics, Screen()
    if not screen.is_terminal:
        screen.width = 100
    titles = {str(value): name for value, name in enumerate(names, start=1)}
    table = Table()
    table.add_column("class")
    for head in (*_COLUMNS.values(), "photos"):
        table.add_column(head, justify="right")
    for (name, row), photos in zip(metrics["per_class"].items(), measured.photos_with, strict=True):
        if photos:
            title = Text(visible(titles.get(name, name)))
            table.add_row(title, *(percent(row[key]) for key in _COLUMNS), f"{photos:,}")
    table.add_section()
    means = (percent(metrics[key]) for key in _MEANS)
    table.add_row("mean", *means, f"{metrics['photos']:,}")
    screen.print(table)
    for line in _notes(measured, titles):
        print(visible(line))
    print(visible(f"class names: {named_by}") if named_by else "class names: none, so mask values")


def _notes(measured: Measured, titles: dict[str, str]) -> Iterator[str]:
    """Below the table: foreground, what the means are of, and what was left out."""
    metrics, per_class = measured.metrics, measured.metrics["per_class"]
    front = (percent(metrics[f"foreground_{key}"]) for key in ("precision", "recall", "f1"))
    yield "foreground, all classes as one: precision {}, recall {}, F1 {}".format(*front)
    yield "mean: of the classes above; its F1 is that of mean precision and mean recall"
    yield "numbers are percent; photos: those whose ground truth shows the class"
    absent = [name for name, row in per_class.items() if row["recall"] is None]
    for why, left_out in (
        ("classes left out, not in the ground truth", absent),
        ("never predicted, left out of the mean precision", never_predicted(metrics)),
    ):
        if left_out:
            yield f"{why}: {', '.join(titles.get(name, name) for name in left_out)}"
    ignored = percent(measured.ignored / (metrics["pixels"] + measured.ignored))
    others = _unmeasured(measured.unmeasured)
    yield f"pixels left out: {ignored} % (255 in the ground truth){others}"
    if undecided := 1 - metrics["coverage"]:
        yield f"pixels counted as {BACKGROUND}: {percent(undecided)} % (255 in the masks)"


def _unmeasured(masks: int) -> str:
    if not masks:
        return ""
    return f", {masks:,} mask{'s' if masks != 1 else ''} without ground truth or not listed"
