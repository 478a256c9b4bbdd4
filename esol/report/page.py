"""The page: numbers, curves and provenance as HTML, the gallery as data and a script."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from esol.data.images import palette
from esol.report.charts import Chart, Points, averaged
from esol.report.gallery import Gallery
from esol.system.files import plain, write_atomic

SCRIPTS = ("maps.js", "gallery.js")
"""Files of the page's script, in order."""

TREND = 12
"""Points of the smoothed line in a loss curve."""

COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1_of_means": "F1",
    "f1": "mean of class F1",
    "miou": "mIoU",
    "foreground_precision": "fg precision",
    "foreground_recall": "fg recall",
    "foreground_f1": "fg F1",
}
"""Key of a metric in ``curves.summary`` -> head of its column."""


@dataclass(frozen=True)
class Split:
    """Numbers of all kinds of maps on one set of photos.

    Attributes:
        name: of the set ("train").
        truth: what was scored against ("SegmentationClassAug").
        photos: how many were scored.
        stages: "CAM", "Expansion" .. -> what ``curves.summary`` gave, in table order; of
            finished masks, which have no threshold, {"fixed": ``curves.table``} alone.
    """

    name: str
    truth: str
    photos: int
    stages: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ReportData:
    """All that a report shows; every text is plain and is escaped when drawn.

    Attributes:
        title: heading.
        splits: sets that were scored; may be empty, as may all that follows.
        losses: name ("classify", "expand: area") -> (step, loss).
        gallery: photos to look at, None for none.
        settings_yaml: the resolved settings.
        provenance: "commit", "device", "data" .. -> value.
        classes: names of the classes, for the colours' legend.
        notes: sentences to read before the numbers (deviations, initial weights).
    """

    title: str
    splits: Sequence[Split]
    losses: Mapping[str, Sequence[tuple[int, float]]]
    gallery: Gallery | None
    settings_yaml: str
    provenance: Mapping[str, str]
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()


def build(data: ReportData, path: Path) -> None:
    """Write the report: one HTML file that needs no network, atomically.

    Equal data gives equal bytes.

    Args:
        data: what to show.
        path: the file, by custom "report.html".

    Raises:
        InputError: the file cannot be written.
    """
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "level": level}
    script = "".join((here / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = hashlib.sha256(script.encode()).digest()
    text = environment.get_template("page.html.j2").render(
        data=data,
        columns=COLUMNS,
        charts={split.name: _charts(split) for split in data.splits},
        losses=[
            (name, Chart(f"{name}: loss by step", ("step", "loss"), _trend(points)).html())
            for name, points in data.losses.items()
        ],
        shown=_shown(data),
        colours=[
            (name, "#" + bytes(row).hex())
            for name, row in zip(data.classes, palette()[1:], strict=False)
        ],
        # Both are files of this package, so they may stand in the page as they are.
        style=Markup((here / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode(),
    )
    # A file name that is not UTF-8 must not cost the report.
    write_atomic(path, text.encode(errors="replace"))


def percent(share: float | None) -> str:
    """A share of 0 .. 1 in percent with one decimal; a dash for None (nothing predicted)."""
    return "-" if share is None else f"{100 * share:.1f}"


def level(threshold: float) -> str:
    """A threshold with two decimals, with as many as it needs if these do not suffice."""
    return max(f"{threshold:.2f}", f"{threshold:g}", key=len)


def _trend(points: Sequence[tuple[int, float]]) -> dict[str, Points]:
    """A loss and, where there are enough steps to average, how it goes on the whole."""
    lines: dict[str, Points] = {"loss": averaged(points)}
    if len(points) >= 5 * TREND:
        lines["mean of neighbouring steps"] = averaged(points, TREND)
    return lines


def _shown(data: ReportData) -> dict[str, Any] | None:
    """What the gallery's script reads; Jinja's ``tojson`` keeps it from ending its element."""
    if data.gallery is None or not data.gallery.shots:
        return None
    found = data.gallery.plain(data.classes)
    found["measured"] = [
        {
            "list": split.name,
            "photos": split.photos,
            "miou": [_at(split.stages.get(kind), data.gallery) for kind in data.gallery.kinds],
        }
        for split in data.splits
    ]
    return plain(found)


def _at(found: Mapping[str, Any] | None, gallery: Gallery) -> list[float | None]:
    """A kind's mIoU at each threshold of the slider; None where it was not measured."""
    curves = {"threshold": (), "miou": ()} if found is None else found["curves"]
    known = dict(zip(curves["threshold"], curves["miou"], strict=True))
    return [known.get(threshold) for threshold in gallery.thresholds]


def _charts(split: Split) -> list[tuple[str, str]]:
    def lines(x: str, y: str) -> dict[str, list[tuple[float, float | None]]]:
        return {
            name: [
                (place, value)
                for place, value in zip(found["curves"][x], found["curves"][y], strict=True)
                if place is not None
            ]
            for name, found in split.stages.items()
            if "curves" in found
        }

    fixed = next((f["threshold"] for f in split.stages.values() if "threshold" in f), None)
    wanted = [
        ("mIoU by threshold", ("threshold", "mIoU"), lines("threshold", "miou"), fixed),
        ("Precision by recall", ("recall", "precision"), lines("recall", "precision"), None),
        (
            "Foreground precision by recall",
            ("foreground recall", "foreground precision"),
            lines("foreground_recall", "foreground_precision"),
            None,
        ),
    ]
    return [
        (title, Chart(f"{split.name}: {title}", axes, series, unit=True, mark=mark).html())
        for title, axes, series, mark in wanted
    ]
