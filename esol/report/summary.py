"""A run's numbers and pictures, gathered from its folder: terminal table and report.html."""

from pathlib import Path
from typing import Any

from rich import box
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

MEANINGS = {
    "cam": "what a classifier alone finds",
    "expansion": "more of the objects, some ground too",
    "shrinkage": "ground taken back",
    "sccam": "a classifier with sub-categories",
    "drs": "its first network",
    "drs_refined": "its second network, on these maps",
    "eps": "learned from tags and saliency",
    "crf": "seeds, moved to where colours change",
    "irn": "maps, spread up to learned edges",
    "masks": "final masks, made with the tags",
    "corrected": "with your corrections",
    "segmentation": "the network, without any tags",
}
"""Kind of maps or masks -> what its numbers are of, a few words."""

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

_IN_TERMINAL = ("precision", "recall", "f1_of_means", "miou")
"""The columns that fit beside each other; report.html has all."""

_LEFT_OUT = "* without the classes that are never predicted; in brackets, how many"
_CAPTION = "at: threshold; best: mIoU at the threshold that is best on this ground truth"


def print_summary(folder: Path) -> None:
    """Print the numbers of a run's evaluation, if it is finished, and where its files are."""
    run = RunFolder(folder)
    if run.is_finished("evaluate"):
        content = run.metrics()
        console = Screen()
        if not console.is_terminal:
            console.width = 100
        for split, kinds in content["lists"].items():
            photos = kinds["photos"]
            title = f"{split}: {photos} photo{'s' * (photos != 1)}, percent; ground truth: "
            console.print(_table(title + content["mask_set"], kinds, _made(run)))
            for warning in kinds.get("warnings", ()):
                console.print(Text(f"warning: {split}: {warning}", "yellow"))
        for name, weights in _weights(run, run.settings()).items():
            print(f"{name}: {weights}")
    if run.is_finished("masks"):
        print(f"masks: {run.masks('masks')}")
    report = folder / "report.html"
    print(f"report: {report}" if report.is_file() else f"run folder: {folder}")


def _made(run: RunFolder) -> tuple[str, str]:
    """Source and threshold of the pseudo masks, to stand beside their numbers."""
    if not run.is_current("masks"):
        return "", ""
    match run.manifest("masks"):
        case {"identity": {"masks": {"saliency": saliency}}, "results": {"source": source, **rest}}:
            threshold = rest.get("threshold")
            at = level(threshold) if isinstance(threshold, float) else ""
            return f": {source}{', saliency' if saliency else ''}", at
    raise run.damaged("masks")


def _table(title: str, kinds: dict[str, Any], made: tuple[str, str]) -> Table:
    """One row for each kind of maps and masks, in the order in which they are made."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", caption_justify="left")
    table.caption = _CAPTION
    table.add_column("", no_wrap=True)
    for name in ("at", *(COLUMNS[key] for key in _IN_TERMINAL), "best"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what it is")
    starred = False
    for kind in (kind for kind in TITLES if "fixed" in kinds.get(kind, ())):
        values, best = kinds[kind]["fixed"], kinds[kind].get("best_on_ground_truth")
        at = level(values["threshold"]) if "threshold" in values else ""
        cells = [percent(values[key]) for key in _IN_TERMINAL]
        if left_out := never_predicted(values):
            starred = True
            cells[0] += "*" * (cells[0] != "-")
            cells[2] += f"* ({len(left_out)})"
        highest = f"{percent(best['miou'])} at {level(best['threshold'])}" if best else ""
        meaning = MEANINGS[kind]
        if kind == "masks":
            meaning, at = meaning + made[0], made[1]
        table.add_row(TITLES[kind], at, *cells, highest, meaning)
    if starred:
        table.caption = f"{_CAPTION}\n{_LEFT_OUT}"
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
    weights = {"initial weights": f"{backbone.name}, {Path(backbone.weights).name}"}
    if "segmentation" in run.mask_folders(settings):
        # As recorded when the network was trained: settings.yaml is of the last command.
        match run.manifest("segment")["results"]:
            case {"network": net, "encoder": name, "initial_weights": start, "learned_from": masks}:
                truth = ", trained on the GROUND TRUTH" if masks == "ground truth" else ""
                weights["initial weights of the segmentation"] = f"{net}, {name}, {start}{truth}"
            case _:
                raise run.damaged("segment")
    return weights


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
