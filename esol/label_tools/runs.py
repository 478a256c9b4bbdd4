"""Runs: the settings, data set and album of a run folder."""

from pathlib import Path, PurePosixPath

from esol.data import Dataset, Sample, open_dataset, packed
from esol.data.images import image_size
from esol.errors import InputError
from esol.label_tools.album import Album, Photo
from esol.runs.folder import RunFolder
from esol.settings import Settings
from esol.system.read import leads_out


def open_run(run: Path, data: Path | str | None) -> tuple[Settings, Dataset]:
    """Settings of a run and its data set, whose folder is ``data`` if it has moved."""
    folder = RunFolder(run)
    recorded = folder.data_root()
    root = recorded if data is None else Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: the run's photos are not there; give their folder with --data")
    settings = folder.settings()
    return settings, open_dataset(root, settings.data)


def check_classes(run: RunFolder, stage: str, dataset: Dataset) -> None:
    """Raise an InputError if a stage is not finished or its masks are of other classes."""
    match run.manifest(stage)["identity"]:
        case {"data": {"classes": [*classes]}}:
            if tuple(classes) != dataset.classes:
                raise InputError(
                    f"{run.stage(stage)}: made with other classes than {dataset.root} has now; run"
                    " again, or give the old data folder with --data"
                )
        case _:
            raise run.damaged(stage)


def album_of(dataset: Dataset, samples: tuple[Sample, ...]) -> Album:
    """Photos of some samples, and the classes."""
    files = [
        f"{sample.name}.jpg"
        if packed.holder(sample.image)
        else sample.image.relative_to(dataset.root).as_posix()
        for sample in samples
    ]
    photos = [
        Photo(
            *(sample.name, file, sample.image, image_size(sample.image)),
            tags=tuple(dataset.classes[tag] for tag in sample.tags),
        )
        for sample, file in zip(samples, files, strict=True)
    ]
    return Album(dataset.classes, tuple(photos))


def chosen_list(split: str | None, settings: Settings, dataset: Dataset) -> str:
    """The list that a call names, or else the training list; an InputError if there is none."""
    split = split or settings.data.train
    if split not in dataset.splits:
        lists = ", ".join(dataset.splits)
        raise InputError(f"--list {split}: the run has no such list; it has {lists}")
    if leads_out(PurePosixPath(split)):
        raise InputError(f"--list {split}: a list of this name leads out of folders: rename it")
    return split
