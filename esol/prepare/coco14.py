"""COCO 2014: photos and instances, semantic masks drawn once, tags in a table."""

import json
from collections.abc import Mapping
from pathlib import Path

from esol.data.coco import read_coco
from esol.data.images import save_mask
from esol.data.reading import Reading
from esol.data.tags import LABELS
from esol.errors import InputError
from esol.prepare.archives import Archive, Member, find, store_all
from esol.prepare.state import Prepared, finish, start
from esol.settings import Data
from esol.system.files import require_room, write_atomic
from esol.system.progress import track

COCO14_COUNTS = {"train2014": 82783, "val2014": 40504, "classes": 80}
"""Photos of the official lists, and classes."""

MASKS = "masks"
"""Folder of the drawn masks, to be given as ``data.masks``."""

_SERVER = "http://images.cocodataset.org"
_SPLITS = ("train2014", "val2014")
_PLACES = {
    split: dict.fromkeys((f"{split}.zip", split), f"{_SERVER}/zips/{split}.zip")
    for split in _SPLITS
}
_ANNOTATIONS = f"{_SERVER}/annotations/annotations_trainval2014.zip"
_PLACES["annotations"] = dict.fromkeys(
    ("annotations_trainval2014.zip", "annotations"), _ANNOTATIONS
)
# Measured: 3.4 KB a mask on average, in blocks of the file system.
_MASK_BYTES = 8192


def prepare_coco14(
    archives: Path, out: Path, counts: Mapping[str, int] = COCO14_COUNTS
) -> Prepared:
    """Make a data folder with the photos and instances of train2014 and val2014.

    Semantic masks are drawn as by ``esol.data.coco.Renderer`` and kept in ``masks``, so that
    ``data.masks: masks`` gives the same pixels without drawing. A killed call resumes where it
    stopped; a finished folder is left alone.

    Args:
        archives: folder of the archives, or of their extracted folders.
        out: folder to make.
        counts: photos that each list must have, and the number of classes.

    Returns:
        The photos of each list and the number of classes.

    Raises:
        InputError: an archive is missing or damaged, the disk is too small, or ``out`` is in use.
    """
    parts = {part: a for part, places in _PLACES.items() if (a := find(archives, places))}
    if done := start(archives, out, "coco14", parts, _PLACES):
        return done
    with parts["annotations"].members() as members:
        instances = {m.name.name: m for m in members if m.name.parent.name == "annotations"}
        for split in _SPLITS:
            photos = _photos(parts["annotations"], instances, split, counts)
            _extract(parts[split], photos, out / split)
        # Written after the photos: without these files a folder is not taken for a data set.
        files = [f"instances_{split}.json" for split in _SPLITS]
        store_all([(instances[f], out / "annotations" / f) for f in files], out, "annotations")
    reading = read_coco(out, Data("coco", _SPLITS[0], _SPLITS[1:]))
    if reading.problems:
        raise InputError(reading.problems[0])
    _draw(reading, out)
    _write_labels(reading, out)
    return finish(out, "coco14", parts, dict(counts))


def _photos(
    archive: Archive, instances: Mapping[str, Member], split: str, counts: Mapping[str, int]
) -> set[str]:
    """File names of a list's photos; their number is checked before 20 GB are written."""
    file = f"instances_{split}.json"
    if file not in instances:
        raise archive.wrong(f"annotations/{file} is missing")
    try:
        content = json.loads(instances[file].read())
        photos = {str(image["file_name"]) for image in content["images"]}
        classes = len(content["categories"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise archive.wrong(f"annotations/{file} is not a COCO instances file") from error
    if len(photos) != counts[split]:
        raise archive.wrong(f"list {split} has {len(photos):,} photos, not {counts[split]:,}")
    if classes != counts["classes"]:
        raise archive.wrong(f"{file} has {classes} classes, not {counts['classes']}")
    return photos


def _extract(archive: Archive, photos: set[str], folder: Path) -> None:
    with archive.members() as members:
        index = {m.name.name: m for m in members if m.name.parent.name == folder.name}
        if missing := sorted(photos - index.keys()):
            what = f"{len(missing):,} of {len(photos):,} photos are missing"
            raise archive.wrong(f"{what} ({', '.join(missing[:3])})")
        pairs = [(member, folder / name) for name, member in index.items() if name in photos]
        store_all(pairs, folder.parent, folder.name)


def _draw(reading: Reading, out: Path) -> None:
    """Draw the masks of all photos; the folder gets its name when it is complete."""
    folder = out / MASKS if (out / MASKS).is_dir() else out / f"{MASKS}-unfinished"
    entries = [entry for split in reading.splits.values() for entry in split]
    todo = [entry for entry in entries if not (folder / f"{entry.name}.png").is_file()]
    require_room(out, len(todo) * _MASK_BYTES)
    done = len(entries) - len(todo)
    for entry in track(todo, MASKS, total=len(entries), start=done, unit="masks"):
        if reading.stored is not None and entry.mask is not None:
            save_mask(reading.stored(entry.mask), folder / f"{entry.name}.png")
    folder.rename(out / MASKS)


def _write_labels(reading: Reading, out: Path) -> None:
    """Tags of both lists; photos without an object are left out, as by coco14.yaml."""
    rows = ["image,labels,split"]
    for split, entries in reading.splits.items():
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.tags:
                # The semicolon at the end keeps "traffic light" one tag.
                rows.append(f"{split}/{entry.image.name},{';'.join(entry.tags)};,{split}")
    write_atomic(out / LABELS, "\n".join(rows) + "\n")
