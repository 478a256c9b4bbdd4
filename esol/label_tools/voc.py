"""PASCAL VOC's layout of masks, which is CVAT's "Segmentation mask 1.1" too."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esol.data import packed
from esol.data.colours import CLASS_NAMES, ColourTable, label_map
from esol.data.colours import LABEL_MAP as LABELS
from esol.data.images import load_image, load_mask, palette, reading, save_mask
from esol.data.labels import labels_text
from esol.data.masks import by_colour, mask_files
from esol.data.sample import BACKGROUND, IGNORE
from esol.data.tags import LABELS as TAGS
from esol.errors import InputError
from esol.label_tools.album import Album, Corrected, Photo, check_size
from esol.label_tools.regions import Masks, used_values
from esol.label_tools.sources import MASKS, tools_of, unpacked
from esol.system.files import atomic, new_folder, temporary_folder, write_atomic

_LISTS = "ImageSets/Segmentation"
_QUALITY = 95


def write(album: Album, masks: Masks, out: Path, split: str) -> None:
    """Write a folder like VOC 2012's: JPEGImages, SegmentationClass, ImageSets, labelmap.txt.

    With classes.txt and labels.csv, which have the classes and tags, it opens as a data folder.
    Photos that are upright JPEG files are copied, others converted (quality 95). ``split`` names
    the list.
    """
    tags = labels_text(
        ((f"{photo.name}.jpg", photo.tags, "train") for photo in album.photos), lists=False
    )
    with new_folder(out) as folder:
        for photo in album.photos:
            write_photo(photo, folder / "JPEGImages" / f"{photo.name}.jpg")
        _write_masks(album, masks, folder, {photo.name: photo for photo in album.photos}, split)
        write_atomic(folder / CLASS_NAMES, "".join(f"{name}\n" for name in album.classes))
        write_atomic(folder / TAGS, tags)


def write_archive(album: Album, masks: Masks, out: Path) -> set[int]:
    """Write a ZIP file of masks, named as CVAT names photos; return the values in them."""
    with temporary_folder() as folder, atomic(out) as temporary:
        names = {str(Path(p.file).with_suffix("")): p for p in album.photos}
        used = _write_masks(album, masks, folder, names, "default")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                # A fixed date: equal masks give equal archives.
                info = zipfile.ZipInfo(file.relative_to(folder).as_posix())
                archive.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED)
    return used


def _write_masks(
    album: Album, masks: Masks, out: Path, names: dict[str, Photo], split: str
) -> set[int]:
    used: set[int] = set()
    for name, photo in names.items():
        mask = masks(photo)
        used |= set(np.unique(mask).tolist()) - {0}
        save_mask(mask, out / MASKS / f"{name}.png")
    write_atomic(out / _LISTS / f"{split}.txt", "".join(f"{name}\n" for name in names))
    write_atomic(out / LABELS, _labelmap(used_values(album, used)))
    return used


def _labelmap(values: dict[str, int]) -> str:
    colours = palette()
    rows = ["# label:color_rgb:parts:actions"]
    for name, value in {BACKGROUND: 0, **values}.items():
        if ":" in name or name.startswith("#"):
            wrong = f"{LABELS} has no names with ':', or with '#' in front"
            raise InputError(f"class {name!r}: {wrong}: rename the class")
        rows.append(f"{name}:{','.join(map(str, colours[value]))}::")
    return "\n".join(rows) + "\n"


def write_photo(photo: Photo, out: Path) -> None:
    """Write a photo as an upright JPEG file: a copy of one, or converted (quality 95)."""
    with reading(photo.path) as image:
        upright = image.format == "JPEG" and image.getexif().get(0x0112, 1) == 1
    if upright:
        write_atomic(out, packed.content(photo.path))
        return
    with atomic(out) as temporary:
        load_image(photo.path).save(temporary, quality=_QUALITY, subsampling=0)


def read(path: Path, album: Album) -> Iterator[Corrected]:
    """Masks of a folder or ZIP file with SegmentationClass.

    With labelmap.txt, the colour of a pixel gives its class; in grey masks, its value counts the
    lines of that file from 0. Without, values are the run's own. VOC's border colour means ignored.
    Damage, another size, or an unknown photo, label or colour is an InputError.
    """
    with unpacked(path) as folder:
        root = folder / MASKS
        if not root.is_dir():
            raise InputError(f"{path}: no folder {MASKS} in it: {_advice(folder)}")
        table = _read_labelmap(folder / LABELS, album) if (folder / LABELS).is_file() else None
        for name, file in mask_files(root, {photo.name for photo in album.photos}).items():
            photo = album.find(name, str(file))
            mask = load_mask(file) if table is None else _translated(file, table, album)
            check_size(photo, (mask.shape[0], mask.shape[1]), str(file))
            yield photo, mask


def _advice(folder: Path) -> str:
    """What to do with a folder or archive that has no masks: some hold a file of another format."""
    files = (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in (".json", ".xml"))
    if other := next((file for file in files if tools_of(file)), None):
        return f"take {other.relative_to(folder)} out, and give that --from {tools_of(other)[0]}"
    return "give the folder or ZIP that has it"


def _read_labelmap(file: Path, album: Album) -> ColourTable:
    """Labels by colour; an InputError if one is not a class of the run."""
    lines = list(label_map(file))
    for where, label, _ in lines:
        album.value(label, where)
    return ColourTable(file, {colour: label for _, label, colour in lines})


def _translated(file: Path, table: ColourTable, album: Album) -> NDArray[np.uint8]:
    """Mask of a file whose colours, or grey values, are those of a label map."""
    with reading(file) as image:
        if image.mode not in ("1", "L"):
            return by_colour(image, file, table, album.classes)
        lines = np.asarray(image).astype(np.uint8)
    values = [album.value(label, str(file)) for label in table.names.values()]
    highest = lines[lines != IGNORE].max(initial=0)
    if highest >= len(values):
        raise InputError(f"{file}: value {highest} is not a line of {LABELS}: add or fix it")
    order = np.full(256, IGNORE, np.uint8)
    order[: len(values)] = values[:256]
    return order[lines]
