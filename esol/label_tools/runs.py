"""Runs: the settings, data set and album of a run folder."""

from pathlib import Path

from esol.data import Dataset, Sample, open_dataset
from esol.data.images import image_size
from esol.errors import InputError
from esol.label_tools.album import Album, Photo
from esol.runs.folder import RunFolder
from esol.settings import Settings


def opened(run: Path, data: Path | str | None) -> tuple[Settings, Dataset]:
    """Settings of a run and the data set it was made from.

    Args:
        run: run folder.
        data: the data folder, if it has moved.

    Raises:
        InputError: no run folder, or the data set is gone or damaged.
    """
    folder = RunFolder(run)
    root = folder.data_root()
    if data is not None:
        root = Path(data)
    if not root.is_dir():
        raise InputError(f"{root}: the run's photos are not there; give their folder with --data")
    settings = folder.settings()
    return settings, open_dataset(root, settings.data)


def check_classes(run: RunFolder, stage: str, dataset: Dataset) -> None:
    """Refuse masks of a stage whose values mean other classes than the data set's.

    Raises:
        InputError: they do, or the stage is not finished.
    """
    match run.manifest(stage)["identity"]:
        case {"data": {"classes": [*made]}}:
            same = tuple(made) == dataset.classes
        case _:
            raise run.damaged(stage)
    if not same:
        raise InputError(
            f"{run.stage(stage)}: made with other classes than {dataset.root} has now; run again,"
            " or give the old data folder with --data"
        )


def album_of(dataset: Dataset, samples: tuple[Sample, ...]) -> Album:
    """Photos of some samples, and the classes."""
    photos = (
        Photo(
            sample.name,
            sample.image.relative_to(dataset.root).as_posix(),
            sample.image,
            image_size(sample.image),
        )
        for sample in samples
    )
    return Album(dataset.classes, tuple(photos))
