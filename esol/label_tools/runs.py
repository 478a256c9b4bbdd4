"""Runs: the settings, data set and album of a run folder."""

from pathlib import Path

from esol.data import Dataset, Sample, open_dataset
from esol.data.images import image_size
from esol.errors import InputError
from esol.label_tools.album import Album, Photo
from esol.runs.folder import read_manifest, stage_path
from esol.runs.manifest import damaged
from esol.settings import Settings
from esol.settings.load import stored_settings
from esol.system.files import read_json


def opened(run: Path, data: Path | str | None) -> tuple[Settings, Dataset]:
    """Settings of a run and the data set it was made from.

    Args:
        run: run folder.
        data: the data folder, if it has moved.

    Raises:
        InputError: no run folder, or the data set is gone or damaged.
    """
    record, stored = run / "run.json", run / "settings.yaml"
    if not record.is_file() or not stored.is_file():
        raise InputError(f"{run} is not a run folder (no run.json); give what esol run wrote")
    content = read_json(record)
    if not isinstance(content, dict) or not isinstance(content.get("data"), str):
        raise InputError(f"{record} is damaged; run the last esol run command again")
    root = Path(data) if data is not None else Path(content["data"])
    if not root.is_dir():
        raise InputError(f"{root}: the run's photos are not there; give their folder with --data")
    settings = stored_settings(stored)
    return settings, open_dataset(root, settings.data)


def check_classes(run: Path, stage: str, dataset: Dataset) -> None:
    """Refuse masks of a stage whose values mean other classes than the data set's.

    Raises:
        InputError: they do, or the stage is not finished.
    """
    match read_manifest(run, stage)["identity"]:
        case {"data": {"classes": [*made]}}:
            same = tuple(made) == dataset.classes
        case _:
            raise damaged(stage_path(run, stage) / "manifest.json")
    if not same:
        raise InputError(
            f"{stage_path(run, stage)}: made with other classes than {dataset.root} has now; run"
            " again, or give the old data folder with --data"
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
