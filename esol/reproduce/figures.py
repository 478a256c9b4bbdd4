"""The paper's figures: curves as SVG, sheets of pictures as PNG."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from esol.data import Dataset, Sample, open_dataset
from esol.data.images import colour, load_image, load_mask
from esol.maps.files import load_maps
from esol.report.charts import Chart
from esol.reproduce.runs import Plan
from esol.reproduce.specs import ALPHAS, FIGURES
from esol.reproduce.tables import BEST, FIXED
from esol.runs.folder import RunFolder
from esol.system.files import atomic

_LEVELS = (0.0, 0.35, 0.65, 1.0)
_COLOURS = ((60, 20, 110), (190, 40, 90), (250, 140, 30), (255, 240, 110))
"""From violet over red and orange to light yellow: brightness rises with the score, so that the
order shows without telling red from green."""

PHOTOS = 8
"""Photos of a sheet."""

SIDE = 160
"""Side of the square that each picture of a sheet is fitted into, pixels."""

_GAP, _HEAD = 4, 22

Picture = Callable[[Sample], Image.Image]

_CURVES = {
    "CAM (IRN)": ("esol", "cam"),
    "Expansion": ("esol", "expansion"),
    "Shrinkage": ("esol", "shrinkage"),
    "SC-CAM (Chang et al.)": ("sccam", "sccam"),
    "DRS": ("drs", "drs_refined"),
    "LPCAM": ("lpcam", "lpcam"),
    "EPS (learns from saliency)": ("eps", "eps"),
}
"""Series of figure 1 -> row and kind of maps."""

_COLUMNS = {
    "CAM": ("esol", "cam"),
    "without clipping": ("esol-without-fl", "expansion"),
    "Expansion": ("esol", "expansion"),
    "Shrinkage": ("esol", "shrinkage"),
    "inverse opt. only": ("no-deformable-layer", "expansion"),
}
"""Caption of a sheet's column -> row and kind of maps."""

_SHEETS = {
    "figure2": ("CAM", "without clipping", "Expansion", "inverse opt. only"),
    "figure4": ("CAM", "without clipping", "Expansion", "Shrinkage"),
    "figure5": ("CAM", "Expansion", "Shrinkage"),
}
"""Figure -> captions of its columns after the photo's."""

_WITH_TRUTH = ("figure4", "figure5", "figure6")


def write_figure(plan: Plan, name: str) -> list[str]:
    """Write the files of a figure, a key of :data:`esol.reproduce.specs.FIGURES`, into OUT.

    Returns:
        One line per file, and one per missing part with the reason. All are of the first seed.
    """
    charts = {"figure1": _curves, "figure3": _sweep}
    lines = [charts[name](plan, split) for split in plan.base.data.evaluate if name in charts]
    if name != "figure1":
        lines.append(_sheet(plan, name))
    if name == "figure5" and open_dataset(plan.data, plan.base.data).kind != "coco":
        lines.append("figure5: the paper's shows COCO 2014; this one a second set of these photos")
    for row in FIGURES[name]:
        if plan.metrics(row, plan.seeds[0]) is None:
            lines.append(f"{name}: row {row} missing: {plan.missing(row) or 'not run'}")
    return lines


def _curves(plan: Plan, split: str) -> str:
    """Figure 1 on one list: precision over recall at every threshold."""
    series = {}
    for title, (row, kind) in _CURVES.items():
        metrics = plan.metrics(row, plan.seeds[0])
        if metrics and split in metrics["lists"]:
            curves = metrics["lists"][split][kind]["curves"]
            series[title] = list(zip(curves["recall"], curves["precision"], strict=True))
    path = plan.out / f"figure1-{split}.svg"
    title = f"Precision over recall of the seeds, all thresholds: {split}"
    written = Chart(title, ("recall", "precision"), series, unit=True).write(path)
    return str(path) if written else f"figure1: nothing measured on {split} (no masks)"


def _sweep(plan: Plan, split: str) -> str:
    """Figure 3's numbers on one list: Expansion by alpha."""
    points = {}
    for row in ALPHAS:
        metrics = plan.metrics(row, plan.seeds[0])
        if metrics and split in metrics["lists"]:
            alpha = plan.settings(row, plan.seeds[0]).expand.alpha
            points[alpha] = metrics["lists"][split]["expansion"]
    measures = {
        "mIoU, best threshold": (BEST, "miou"),
        "mIoU, fixed threshold": (FIXED, "miou"),
        "precision, fixed threshold": (FIXED, "precision"),
        "recall, fixed threshold": (FIXED, "recall"),
    }
    series = {
        title: [
            (math.log10(alpha), point[protocol][key]) for alpha, point in sorted(points.items())
        ]
        for title, (protocol, key) in measures.items()
    }
    path = plan.out / f"figure3-{split}.svg"
    chart = Chart(f"Expansion by alpha: {split}", ("log10 of alpha", ""), series)
    written = chart.write(path)
    return str(path) if written else f"figure3: nothing measured on {split} (no masks)"


