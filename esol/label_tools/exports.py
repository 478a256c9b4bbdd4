"""Export: masks of a run in the form of a label tool, or for other training codes."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data import Dataset, packed
from esol.data.images import load_mask
from esol.data.sample import IGNORE
from esol.errors import InputError
from esol.label_tools import (
    OBJECTS,
    TOLERANCE,
    TOOLS,
    coco,
    cvat,
    labelstudio,
    png,
    voc,
    yolo,
)
from esol.label_tools.album import Album, Photo
from esol.label_tools.regions import Masks, Region, instances, parts, regions, without_specks
from esol.label_tools.runs import album_of, check_classes, chosen_list, open_run
from esol.runs.folder import RunFolder
from esol.settings import Settings

_STAGES = {
    **{"masks": "masks", "corrected": "masks", "seeds": "seeds"},
    **{"crf": "refine", "segmentation": "segment"},
}
"""Masks that can be exported -> the stage that makes them."""

_WITHOUT_NAMES = ("voc", "yolo", "png")
"""Formats that do not name the run's own photos."""


def export_masks(
    run: Path | str,
    out: Path | str,
    *,
    to: str,
    what: str = "masks",
    split: str | Sequence[str] | None = None,
    tolerance: float | None = None,
    objects: str | None = None,
    values: str | None = None,
    smallest: int = 0,
    prefix: str = labelstudio.PREFIX,
    data: Path | str | None = None,
) -> dict[str, Any]:
    """Write masks of a run in the form of a label tool, or for other training codes.

    Args:
        run: run folder.
        out: file to write or replace (coco, labelstudio: .json; cvat: .xml or .zip); yolo, voc,
            png: folder to make.
        to: one of ``esol.label_tools.TOOLS``.
        what: one of ``esol.label_tools.WHAT``.
        split: a list of the data set; None: the training list. yolo: also several, for training,
            validation and test; None: the training list, and the first evaluated one whose photos
            have masks and are not in the training list.
        tolerance: None: run lengths; otherwise polygons, whose outline differs from the mask's by
            at most so many pixels. yolo has polygons only; None: ``TOLERANCE``.
        objects: one of ``esol.label_tools.OBJECTS``; None: class, yolo: parts.
        values: png: see :func:`esol.label_tools.png.write`.
        smallest: parts and holes of fewer pixels take the value of the nearest pixel that stays.
        prefix: labelstudio: what precedes a photo's path in its address.
        data: the data folder, if it has moved.

    Returns:
        ``photos`` and ``list``; several lists are joined by "and".

    Raises:
        InputError: no such masks, instances, list or data folder, or the file cannot be written.
        ValueError: another tool, another kind of masks or objects, a number below 0.
    """
    known = to in TOOLS and what in _STAGES and objects in (None, *OBJECTS)
    if not known or (tolerance or 0) < 0 or smallest < 0:
        raise ValueError(f"{to=}, {what=}, {objects=}, {tolerance=}, {smallest=}")
    run, out, folder = Path(run), Path(out), RunFolder(Path(run))
    _check_flags(to, out, split, tolerance, objects, values)
    settings, dataset = open_run(run, data)
    check_classes(folder, _STAGES[what], dataset)
    files = _mask_files(folder, what, dataset)
    names = [split] if split is None or isinstance(split, str) else split
    lists = list(dict.fromkeys(chosen_list(name, settings, dataset) for name in names))
    lists += _unseen(dataset, settings, lists[0], files) if to == "yolo" and split is None else []
    for name in lists:
        _check_there([files[s.name] for s in dataset.splits[name]], "mask", _STAGES[what], name)
    objects = objects or ("parts" if to == "yolo" else "class")
    objects_folder = folder.stage("refine") / "instances"
    if objects == "instances":
        check_classes(folder, "refine", dataset)
        _check_instances(objects_folder, dataset, lists)
    albums = {name: album_of(dataset, dataset.splits[name]) for name in lists}
    album, *_ = albums.values()
    if to not in _WITHOUT_NAMES:
        _check_named(album, to)
    if out.resolve() in (run.resolve(), dataset.root.resolve()):
        raise InputError(f"{out}: holds the run or the data; name another place")
    masks = partial(_mask, files, len(dataset.classes), smallest)
    shapes = partial(_regions, masks, objects, objects_folder)
    match to:
        case "voc":
            voc.write(album, masks, out, lists[0])
        case "png":
            png.write(album, masks, out, values)
        case "yolo":
            pixels = TOLERANCE if tolerance is None else tolerance
            yolo.write(albums, shapes, out, pixels, OBJECTS[objects])
        case "labelstudio":
            labelstudio.write(album, shapes, out, tolerance, prefix)
        case "cvat":
            cvat.write(album, shapes, out, tolerance)
        case "coco":
            coco.write(album, shapes, out, tolerance, OBJECTS[objects])
    return {"photos": sum(len(a.photos) for a in albums.values()), "list": " and ".join(lists)}


