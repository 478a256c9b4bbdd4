"""A run's numbers and pictures, gathered from its folder: terminal table and report.html."""

import json
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from esol.config import load_settings
from esol.data import Dataset, Sample, open_dataset
from esol.data.images import load_image
from esol.errors import InputError
from esol.files import read_json
from esol.maps import load_maps
from esol.panels import colour, heat
from esol.report import Panel, ReportData, Split, build
from esol.runfolder import finished, read_manifest, stage_path
from esol.seeds import seed
from esol.settings import MAP_KINDS, Settings

TITLES = {"cam": "CAM", "expansion": "Expansion", "shrinkage": "Shrinkage"}
COLUMNS = {
    "precision": "P",
    "recall": "R",
    "f1_of_means": "F1",
    "miou": "mIoU",
    "foreground_precision": "fg P",
    "foreground_recall": "fg R",
}
PANELS = 12
"""Photos shown in the report, evenly spaced over each evaluated list."""

NOTES = (
    "Scores use the photos' tags: only tagged classes can be predicted (the field's protocol for"
    " seeds).",
    "Every mean is over the classes that occur in the ground truth, background included; F1 is the"
    " harmonic mean of mean precision and mean recall, as in the paper's Table 2.",
    "A threshold marked 'best on ground truth' was chosen on the very masks it is measured on.",
)


def print_summary(run: Path) -> None:
    """Print the numbers of a run's evaluation, if it has one, and where its files are."""
    if finished(run, "evaluate"):
        content = read_json(stage_path(run, "evaluate") / "metrics.json")
        console = Console()
        if not console.is_terminal:
            console.width = 100
        for split, found in content["lists"].items():
            title = f"{split}: {found['photos']} photos, masks {content['mask_set']}, percent"
            console.print(_table(title, found))
    report = run / "report.html"
    print(f"report: {report}" if report.is_file() else f"run folder: {run}")


def _table(title: str, found: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("threshold")
    table.add_column("maps")
    for name in COLUMNS.values():
        table.add_column(name, justify="right")
    for protocol, note in (("fixed", "fixed"), ("best_on_ground_truth", "best on ground truth")):
        for kind in MAP_KINDS:
            values = found[kind][protocol]
            cells = [_percent(values[key]) for key in COLUMNS]
            table.add_row(f"{values['threshold']:.2f} {note}", TITLES[kind], *cells)
        table.add_section()
    return table


def _percent(share: float | None) -> str:
    """A share of 0 .. 1 as a percentage; a dash where it does not exist (nothing predicted)."""
    return "-" if share is None else f"{100 * share:.1f}"


def write_report(run: Path) -> Path:
    """Build RUN/report.html from the run's files and the photos it was made from.

    Raises:
        InputError: not a run folder, evaluation not finished, or the data set is gone.
    """
    if not (run / "run.json").is_file():
        raise InputError(f"{run} is not a run folder (no run.json); give what esol run wrote")
    root = Path(read_json(run / "run.json")["data"])
    settings = load_settings(str(run / "settings.yaml"))
    evaluated = read_manifest(run, "evaluate")
    content = read_json(stage_path(run, "evaluate") / "metrics.json")
    data = open_dataset(root, settings.data)
    splits = [
        Split(name, content["mask_set"], found["photos"], {TITLES[k]: found[k] for k in MAP_KINDS})
        for name, found in content["lists"].items()
    ]
    weights = settings.backbone.weights
    build(
        ReportData(
            title=f"ESOL: {run.resolve().name}",
            splits=splits,
            losses=_losses(run),
            panels=[
                panel
                for split in settings.data.evaluate
                for panel in _panels(run, data, split, settings)
            ],
            settings_yaml=(run / "settings.yaml").read_text(encoding="utf-8"),
            provenance={
                **{name: str(value) for name, value in evaluated["record"].items()},
                "data set": f"{data.kind}; "
                + ", ".join(f"{name}: {len(list_)} photos" for name, list_ in data.splits.items()),
                "initial weights": f"{settings.backbone.name}, {Path(weights).name}",
            },
            classes=data.classes,
            notes=(*NOTES, *data.notes),
        ),
        run / "report.html",
    )
    return run / "report.html"


def _losses(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Named loss curves of the trained stages."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for stage in ("classify", "expand", "shrink"):
        path = stage_path(run, stage) / "metrics.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            row = json.loads(line)
            for name in row.keys() - {"step", "rate"}:
                title = stage if name == "loss" else f"{stage}: {name}"
                curves.setdefault(title, []).append((row["step"], row[name]))
    return dict(sorted(curves.items()))


def _panels(run: Path, data: Dataset, split: str, settings: Settings) -> list[Panel]:
    samples = data.samples(split)
    chosen = [samples[i * len(samples) // PANELS] for i in range(min(PANELS, len(samples)))]
    return [_panel(run, data, sample, settings) for sample in dict.fromkeys(chosen)]


def _panel(run: Path, data: Dataset, sample: Sample, settings: Settings) -> Panel:
    """Photo, heat of each phase (of the strongest tagged class at each pixel), seed, truth."""
    photo = load_image(sample.image)
    images: list[tuple[str, Image.Image]] = [("photo", photo)]
    for kind in MAP_KINDS:
        maps = load_maps(stage_path(run, "cams") / kind / f"{sample.name}.npz")
        images.append((TITLES[kind], heat(maps.full().max(axis=0), photo)))
        if kind == settings.seeds.kind:
            mask = colour(seed(maps.full(), maps.classes, settings.seeds.threshold))
    images.append((f"seed ({TITLES[settings.seeds.kind]})", mask))
    if sample.mask is not None and data.truth is not None:
        images.append(("ground truth", colour(data.truth(sample))))
    return Panel(sample.name, [data.classes[tag] for tag in sample.tags], images)
