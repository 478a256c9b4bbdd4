"""report.html: numbers, curves, pictures and provenance of a run in one file."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from esol.charts import line_chart, thin
from esol.data.images import palette
from esol.files import write_atomic

THUMBNAIL = 240
"""Longest side of a picture in the report, in pixels."""

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
"""Key of a metric in :func:`esol.evaluate.summary` -> head of its column."""


@dataclass(frozen=True)
class Split:
    """Numbers of all kinds of maps on one set of photos.

    Attributes:
        name: of the set ("train").
        truth: what was scored against ("SegmentationClassAug").
        photos: how many were scored.
        stages: "CAM", "Expansion" .. -> what :func:`esol.evaluate.summary` gave, in table order; of
            finished masks, which have no threshold, {"fixed": :func:`esol.evaluate.table`} alone.
    """

    name: str
    truth: str
    photos: int
    stages: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Panel:
    """Pictures of one photo: captions and pictures of any size, shown in a row."""

    name: str
    tags: Sequence[str]
    images: Sequence[tuple[str, Image.Image]]


@dataclass(frozen=True)
class ReportData:
    """All that a report shows; every text is plain and is escaped when drawn.

    Attributes:
        title: heading.
        splits: sets that were scored; may be empty, as may all that follows.
        losses: name ("classify", "expand: area") -> (step, loss).
        panels: photos to look at.
        settings_yaml: the resolved settings.
        provenance: "commit", "device", "data" .. -> value.
        classes: names of the classes, for the colours' legend.
        notes: sentences to read before the numbers (deviations, initial weights).
    """

    title: str
    splits: Sequence[Split]
    losses: Mapping[str, Sequence[tuple[int, float]]]
    panels: Sequence[Panel]
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "level": level}
    text = environment.get_template("report.html.j2").render(
        data=data,
        columns=COLUMNS,
        charts={split.name: _charts(split) for split in data.splits},
        losses=[
            (name, line_chart(f"{name}: loss by step", ("step", "loss"), {name: thin(points)}))
            for name, points in data.losses.items()
        ],
        panels=[
            (panel, [(caption, thumbnail(image)) for caption, image in panel.images])
            for panel in data.panels
        ],
        colours=[
            (name, "#" + bytes(row).hex())
            for name, row in zip(data.classes, palette()[1:], strict=False)
        ],
    )
    write_atomic(path, text)


def percent(share: float | None) -> str:
    """A share of 0 .. 1 in percent with one decimal; a dash for None, which stands for NaN."""
    return "-" if share is None else f"{100 * share:.1f}"


def level(threshold: float) -> str:
    """A threshold with two decimals, with as many as it needs if these do not suffice."""
    return max(f"{threshold:.2f}", f"{threshold:g}", key=len)


def thumbnail(image: Image.Image) -> str:
    """Data URI of a picture reduced to at most 240 pixels a side.

    Masks (mode "P") stay PNG with their own colours, photos become JPEG.
    """
    small = image.copy()
    buffer = io.BytesIO()
    if image.mode == "P":
        # Palette indices must not be averaged.
        small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.NEAREST)
        small.save(buffer, "PNG", optimize=True)
    else:
        small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        small.convert("RGB").save(buffer, "JPEG", quality=82)
    kind = "png" if image.mode == "P" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
        (title, line_chart(f"{split.name}: {title}", axes, series, unit=True, mark=mark))
        for title, axes, series, mark in wanted
    ]