def _check_named(album: Album, to: str) -> None:
    if photo := next((p for p in album.photos if packed.holder(p.path)), None):
        raise InputError(
            f"{photo.path}: the photo lies inside a file, which --to {to} cannot name: export"
            f" --to {', '.join(_WITHOUT_NAMES)}, which write photos as files, or masks alone"
        )


def _check_flags(
    to: str,
    out: Path,
    split: str | Sequence[str] | None,
    tolerance: float | None,
    objects: str | None,
    values: str | None,
) -> None:
    archive = to == "cvat" and out.suffix.lower() == ".zip"
    for flag, given in (("--shapes polygons", tolerance), ("--objects", objects)):
        if given is not None and (archive or to in ("voc", "png")):
            form = f"{out}: Segmentation mask 1.1 of CVAT" if archive else f"--to {to}"
            raise InputError(f"{flag}: {form} has masks only; leave it out")
    if values is not None and to != "png":
        raise InputError(f"--values: --to {to} has no values of one's own; leave it out")
    if not (split is None or isinstance(split, str) or len(split) == 1 or to == "yolo"):
        raise InputError(f"--list: --to {to} takes one list")


def _mask_files(folder: RunFolder, what: str, dataset: Dataset) -> dict[str, Path]:
    """File of each photo's mask, whether it exists or not."""
    made = folder.masks("masks" if what == "corrected" else what)
    files = {s.name: made / f"{s.name}.png" for split in dataset.splits.values() for s in split}
    if what == "corrected":
        corrections = folder.corrections
        corrections.check(dataset.classes)
        files |= {name: path for name, path in corrections.files().items() if name in files}
    return files


def _check_there(files: Sequence[Path], thing: str, stage: str, split: str) -> None:
    if missing := [path for path in files if not path.is_file()]:
        raise InputError(
            f"{missing[0]}: no such {thing} ({len(missing)} of {len(files)}); make the stage"
            f" {stage} for the list {split!r}, or name another --list"
        )


def _check_instances(folder: Path, dataset: Dataset, lists: Sequence[str]) -> None:
    stage = "refine with refine.methods [irn] and refine.instances true"
    for name in lists:
        paths = [folder / f"{sample.name}.png" for sample in dataset.splits[name]]
        _check_there(paths, "instances", stage, name)


def _unseen(dataset: Dataset, settings: Settings, train: str, files: dict[str, Path]) -> list[str]:
    """The first evaluated list that has masks, and no photo of the training list; or none."""
    learned = {sample.name for sample in dataset.splits[train]}
    for name in settings.data.evaluate:
        photos = {sample.name for sample in dataset.splits.get(name, ())}
        if photos and not photos & learned and all(files[photo].is_file() for photo in photos):
            return [name]
    return []


def _mask(files: dict[str, Path], classes: int, smallest: int, photo: Photo) -> NDArray[np.uint8]:
    mask = load_mask(files[photo.name])
    if mask.shape != photo.size or ((mask > classes) & (mask < IGNORE)).any():
        raise InputError(f"{files[photo.name]}: not a mask of {photo.file}; make its stage again")
    return without_specks(mask, smallest) if smallest > 1 else mask


def _regions(masks: Masks, objects: str, folder: Path, photo: Photo) -> Iterable[Region]:
    mask = masks(photo)
    if objects == "class":
        return regions(mask)
    if objects == "parts":
        return parts(mask)
    path = folder / f"{photo.name}.png"
    numbers = load_mask(path)
    if numbers.shape != photo.size:
        raise InputError(f"{path}: not of the size of {photo.file}; make its stage again")
    return instances(mask, numbers)
