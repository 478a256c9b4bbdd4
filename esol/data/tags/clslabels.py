"""cls_labels.npy of IRN, AFA, ToCo and others: a pickled dictionary of 0/1 vectors."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.classes import COCO_CLASSES, VOC_CLASSES
from esol.data.kinds import IMAGE_SUFFIXES
from esol.data.masks import mask_folder
from esol.data.reading import LISTS, Row, read_classes
from esol.data.tags.pickled import holds_object, read_dictionary
from esol.errors import InputError
from esol.settings import Data
from esol.system.files import visible_files

TITLE = "NumPy dictionary"
FILE = (
    "`.npy` with a dictionary of photos and vectors of 0 and 1, as IRN, AFA and ToCo come with; it"
    " is a pickle, from which nothing is executed"
)
TAGS = (
    "the entries with 1: of 20, VOC's classes, of 80, COCO's; others, or another order, need"
    " `classes.txt` with a line for each entry. A photo is given by its name or, as a number, by"
    " the digits of it (`2007000032`, `9`). Photos of the file that are not in the folder are"
    " passed over"
)
UNTAGGED = "negative"
ANYWHERE = False

_CLASSES = "classes.txt"
_KNOWN = {len(classes): classes for classes in (VOC_CLASSES, COCO_CLASSES)}


def recognise(path: Path, content: Any) -> bool:
    """Whether it is a file of NumPy with a pickled object."""
    return path.suffix.lower() == ".npy" and path.is_file() and holds_object(path)


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row for each photo of the folder that the file knows; an InputError if it is damaged."""
    vectors = read_dictionary(path)
    size = len(next(iter(vectors.values()), ()))
    classes = _classes(path, root, size)
    photos = _photos(root, settings)
    found = 0
    for key, vector in vectors.items():
        if len(vector) != size or not ((vector == 0) | (vector == 1)).all():
            yield f"{path}: {key}: not {size} numbers of 0 and 1, as the first photo has: fix it"
            continue
        files = photos.get(key.removesuffix(".jpg") if isinstance(key, str) else key, [])
        found += len(files)
        if len(files) > 1:
            yield f"{path}: {key}: may be any of {', '.join(map(str, files[:3]))}: rename them"
        elif files:
            tags = tuple(name for name, value in zip(classes, vector, strict=True) if value)
            yield Row(path, f"photo {key}", files[0], tags, _list_of(files[0]))
    if vectors and not found:
        key = next(iter(vectors))
        yield f"{path}: none of its {len(vectors)} photos ({key} ..) is in {root}: add them"


def _classes(path: Path, root: Path, size: int) -> tuple[str, ...]:
    """Names of the entries: those of classes.txt, else a benchmark's."""
    file = root / _CLASSES
    classes = read_classes(file) if file.exists() else _KNOWN.get(size, ())
    if len(classes) == size:
        return classes
    having = f"{file} has {len(classes)} lines" if file.exists() else f"there is no {file}"
    raise InputError(
        f"{path}: {size} entries for each photo, but {having}: name each entry there, one per line"
    )


def _photos(root: Path, settings: Data) -> dict[str | int, list[PurePosixPath]]:
    """Photos by their names without folder and suffix, and by the number in it.

    That is the whole name without underscores, or what follows COCO_train2014_ and the like.
    """
    photos: dict[str | int, list[PurePosixPath]] = {}
    masks = mask_folder(root, settings, ("masks",))
    # VOC's layout has several folders of masks beside its photos.
    is_voc = (root / "JPEGImages").is_dir() and (root / "ImageSets").is_dir()
    for file in visible_files(root, skip=masks):
        outside = is_voc and file.parts[0] != "JPEGImages"
        if outside or file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        photos.setdefault(file.stem, []).append(file)
        is_coco = file.stem.startswith("COCO_")
        digits = file.stem.rsplit("_", 1)[-1] if is_coco else file.stem.replace("_", "")
        if digits.isascii() and digits.isdigit() and len(digits) < 19:
            photos.setdefault(int(digits), []).append(file)
    return photos


def _list_of(file: PurePosixPath) -> str:
    """The first folder if it is called like a list, perhaps of a year (train2014), else train."""
    first = file.parts[0] if len(file.parts) > 1 else ""
    return first if first.lower().rstrip("0123456789") in LISTS else "train"
