"""YOLO's segmentation labels: photos, a polygon per object, and the data.yaml of Ultralytics."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from esol.data.sample import IGNORE
from esol.data.shapes import polygon_region
from esol.errors import InputError
from esol.label_tools.album import Album, Corrected, Photo
from esol.label_tools.polygons import joined, outlines
from esol.label_tools.regions import Region, Regions, paint
from esol.label_tools.sources import YOLO, unpacked
from esol.label_tools.voc import write_photo
from esol.system.files import new_folder, visible_files, write_atomic
from esol.system.progress import log
from esol.system.read import entry, leads_out, read_text, read_yaml

USES = ("train", "val", "test")
"""What Ultralytics does with lists; the first two must be in its file."""

_IMAGES, _LABELS = "images", "labels"

_SPECK = 50
"""Pixels of which an object has more."""

_FARTHEST = 1.01
"""Coordinates are shares of a photo's sides. Ultralytics refuses larger ones."""


def write(
    albums: Mapping[str, Album], regions: Regions, out: Path, tolerance: float, objects: str
) -> None:
    """Write a folder that Ultralytics trains on: images/LIST, labels/LIST and data.yaml.

    A region is one line: its class, counted from 0, and a polygon. Holes are cut, and several
    pieces joined by lines that enclose nothing. Ignored pixels are left out, which makes them
    background. Photos are those of a VOC folder: Ultralytics repairs damaged files where they lie,
    so the files of the run's data are neither linked nor named.

    What may mislead is said in data.yaml and as a warning.

    Args:
        albums: list -> its photos, at most one list for each of ``USES``. One list is ``val`` too.
        regions: of the photos.
        out: folder to make.
        tolerance: of the polygons, pixels.
        objects: what the regions are, for the file.
    """
    if len(albums) > len(USES):
        raise InputError(f"--list: {len(albums)} lists: give at most {', '.join(USES)}")
    ignored = total = count = specks = 0
    with new_folder(out) as folder:
        for split, album in albums.items():
            for photo in album.photos:
                image = PurePosixPath(_IMAGES, split, f"{photo.name}.jpg")
                write_photo(photo, folder / image)
                total += photo.size[0] * photo.size[1]
                lines = []
                for value, region in regions(photo):
                    if value == IGNORE:
                        ignored += int(region.sum())
                    else:
                        lines.append(_line(value - 1, region, tolerance))
                        specks += int(region.sum()) < _SPECK
                count += len(lines)
                write_atomic(folder / _labels_of(image), "".join(lines))
        warnings = _warnings(albums, ignored / total if total else 0.0)
        if specks:
            warnings.append(
                f"{specks} of {count} lines are of fewer than {_SPECK} pixels: --smallest leaves"
                " such parts out."
            )
        write_atomic(folder / YOLO, _description(albums, [f"Lines: {objects}.", *warnings]))
    for sentence in warnings:
        log.warning("%s: %s", out / YOLO, sentence)


def _line(number: int, region: NDArray[np.bool_], tolerance: float) -> str:
    height, width = region.shape
    ring = joined(outlines(region, tolerance))
    return f"{number} {' '.join(f'{x / width:.6g} {y / height:.6g}' for x, y in ring)}\n"


def _labels_of(image: PurePosixPath) -> PurePosixPath:
    """Where Ultralytics looks for the labels of an image: its last folder "images" is exchanged."""
    labels = _exchanged(image, _IMAGES, _LABELS)
    return labels.with_name(f"{labels.name.rpartition('.')[0]}.txt")


def _exchanged(path: PurePosixPath, folder: str, other: str) -> PurePosixPath:
    """A path with another folder in the place of its last one of a name."""
    place = max(i for i, part in enumerate(path.parts[:-1]) if part == folder)
    return PurePosixPath(*path.parts[:place], other, *path.parts[place + 1 :])


def _warnings(albums: Mapping[str, Album], ignored: float) -> list[str]:
    """What a user of the folder must know."""
    lists = list(albums)
    names = [{photo.name for photo in album.photos} for album in albums.values()]
    sentences = ["val has masks of the run, not ground truth: scores on it compare with these."]
    if len(lists) == 1:
        sentences.append(
            f"val is {lists[0]} again, as no other list was exported: scores on it say"
            " nothing of other photos."
        )
    elif shared := names[0] & names[1]:
        sentences.append(f"{len(shared)} photos of val are in train too.")
    if ignored:
        sentences.append(
            f"{100 * ignored:.2g} % of the pixels are ignored (255). YOLO cannot say"
            " so: they are background."
        )
    return sentences


