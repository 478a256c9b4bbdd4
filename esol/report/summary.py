"""A run's numbers and pictures, gathered from its folder: terminal table and report.html."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from esol.data import Dataset, open_dataset
from esol.errors import InputError
from esol.metrics.curves import never_predicted
from esol.report import ReportData, Split, build, counted, level, percent
from esol.report.answer import answer, duration, origin
from esol.report.known import Known, data_of, read_known, refuse_changed
from esol.report.photos import Ranked, gallery, pictures
from esol.report.titles import MEANINGS, TITLES
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings import Settings
from esol.system.progress import Screen
from esol.training.steps import METRICS, read_steps

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
    "Maps and pseudo masks use the photos' tags, so only tagged classes can occur; the segmentation"
    " network sees the photo alone.",
    "Means are over the classes of the ground truth, background included; F1 is that of mean"
    " precision and mean recall, as in the paper's Table 2; fg takes all classes as one. A class"
    " that is never predicted has no precision and is left out of that mean.",
    "'Best on ground truth': chosen on the very masks it is measured on. metrics.json has more.",
)

_IN_TERMINAL = ("precision", "recall", "f1_of_means", "miou")
"""The columns that fit beside each other; report.html has all."""

_LEFT_OUT = "* without the classes that are never predicted; in brackets, how many"
_CAPTION = "at: threshold; best: mIoU at the threshold that is best on this ground truth"


def print_summary(folder: Path, settings: Settings) -> None:
    """Print the numbers of a run's evaluation, if it is finished, and where its files are.

    The settings are the run's; to read its file of them would take a third of a second.
    """
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
        for name, weights in _weights(run, settings).items():
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
    """Build the page RUN/report.html from what a run has so far, and return its path.

    Args:
        run: run folder; stages may be missing.
        photos: maximum in the gallery, an equal share of each evaluated list; 0 for none.

    Raises:
        InputError: not a run folder, the data set is gone or changed, or a file is damaged.

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
    content = _measured(run_folder)
    data = open_dataset(root, settings.data)
    last, lists = data_of(run_folder, settings)
    if last:
        refuse_changed(run_folder, data, last)
    known = read_known(run_folder, data, settings, content["lists"])
    shots, ranked = None, Ranked("confidence", ())
    if known.kinds:
        shots, ranked = gallery(run_folder, data, settings, known, lists, photos)
    seen = pictures(run_folder, data, known, ranked)
    number = len(data.samples(*data.splits))
    build(
        ReportData(
            title=f"ESOL: {run.resolve().name}",
            splits=_splits(content, known),
            losses=_losses(run_folder),
            gallery=shots,
            settings_yaml=(run / "settings.yaml").read_text(encoding="utf-8"),
            provenance=_provenance(run_folder, data, settings, known),
            classes=data.classes,
            notes=NOTES,
            answer=answer(run_folder, known, number, seen, ranked.measure, len(ranked.photos)),
        ),
        run / "report.html",
    )
    return run / "report.html"


def _measured(run: RunFolder) -> dict[str, Any]:
    """What the stage evaluate measured; no lists before it."""
    if not run.is_finished("evaluate"):
        return {"lists": {}, "mask_set": ""}
    for stage, digest in run.made_from("evaluate").items():
        if digest != run.outputs_of(stage):
            raise InputError(
                f"{run.path}: {stage} changed since it was measured; run evaluate again"
            )
    return run.metrics()


def _splits(content: Mapping[str, Any], known: Known) -> list[Split]:
    splits = []
    for name, kinds in content["lists"].items():
        stages = {title: kinds[kind] for kind, title in TITLES.items() if kind in kinds}
        origins = {
            TITLES[kind]: origin(kind, kinds[kind]["threshold"], known).origin
            for kind in TITLES
            if "threshold" in kinds.get(kind, ())
        }
        warnings = kinds.get("warnings", ())
        splits.append(Split(name, content["mask_set"], kinds["photos"], stages, warnings, origins))
    return splits


def _provenance(run: RunFolder, data: Dataset, settings: Settings, known: Known) -> dict[str, str]:
    """What made the run, from the record of its last stage, and how long each stage took."""
    records = {name: run.manifest(name)["record"] for name in known.seconds}
    last: Mapping[str, Any] = next(reversed(records.values()), {})
    times = ", ".join(f"{name} {duration(t)}" for name, t in known.seconds.items() if t)
    memory = max((record.get("peak_memory_mib", 0) for record in records.values()), default=0)
    lists = ", ".join(f"{name}: {counted(n, 'photo')}" for name, n in known.lists.items())
    return {
        "time": f"{duration(sum(known.seconds.values()))}: {times}" if times else "unknown",
        "memory, at most": f"{memory:,} MiB",
        **{k: str(v) for k, v in last.items() if k not in ("seconds", "peak_memory_mib")},
        "data set": f"{data.kind}; {lists}",
        **({"about the data": ". ".join(data.notes)} if data.notes else {}),
        **_weights(run, settings),
    }


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
                for name in sorted(row.keys() - {"step", "rate"}):
                    title = training if name == "loss" else f"{training}: {name}"
                    curves.setdefault(title, []).append((int(row["step"]), row[name]))
    return curves
