"""PASCAL VOC's layout of masks, which is CVAT's "Segmentation mask 1.1" too."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esol.data.folder import CLASS_NAMES
from esol.data.images import load_image, load_mask, palette, reading, save_mask
from esol.data.reading import mask_files
from esol.data.sample import BACKGROUND, IGNORE
from esol.data.tags import LABELS as TAGS
from esol.errors import InputError
from esol.label_tools.album import Album, Corrected, Photo, check_size
from esol.label_tools.regions import Masks, used_values
from esol.label_tools.sources import MASKS, tools_of, unpacked
from esol.system.files import atomic, new_folder, temporary_folder, write_atomic
from esol.system.read import entry, read_text

LABELS = "labelmap.txt"

_LISTS = "ImageSets/Segmentation"
_QUALITY = 95


def write(album: Album, masks: Masks, out: Path, split: str) -> None:
    """Write a folder like VOC 2012's: JPEGImages, SegmentationClass, ImageSets, labelmap.txt.

    With classes.txt and labels.csv, which have the classes and tags, it opens as a data folder.
    Photos that are upright JPEG files are copied, others converted (quality 95). ``split`` names
    the list.
    """
    tags = _tag_table(album)
    with new_folder(out) as folder:
        for photo in album.photos:
            write_photo(photo, folder / "JPEGImages" / f"{photo.name}.jpg")
        _write_masks(album, masks, folder, {photo.name: photo for photo in album.photos}, split)
        write_atomic(folder / CLASS_NAMES, "".join(f"{name}\n" for name in album.classes))
        write_atomic(folder / TAGS, tags)


def _tag_table(album: Album) -> str:
    """Content of labels.csv; an InputError if a class's name would be taken for two."""
    for name in album.classes:
        if found := set(name) & set(",;|"):
            wrong = f"labels.csv has no {min(found)!r} in tags"
            raise InputError(f"class {name!r}: {wrong}: rename the class")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("image", "labels"))
    for photo in album.photos:
        table.writerow((f"{photo.name}.jpg", "".join(f"{tag};" for tag in photo.tags)))
    return text.getvalue()


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
        write_atomic(out, photo.path.read_bytes())
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
        for file in mask_files(root).values():
            photo = album.find(file.relative_to(root).with_suffix("").as_posix(), str(file))
            mask = load_mask(file) if table is None else _translated(file, table)
            check_size(photo, (mask.shape[0], mask.shape[1]), str(file))
            yield photo, mask


def _advice(folder: Path) -> str:
    """What to do with a folder or archive that has no masks: some hold a file of another format."""
    files = (file for file in sorted(folder.rglob("*")) if file.suffix.lower() in (".json", ".xml"))
    if other := next((file for file in files if tools_of(file)), None):
        return f"take {other.relative_to(folder)} out, and give that --from {tools_of(other)[0]}"
    return "give the folder or ZIP that has it"


def _read_labelmap(file: Path, album: Album) -> dict[tuple[int, ...], int]:
    """Mask value of each colour, in the order of lines."""
    values: dict[tuple[int, ...], int] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        with entry(f"{file}: line {number}"):
            label, colour, *_ = line.split(":")
            red, green, blue = map(int, colour.split(","))
            values[red, green, blue] = album.value(label, f"{file}: line {number}")
    return values


def _translated(file: Path, table: dict[tuple[int, ...], int]) -> NDArray[np.uint8]:
    """Mask of a file whose colours, or grey values, are those of a label map."""
    with reading(file) as image:
        if image.mode in ("1", "L"):
            grey, order = np.asarray(image).astype(np.int64), [*table.values()]
            lookup = {**dict(enumerate(order)), IGNORE: IGNORE}
            codes, channels = grey, 1
        else:
            colours = np.asarray(image.convert("RGB")).astype(np.int64)
            border = tuple(palette()[IGNORE].tolist())
            lookup = {_code(colour): value for colour, value in {border: IGNORE, **table}.items()}
            codes, channels = colours @ (256 ** np.arange(3)), 3
    distinct, places = np.unique(codes, return_inverse=True)
    unknown = [code for code in distinct.tolist() if code not in lookup]
    if unknown:
        colour = tuple(unknown[0] >> 8 * part & 255 for part in range(channels))
        raise InputError(f"{file}: colour {colour} is not a label of {LABELS}: add or fix it")
    values = np.array([lookup[code] for code in distinct.tolist()], np.uint8)
    return values[places].reshape(codes.shape)


def _code(colour: Iterable[int]) -> int:
    return sum(part << 8 * place for place, part in enumerate(colour))
