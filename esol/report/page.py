"""The page: numbers, curves and provenance as HTML, the gallery as data and a script."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from esol.data.images import palette
from esol.report.answer import Answer, level
from esol.report.charts import Chart, Points, averaged
from esol.report.gallery import Gallery
from esol.system.files import plain, write_atomic

SCRIPTS = ("maps.js", "gallery.js")
"""Files of the page's script, in order."""

TREND = 12
"""Points of the smoothed line in a loss chart."""

COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1_of_means": "F1",
    "miou": "mIoU",
    "foreground_precision": "fg precision",
    "foreground_recall": "fg recall",
    "foreground_f1": "fg F1",
}
"""Metric in ``curves.summary`` -> head of its column."""


@dataclass(frozen=True)
class Split:
    """Numbers of all kinds of maps on one list of photos.

    Attributes:
        name: of the list ("train").
        truth: name of the masks measured against ("SegmentationClassAug").
        photos: number of photos measured.
        stages: "CAM", "Expansion" .. -> ``curves.summary``, in table order; for finished masks,
            which have no threshold, only {"fixed": ``curves.table``}.
        warnings: what these numbers cannot say, a sentence each.
        origins: stage -> who chose its fixed threshold: "given", "chosen by rule".
    """

    name: str
    truth: str
    photos: int
    stages: Mapping[str, Mapping[str, Any]]
    warnings: Sequence[str] = ()
    origins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportData:
    """Contents of a report; every text is plain and escaped when drawn.

    Attributes:
        splits: measured lists; may be empty, like everything below.
        losses: name ("classify", "expand: area") -> (step, loss).
        gallery: photos with maps and masks, or None.
        settings_yaml: the resolved settings.
        provenance: "commit", "device", "data" .. -> value.
        classes: names of the classes, for the legend of colours.
        notes: how to read the numbers, a sentence each.
        answer: the first screen, or None.
    """

    title: str
    splits: Sequence[Split]
    losses: Mapping[str, Sequence[tuple[int, float]]]
    gallery: Gallery | None
    settings_yaml: str
    provenance: Mapping[str, str]
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()
    answer: Answer | None = None


def build(data: ReportData, path: Path) -> None:
    """Write the report atomically: one HTML file that loads nothing. Equal data, equal bytes.

    Raises:
        InputError: the file cannot be written.
    """
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "change": change,
        "counted": counted,
        "level": level,
    }
    script = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = hashlib.sha256(script.encode()).digest()
    text = environment.get_template("page.html.j2").render(
        data=data,
        answer=data.answer,
        columns=COLUMNS,
        classes_by_stage=_classes_by_stage,
        charts={split.name: _charts(split) for split in data.splits},
        losses=[
            (name, Chart(f"{name}: loss by step", ("step", "loss"), _trend(points)).html())
            for name, points in data.losses.items()
        ],
        shown=_shown(data),
        truth=bool(data.gallery and any(one.data["truth"] for one in data.gallery.shots)),
        colours=[
            (name, "#" + bytes(row).hex())
            for name, row in zip(data.classes, palette()[1:], strict=False)
        ],
        # Both are files of this package and need no escaping.
        style=Markup((folder / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode(),
    )
    # File names may contain what UTF-8 cannot encode.
    write_atomic(path, text.encode(errors="replace"))


def percent(share: float | None) -> str:
    """A share of 0 .. 1 in percent with one decimal; a dash for None (nothing predicted)."""
    return "-" if share is None else f"{100 * share:.1f}"


def change(difference: float | None) -> str:
    """A difference of shares in percent with its sign; "" for None."""
    return "" if difference is None else f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things.

    >>> counted(1, "photo"), counted(2, "class", "classes")
    ('1 photo', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _classes_by_stage(split: Split) -> list[tuple[str, list[float | None]]]:
    """Class -> IoU of each stage."""
    tables = [found["fixed"]["per_class"] for found in split.stages.values()]
    names = tables[0] if tables else ()
    return [(name, [table[name]["iou"] for table in tables]) for name in names]


def _trend(points: Sequence[tuple[int, float]]) -> dict[str, Points]:
    """A loss and, given enough steps, its smoothed line."""
    lines: dict[str, Points] = {"loss": averaged(points)}
    if len(points) >= 5 * TREND:
        lines["mean of neighbouring steps"] = averaged(points, TREND)
    return lines


def _shown(data: ReportData) -> dict[str, Any] | None:
    """Input of the gallery's script; Jinja's ``tojson`` escapes it."""
    if data.gallery is None or not data.gallery.shots:
        return None
    gallery = data.gallery
    measured = [
        {
            "list": split.name,
            "photos": split.photos,
            "miou": [_miou(split.stages.get(kind), gallery.thresholds) for kind in gallery.kinds],
        }
        for split in data.splits
    ]
    return plain({**gallery.plain(data.classes), "measured": measured})


def _miou(summary: Mapping[str, Any] | None, thresholds: Sequence[float]) -> list[float | None]:
    """A kind's mIoU at each threshold of the slider; None where it was not measured."""
    curves = summary["curves"] if summary else {"threshold": (), "miou": ()}
    known = dict(zip(curves["threshold"], curves["miou"], strict=True))
    return [known.get(threshold) for threshold in thresholds]


def _charts(split: Split) -> list[tuple[str, str]]:
    curves = {name: s["curves"] for name, s in split.stages.items() if "curves" in s}

    def chart(
        title: str, keys: tuple[str, str], axes: tuple[str, str], mark: float | None = None
    ) -> tuple[str, Markup]:
        series = {
            name: [
                (x, y) for x, y in zip(lines[keys[0]], lines[keys[1]], strict=True) if x is not None
            ]
            for name, lines in curves.items()
        }
        return title, Chart(f"{split.name}: {title}", axes, series, unit=True, mark=mark).html()

    fixed = next((s["threshold"] for s in split.stages.values() if "threshold" in s), None)
    return [
        chart("mIoU by threshold", ("threshold", "miou"), ("threshold", "mIoU"), fixed),
        chart("Precision by recall", ("recall", "precision"), ("recall", "precision")),
        chart(
            "Foreground precision by recall",
            ("foreground_recall", "foreground_precision"),
            ("foreground recall", "foreground precision"),
        ),
    ]
