"""A run's numbers and pictures, gathered from its folder: terminal table and report.html."""

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from esol.data import open_dataset
from esol.errors import InputError
from esol.masks.threshold import Background, background_warning
from esol.metrics.curves import never_predicted
from esol.report import ReportData, Split, build, level, percent
from esol.report.photos import gallery
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings import Settings
from esol.system.files import plain
from esol.system.progress import Screen
from esol.training.steps import METRICS, read_steps

TITLES = {
    "cam": "CAM",
    "expansion": "Expansion",
    "shrinkage": "Shrinkage",
    "sccam": "SC-CAM",
    "drs": "DRS, classifier",
    "drs_refined": "DRS",
    "eps": "EPS",
    "crf": "+ CRF",
    "irn": "+ IRN",
    "masks": "pseudo masks",
    "corrected": "pseudo masks, corrected",
    "segmentation": "segmentation",
}
"""Kind of maps or masks -> title, in the order in which they are made."""

COLUMNS = {
    "precision": "P",
    "recall": "R",
    "f1_of_means": "F1",
    "miou": "mIoU",
    "foreground_precision": "fg P",
    "foreground_recall": "fg R",
}

PHOTOS = 200
"""Default number of photos in the report's gallery."""

NOTES = (
    "Maps and pseudo masks use the photos' tags: only tagged classes can occur (the field's"
    " protocol for seeds). The segmentation network predicts from the photo alone.",
    "Every mean is over the classes that occur in the ground truth, background included; F1 is the"
    " harmonic mean of mean precision and mean recall, as in the paper's Table 2. A class that is"
    " never predicted has no precision and is left out of that one mean.",
    "A threshold marked 'best on ground truth' was chosen on the very masks it is measured on.",
)

_LEFT_OUT = "* without the classes that are never predicted; in brackets, how many"


def print_summary(folder: Path) -> None:
    """Print the numbers of a run's evaluation, if it is finished, and where its files are."""
    run = RunFolder(folder)
    if run.is_finished("evaluate"):
        content = run.metrics()
        console = Screen()
        if not console.is_terminal:
            console.width = 100
        for split, kinds in content["lists"].items():
            title = f"{split}: {kinds['photos']} photos, masks {content['mask_set']}, percent"
            console.print(_table(title, kinds, _source(run)))
            for warning in kinds.get("warnings", ()):
                console.print(Text(f"warning: {split}: {warning}", "yellow"))
        for name, weights in _weights(run, run.settings()).items():
            print(f"{name}: {weights}")
    report = folder / "report.html"
    print(f"report: {report}" if report.is_file() else f"run folder: {folder}")


def _source(run: RunFolder) -> str:
    """What the pseudo masks were made from, to stand beside their numbers."""
    if not run.is_current("masks"):
        return ""
    match run.manifest("masks"):
        case {"identity": {"masks": {"saliency": saliency}}, "results": {"source": source, **rest}}:
            threshold = rest.get("threshold")
            at = f" at {threshold:.2f}" if isinstance(threshold, float) else ""
            return f" ({source}{at}{', saliency' if saliency else ''})"
    raise run.damaged("masks")