def _sheet(plan: Plan, name: str) -> str:
    """A sheet of photos with their maps or masks."""
    data = open_dataset(plan.data, plan.base.data)
    samples = _photos(plan, data, second=name == "figure5")
    columns: dict[str, Picture] = {"photo": lambda sample: load_image(sample.image)}
    columns |= _pictures(plan, name)
    truth = data.truth
    if name in _WITH_TRUTH and truth is not None and all(s.mask is not None for s in samples):
        columns["ground truth"] = lambda sample: colour(truth(sample))
    if set(columns) <= {"photo", "ground truth"}:
        return f"{name}: no sheet: none of its rows is finished"
    rows = [[picture(sample) for picture in columns.values()] for sample in samples]
    path = plan.out / f"{name}.png"
    _write_sheet(path, list(columns), rows)
    return f"{path} ({', '.join(columns)})"


def _photos(plan: Plan, data: Dataset, *, second: bool) -> tuple[Sample, ...]:
    """Photos evenly spaced over the last list with masks, or the last; ``second``: between them."""
    lists = [data.samples(split) for split in plan.base.data.evaluate]
    masked = [tuple(s for s in samples if s.mask is not None) for samples in lists]
    samples = next((part for part in reversed(masked) if part), lists[-1])
    count = min(PHOTOS, len(samples))
    return tuple(samples[(2 * i + second) * len(samples) // (2 * count)] for i in range(count))


def _pictures(plan: Plan, name: str) -> dict[str, Picture]:
    """Caption -> picture, for the finished rows."""
    if name == "figure6":
        columns = {"prediction": ("esol-whole", "segmentation")}
    elif name == "figure3":
        by_alpha = {row: plan.settings(row, plan.seeds[0]).expand.alpha for row in ALPHAS}
        columns = {"CAM": _COLUMNS["CAM"]}
        for row in sorted(ALPHAS, key=by_alpha.__getitem__):
            columns[f"alpha {by_alpha[row]:g}"] = (row, "expansion")
    else:
        columns = {caption: _COLUMNS[caption] for caption in _SHEETS[name]}
    return {
        caption: partial(_prediction if kind == "segmentation" else _heat, folder, kind)
        for caption, (row, kind) in columns.items()
        if plan.metrics(row, plan.seeds[0]) is not None
        for folder in [plan.folder(row, plan.seeds[0])]
    }


def _heat(run: RunFolder, kind: str, sample: Sample) -> Image.Image:
    """The strongest tagged class at each pixel as heat."""
    maps = load_maps(run.maps(kind) / f"{sample.name}.npz")
    return heat(maps.full().max(axis=0), load_image(sample.image))


def _prediction(run: RunFolder, _: str, sample: Sample) -> Image.Image:
    return colour(load_mask(run.masks("segmentation") / f"{sample.name}.png"))


def heat(scores: NDArray[np.floating], photo: Image.Image) -> Image.Image:
    """Lay (H, W) scores, clipped to 0 .. 1, over a photo of W x H pixels; an RGB picture.

    High scores are brighter and less transparent.

    Raises:
        ValueError: the sizes differ.
    """
    if scores.shape != (photo.height, photo.width):
        raise ValueError(f"scores {scores.shape}, photo {photo.height} x {photo.width}")
    level = np.clip(scores.astype(np.float32), 0, 1)
    ramp = np.asarray(_COLOURS, np.float32)
    tint = np.stack([np.interp(level, _LEVELS, ramp[:, band]) for band in range(3)], -1)
    # The power keeps weak scores visible.
    share = 0.75 * level[..., None] ** 0.75
    mixed = (1 - share) * np.asarray(photo.convert("RGB"), np.float32) + share * tint
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _write_sheet(
    path: Path, captions: Sequence[str], rows: Sequence[Sequence[Image.Image]]
) -> None:
    """Write a sheet as PNG: a caption per column, one row of pictures per photo."""
    step = SIDE + _GAP
    sheet = Image.new("RGB", (_GAP + step * len(captions), _HEAD + step * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, caption in enumerate(captions):
        middle = (_GAP + column * step + SIDE / 2, _HEAD / 2)
        draw.text(middle, caption, fill="black", font=font, anchor="mm")
        for down, row in enumerate(rows):
            fitted = _fitted(row[column])
            x = _GAP + column * step + (SIDE - fitted.width) // 2
            sheet.paste(fitted, (x, _HEAD + down * step + (SIDE - fitted.height) // 2))
    with atomic(path) as temporary:
        sheet.save(temporary)


def _fitted(picture: Image.Image) -> Image.Image:
    """The picture with its longer side at SIDE; masks keep their colours: nearest neighbour."""
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if picture.mode == "P":
        return picture.resize(size, Image.Resampling.NEAREST).convert("RGB")
    return picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
