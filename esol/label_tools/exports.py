"""Export: masks of a run in the form of a label tool."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.data import packed
from esol.data.images import load_mask
from esol.data.sample import IGNORE
from esol.errors import InputError
from esol.label_tools import TOOLS, coco, cvat, labelstudio, voc
from esol.label_tools.album import Photo
from esol.label_tools.runs import album_of, check_classes, chosen_list, open_run
from esol.runs.folder import RunFolder

_STAGES = {
    **{"masks": "masks", "corrected": "masks", "seeds": "seeds"},
    **{"crf": "refine", "segmentation": "segment"},
}
"""Masks that can be exported -> the stage that makes them."""


def export_masks(
    run: Path | str,
    out: Path | str,
    *,
    to: str,
    what: str = "masks",
    split: str | None = None,
    tolerance: float | None = None,
    prefix: str = labelstudio.PREFIX,
    data: Path | str | None = None,
) -> dict[str, Any]:
    """Write masks of a run in the form of a label tool.

    Args:
        run: run folder.
        out: file to write or replace (coco, labelstudio: .json; cvat: .xml or .zip); voc: folder
            to make.
        to: one of ``esol.label_tools.TOOLS``.
        what: one of ``esol.label_tools.WHAT``.
        split: a list of the data set; None: the training list.
        tolerance: None: run lengths; otherwise polygons, whose outline differs from the mask's by
            at most so many pixels.
        prefix: labelstudio: what precedes a photo's path in its address.
        data: the data folder, if it has moved.

    Returns:
        ``photos`` and ``list``.

    Raises:
        InputError: no such masks, list or data folder, or the file cannot be written.
        ValueError: another tool, another kind of masks, a tolerance below 0.
    """
    if to not in TOOLS or what not in _STAGES or (tolerance is not None and tolerance < 0):
        raise ValueError(f"to={to!r}, what={what!r}, tolerance={tolerance!r}")
    run, out = Path(run), Path(out)
    settings, dataset = open_run(run, data)
    split = chosen_list(split, settings, dataset)
    folder, stage = RunFolder(run), _STAGES[what]
    check_classes(folder, stage, dataset)
    masks_folder = folder.masks("masks" if what == "corrected" else what)
    files = {s.name: masks_folder / f"{s.name}.png" for s in dataset.splits[split]}
    if what == "corrected":
        corrections = folder.corrections
        corrections.check(dataset.classes)
        files |= {name: path for name, path in corrections.files().items() if name in files}
    if missing := [path for path in files.values() if not path.is_file()]:
        raise InputError(
            f"{missing[0]}: no such mask ({len(missing)} of {len(files)}); make the stage {stage}"
            f" for the list {split!r}, or name another --list"
        )
    album = album_of(dataset, dataset.splits[split])
    if to != "voc" and (photo := next((p for p in album.photos if packed.holder(p.path)), None)):
        raise InputError(
            f"{photo.path}: the photo lies inside a file, which --to {to} cannot name: export --to"
            " voc, which writes photos as files"
        )
    if out.resolve() in (run.resolve(), dataset.root.resolve()):
        raise InputError(f"{out}: holds the run or the data; name another place")
    masks = partial(_mask, files, len(album.classes))
    if to == "voc":
        if tolerance is not None:
            raise InputError("--shapes polygons: VOC has masks only; leave it out")
        voc.write(album, masks, out, split)
    elif to == "labelstudio":
        labelstudio.write(album, masks, out, tolerance, prefix)
    else:
        {"coco": coco.write, "cvat": cvat.write}[to](album, masks, out, tolerance)
    return {"photos": len(album.photos), "list": split}


def _mask(files: dict[str, Path], classes: int, photo: Photo) -> NDArray[np.uint8]:
    mask = load_mask(files[photo.name])
    if mask.shape != photo.size or ((mask > classes) & (mask < IGNORE)).any():
        raise InputError(f"{files[photo.name]}: not a mask of {photo.file}; make its stage again")
    return mask