def _table(title: str, kinds: dict[str, Any], source: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("threshold")
    table.add_column("maps")
    for name in COLUMNS.values():
        table.add_column(name, justify="right")
    for protocol, note in (("fixed", "fixed"), ("best_on_ground_truth", "best on ground truth")):
        for kind in (kind for kind in TITLES if protocol in kinds.get(kind, ())):
            values = kinds[kind][protocol]
            cells = [percent(values[key]) for key in COLUMNS]
            if left_out := never_predicted(values):
                table.caption = _LEFT_OUT
                cells[0] += "*" * (cells[0] != "-")
                cells[2] += f"* ({len(left_out)})"
            at = f"{level(values['threshold'])} {note}" if "threshold" in values else ""
            table.add_row(at, TITLES[kind] + (source if kind == "masks" else ""), *cells)
        table.add_section()
    return table


def write_report(run: Path | str, photos: int = PHOTOS) -> Path:
    """Build the page RUN/report.html from a run's files and photos, and return its path.

    Args:
        run: run folder.
        photos: maximum in the gallery, an equal share of each evaluated list; 0 for none.

    Raises:
        InputError: not a run folder, evaluation not finished, or the data set is gone.

    Examples:
        >>> write_report(Path("runs/mine"), photos=4).as_posix()
        'runs/mine/report.html'
    """
    run = Path(run)
    if photos < 0:
        raise InputError(f"--photos {photos}: give 0 or more")
    run_folder = RunFolder(run)
    root = run_folder.data_root()
    settings = run_folder.settings()
    evaluated = run_folder.manifest("evaluate")
    content = run_folder.metrics()
    data = open_dataset(root, settings.data)
    for stage, digest in run_folder.made_from("evaluate").items():
        if digest != run_folder.outputs_of(stage):
            raise InputError(f"{run}: {stage} changed since it was measured; run evaluate again")
    if evaluated["identity"].get("data") != plain(data.fingerprint(*settings.data.evaluate)):
        raise InputError(f"{root}: photos or tags changed since they were measured; run again")
    splits = []
    for name, kinds in content["lists"].items():
        stages = {title: kinds[kind] for kind, title in TITLES.items() if kind in kinds}
        warnings = kinds.get("warnings", ())
        splits.append(Split(name, content["mask_set"], kinds["photos"], stages, warnings))
    lists = ", ".join(f"{name}: {len(members)} photos" for name, members in data.splits.items())
    build(
        ReportData(
            title=f"ESOL: {run.resolve().name}",
            splits=splits,
            losses=_losses(run_folder),
            gallery=gallery(run_folder, data, settings, TITLES, photos),
            settings_yaml=(run / "settings.yaml").read_text(encoding="utf-8"),
            provenance={
                **{name: str(value) for name, value in evaluated["record"].items()},
                "data set": f"{data.kind}; {lists}",
                **_weights(run_folder, settings),
            },
            classes=data.classes,
            notes=(*_mask_notes(run_folder), *NOTES, *data.notes),
        ),
        run / "report.html",
    )
    return run / "report.html"


def _mask_notes(run: RunFolder) -> list[str]:
    """What the pseudo masks may have wrong."""
    if not run.is_current("masks"):
        return []
    match run.manifest("masks"):
        case {
            "identity": {"masks": {"threshold": threshold}},
            "results": {
                "tagged_background": float(masks),
                "estimated_background": {"share": share, "certainty": certainty},
            },
        } if "%" not in str(threshold):
            warning = background_warning(masks, Background(share, certainty))
            return [f"Pseudo masks: {warning}."] if warning else []
    return []  # the share was given, or an earlier version made the masks


def _weights(run: RunFolder, settings: Settings) -> dict[str, str]:
    """Initial weights of the networks, to stand beside every number."""
    backbone = settings.backbone
    licence = _licence(run, settings.learns[0])
    weights = {"initial weights": f"{backbone.name}, {Path(backbone.weights).name}{licence}"}
    if "segmentation" in run.mask_folders(settings):
        # As recorded when the network was trained: settings.yaml is of the last command.
        match run.manifest("segment")["results"]:
            case {"network": net, "encoder": name, "initial_weights": start, "learned_from": masks}:
                truth = ", trained on the GROUND TRUTH" if masks == "ground truth" else ""
                weights["initial weights of the segmentation"] = f"{net}, {name}, {start}{truth}"
                weights["initial weights of the segmentation"] += _licence(run, "segment")
            case _:
                raise run.damaged("segment")
    return weights


def _licence(run: RunFolder, stage: str) -> str:
    """Of the weights that a stage's network started from, as recorded when it was trained."""
    licence = run.manifest(stage)["results"].get("licence") if run.is_finished(stage) else None
    return f" (licence: {licence})" if isinstance(licence, str) else ""


def _losses(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Named loss curves of the trained stages."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for stage in STAGES:
        folder = run.stage(stage)
        for path in sorted(folder.rglob(METRICS)):
            # Stages of several trainings have a folder for each.
            training = ": ".join((stage, *path.relative_to(folder).parts[:-1]))
            for row in read_steps(path):
                for name in row.keys() - {"step", "rate"}:
                    title = training if name == "loss" else f"{training}: {name}"
                    curves.setdefault(title, []).append((int(row["step"]), row[name]))
    return dict(sorted(curves.items()))
