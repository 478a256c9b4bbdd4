"""Heat maps: localization maps as pictures over their photos."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from esol.data import Sample
from esol.data.images import load_image
from esol.data.memory import enough_memory
from esol.data.reading import read_names
from esol.data.selection import evenly_spaced
from esol.errors import InputError
from esol.label_tools.runs import check_classes, chosen_list, open_run
from esol.maps.files import Maps, load_maps
from esol.ops.grids import resize
from esol.runs.folder import RunFolder, stage_of_maps
from esol.system.files import atomic, write_json
from esol.system.progress import track
from esol.system.read import read_json

LONGEST = 1600
"""Longest side of a picture, pixels; larger photos are reduced."""

RECORD = "heatmaps.json"
"""What the pictures in a folder show: whose maps, and the colours of the scale."""

_QUALITY = 92

_INFERNO = np.array(
    [
        *((0, 0, 4), (27, 12, 66), (75, 12, 107), (120, 28, 109), (165, 44, 96)),
        *((207, 68, 70), (237, 105, 37), (251, 154, 6), (247, 208, 60), (252, 255, 164)),
    ],
    np.float32,
)
"""The colour map inferno at 0, 1/9 .. 1: equal steps of the score look equal, in grey too."""

_ALPHA = (0.35, 0.75)
"""Opacity of the colour where the score is 0, and where it is 1."""


def export_heatmaps(
    run: Path | str,
    out: Path | str,
    *,
    split: str | None = None,
    photos: int | Path | str = 0,
    data: Path | str | None = None,
) -> dict[str, Any]:
    """Write the maps of a run as pictures: OUT/KIND/NAME.CLASS.jpg, and the scale as OUT/scale.png.

    Pictures that are there already are kept, so a stopped call can be repeated.

    Args:
        run: run folder with the stage cams, and refine, if IRN's maps are wanted.
        out: folder to make, or that of an earlier call for the same maps.
        split: a list of the data set; None: the training list.
        photos: at most so many, evenly spaced, 0: all; or a text file of their names, one per line.
        data: the data folder, if it has moved.

    Returns:
        ``photos`` that have maps, ``list``, ``kinds`` of maps, and how many ``pictures`` there are.

    Raises:
        InputError: no such maps, list, photo or data folder; the folder holds something else, or
            cannot be written.
    """
    run, out = Path(run), Path(out)
    settings, dataset = open_run(run, data)
    split = chosen_list(split, settings, dataset)
    folder = RunFolder(run)
    check_classes(folder, "cams", dataset)
    folders = folder.map_folders(settings)
    samples = _chosen(dataset.splits[split], photos)
    if not samples:
        raise InputError(f"--list {split}: none of its photos has a tag, so there are no maps")
    files = [path / f"{sample.name}.npz" for sample in samples for path in folders.values()]
    if missing := [path for path in files if not path.is_file()]:
        raise InputError(
            f"{missing[0]}: no such maps ({len(missing)} of {len(files)}); make the stage cams for"
            f" the list {split!r}, or name another --list"
        )
    _enter(out, {kind: folder.outputs_of(stage_of_maps(kind)) for kind in folders})
    titles = file_names(dataset.classes)
    pictures = 0
    for sample in track(samples, "heat maps", total=len(samples), unit="photos"):
        names = {tag: f"{sample.name}.{titles[tag]}.jpg" for tag in sample.tags}
        paths = {kind: {tag: out / kind / names[tag] for tag in names} for kind in folders}
        pictures += sum(map(len, paths.values()))
        if all(path.is_file() for some in paths.values() for path in some.values()):
            continue
        with enough_memory([sample.image]):
            _draw(sample, folders, paths)
    return {"photos": len(samples), "list": split, "kinds": [*folders], "pictures": pictures}


def _chosen(samples: tuple[Sample, ...], photos: int | Path | str) -> tuple[Sample, ...]:
    """Photos with a tag, which have maps: evenly spaced ones, or those named in a file."""
    tagged = tuple(sample for sample in samples if sample.tags)
    if isinstance(photos, int):
        if photos < 0:
            raise InputError(f"--photos {photos}: give 0 or more")
        return evenly_spaced(tagged, photos)
    named = {sample.name: sample for sample in tagged}
    names = read_names(Path(photos))
    if unknown := [name for name in names if name not in named]:
        example = f"; names are like {next(iter(named))!r}" if named else ""
        raise InputError(
            f"{photos}: {unknown[0]!r} is no tagged photo of the list ({len(unknown)} of"
            f" {len(names)} names){example}"
        )
    return tuple(named[name] for name in names)


def _enter(out: Path, maps: Mapping[str, Any]) -> None:
    """Make the folder, or find that it is that of an earlier call for the same maps."""
    content = {"maps": maps, "colours": _INFERNO.astype(int).tolist(), "alpha": list(_ALPHA)}
    record = out / RECORD
    if record.is_file():
        if read_json(record) != content:
            raise InputError(f"{out}: has heat maps of other maps ({RECORD}); name another folder")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not an empty folder; give a new one")
    write_json(record, content)
    with atomic(out / "scale.png") as temporary:
        shown = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (24, 1))
        Image.fromarray(colours(shown)).save(temporary)


def _draw(
    sample: Sample, folders: Mapping[str, Path], paths: Mapping[str, Mapping[int, Path]]
) -> None:
    """Write the pictures of one photo."""
    photo = load_image(sample.image)
    size = (photo.height, photo.width)
    photo.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    whole = np.asarray(photo)
    for kind, folder in folders.items():
        file = folder / f"{sample.name}.npz"
        maps = load_maps(file)
        if maps.size != size or maps.classes.tolist() != list(sample.tags):
            raise InputError(
                f"{file}: of another photo or other tags than {sample.image} has now; run again"
            )
        for tag, path in paths[kind].items():
            with atomic(path) as temporary:
                Image.fromarray(heatmap(whole, _of(maps, tag))).save(temporary, quality=_QUALITY)


def _of(maps: Maps, tag: int) -> NDArray[np.float32]:
    return maps.maps[int(np.searchsorted(maps.classes, tag))]


def heatmap(photo: NDArray[np.uint8], scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend a map into a photo.

    Args:
        photo: (H, W, 3).
        scores: (h, w), 0 .. 1, on a grid that covers the photo from edge to edge.

    Returns:
        (H, W, 3). The higher the score, the brighter the colour and the less of the photo.
    """
    full = resize(torch.from_numpy(scores)[None, None], photo.shape[:2])[0, 0].clamp(0, 1).numpy()
    low, high = _ALPHA
    alpha = (low + (high - low) * full)[..., None]
    blended: NDArray[np.uint8] = np.rint(photo * (1 - alpha) + colours(full) * alpha).astype("u1")
    return blended


def colours(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W) scores, 0 .. 1 -> (H, W, 3) colours of the scale, linear between its points."""
    place = np.clip(scores, 0, 1) * np.float32(len(_INFERNO) - 1)
    below = np.minimum(place.astype(np.intp), len(_INFERNO) - 2)
    share = (place - below)[..., None]
    return np.rint(_INFERNO[below] * (1 - share) + _INFERNO[below + 1] * share).astype(np.uint8)


def file_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as they can stand in file names everywhere, each another.

    >>> file_names(["traffic light", "a/b", "a:b", "Café"])
    ('traffic_light', 'a_b', 'a_b-3', 'Café')
    """
    found: list[str] = []
    for value, name in enumerate(classes, start=1):
        plain = re.sub(r"[^\w-]+", "_", name)
        taken = plain.casefold() in map(str.casefold, found)
        found.append(f"{plain}-{value}" if taken else plain)
    return tuple(found)