def _description(albums: Mapping[str, Album], sentences: list[str]) -> str:
    """Content of data.yaml. Without ``path``, Ultralytics takes the folder of the file."""
    lists = list(albums) if len(albums) > 1 else list(albums) * 2
    if set(lists) <= set(USES):
        lists.sort(key=USES.index)
    classes = next(iter(albums.values())).classes
    content = {use: f"{_IMAGES}/{split}" for use, split in zip(USES, lists, strict=False)}
    text = yaml.safe_dump(
        {**content, "names": dict(enumerate(classes))}, allow_unicode=True, sort_keys=False
    )
    notes = ["Masks made by ESOL, for Ultralytics.", *sentences]
    return "".join(f"# {sentence}\n" for sentence in notes) + text


def read(path: Path, album: Album) -> Iterator[Corrected | None]:
    """Masks of a folder or ZIP file with data.yaml, one for each file of labels with polygons.

    None for every empty file: an empty photo and one that nobody opened look alike. Where polygons
    overlap, the smaller one is on top. Damage, a box, or an unknown photo or class is an
    InputError.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        raise InputError(f"{path}: give the folder that it lies in")
    with unpacked(path) as folder:
        file = folder / YOLO
        if not file.is_file():
            raise InputError(f"{path}: no {YOLO} in it: give the folder or ZIP that has it")
        content = read_yaml(file)
        with entry(str(file)):
            names = content["names"]
            numbered = names if isinstance(names, dict) else dict(enumerate(names))
            values = {
                int(number): album.value(str(name), f"{file}: names")
                for number, name in numbered.items()
            }
            labels = _label_files(content, file)
        for where, name in labels.items():
            photo = album.find(str(name), str(where))
            layers = _layers(where, photo, values)
            yield (photo, paint(layers, photo.size)) if layers else None


def with_ignored(mask: NDArray[np.uint8], pseudo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask, with the pseudo mask's ignored pixels where no polygon is: labels have no such."""
    if mask.shape != pseudo.shape:
        return mask
    return np.where((mask == 0) & (pseudo == IGNORE), pseudo, mask)


def _label_files(content: dict[str, Any], file: Path) -> dict[Path, PurePosixPath]:
    """Files of labels and the names of their photos.

    CVAT lists photos in LIST.txt, beside labels/LIST.
    """
    names = {}
    for use in USES:
        places = content.get(use) or []
        for place in map(PurePosixPath, [places] if isinstance(places, str) else places):
            if leads_out(place):
                raise InputError(f"{file}: {use}: {place} leads out of its folder: move it there")
            photos = PurePosixPath(_IMAGES, place.stem) if place.suffix == ".txt" else place
            if _IMAGES not in photos.parts:
                raise InputError(f"{file}: {use}: {place} is in no folder {_IMAGES}: move it there")
            labels = _exchanged(photos / "name", _IMAGES, _LABELS).parent
            for name in _texts(file.parent / labels):
                names[file.parent / labels / name] = name.with_suffix("")
            # Labels of photos that lie in another folder "images", below that of the list.
            for name in _texts(file.parent / photos):
                if _LABELS in name.parts[:-1]:
                    image = _exchanged(name, _LABELS, _IMAGES)
                    names[file.parent / photos / name] = image.with_suffix("")
    return names


def _texts(folder: Path) -> Iterator[PurePosixPath]:
    return (name for name in visible_files(folder) if name.suffix == ".txt")


def _layers(file: Path, photo: Photo, values: Mapping[int, int]) -> list[Region]:
    """Regions of a file of labels, the largest first."""
    height, width = photo.size
    layers = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        where = f"{file}: line {number}"
        with entry(where):
            first, *coordinates = line.split() or [""]
            if not first:
                continue
            if int(first) not in values:
                raise InputError(f"{where}: class {first} is not in {YOLO}: add its name there")
            if len(coordinates) == 4:
                raise InputError(f"{where}: a box without a mask: draw it, or remove it")
            shares = np.array(coordinates, np.float64).reshape(-1, 2)
            if not (np.abs(shares) <= _FARTHEST).all():
                raise ValueError("a corner is not in 0 .. 1, shares of the photo's sides")
            ring = (shares * (width, height)).ravel().tolist()
            layers.append((values[int(first)], polygon_region([ring], photo.size)))
    return sorted(layers, key=lambda layer: int(layer[1].sum()), reverse=True)
