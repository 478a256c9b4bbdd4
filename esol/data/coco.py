"""COCO: images and an instances JSON, from which tags and semantic masks are derived."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import coco as pycocotools_coco

from esol.data.colours import find_colours
from esol.data.images import PIXEL_LIMIT
from esol.data.masks import MaskReader, mask_files, mask_folder
from esol.data.names import composed, on_disk
from esol.data.reading import Entry, Reading, require_lists
from esol.data.shapes import polygon_region, run_length_region
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import entry, leads_out, read_json

# pycocotools has no types.
_COCO: Any = pycocotools_coco.COCO

_PREFIX = "instances_"
_KEYS: Mapping[str, Mapping[str, type | UnionType]] = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "annotations": {"id": int, "image_id": int, "category_id": int},
    "categories": {"id": int, "name": str},
}
_DRAWN: Mapping[str, type | UnionType] = {"area": int | float, "segmentation": list | dict}
"""What an annotation with a segmentation must also have."""


@dataclass(frozen=True)
class Renderer:
    """Draws semantic masks from instances.

    Each pixel takes the class of the smallest annotation that covers it (by the file's ``area``,
    ties by the lower annotation id), so that a fork on a plate on a table stays visible. Crowd
    regions are drawn by the same rule: a crowd of people is made of person pixels.
    """

    instances: Mapping[str, Any]
    value: Mapping[int, int]
    """Mask value, 1 .. K, of every category id."""

    def __call__(self, key: Path) -> NDArray[np.uint8]:
        """(H, W) uint8 mask of the image with the key ``annotations/instances_LIST.json/ID``.

        An annotation without a region, or with a damaged one, is an InputError.
        """
        coco = self.instances[key.parent.stem.removeprefix(_PREFIX)]
        image = coco.imgs[int(key.name)]
        mask = np.zeros((image["height"], image["width"]), dtype=np.uint8)
        instances = coco.imgToAnns[image["id"]]
        for instance in sorted(instances, key=lambda a: (a.get("area", 0), a["id"]), reverse=True):
            where = f"{key.parent}: annotation id {instance['id']}"
            shape = instance.get("segmentation")
            if not shape:
                raise InputError(f"{where}: no segmentation: add it, or evaluate another list")
            with entry(where):
                mask[_region(shape, mask.shape)] = self.value[instance["category_id"]]
        return mask


def _region(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    if isinstance(segmentation, list):
        # Some files have polygons of fewer than three corners, which are empty.
        return polygon_region([ring for ring in segmentation if len(ring) >= 6], size)
    if tuple(segmentation["size"]) != size:
        raise ValueError(f"of {segmentation['size']} pixels, the photo of {list(size)}")
    return run_length_region(segmentation["counts"], size)


def read_coco(root: Path, settings: Data) -> Reading:
    """Read instances files and collect all problems; an InputError if a file is not readable."""
    if settings.labels:
        raise InputError("data.labels: COCO tags come from the instances file: remove the setting")
    mask_root = mask_folder(root, settings, ())
    files = (root / "annotations").glob(f"{_PREFIX}*.json")
    available = [path.stem.removeprefix(_PREFIX) for path in files]
    instances = {
        split: _load(_file(root, split)) for split in require_lists(root, settings, available)
    }
    categories = _categories(root, instances)
    classes = tuple(dict.fromkeys(categories.values()))
    warnings = _same_names(root, settings, categories)
    problems: list[str] = []
    every = (a for coco in instances.values() for a in coco.dataset["annotations"])
    drawn = mask_root is not None or any(annotation.get("segmentation") for annotation in every)
    splits = {
        split: _entries(root, split, coco, categories, mask_root, drawn, problems)
        for split, coco in instances.items()
    }
    table = find_colours(mask_root, root) if mask_root else None
    ready = MaskReader(classes, table) if mask_root else None
    value = {category: classes.index(name) + 1 for category, name in categories.items()}
    return Reading(
        kind="coco",
        root=root,
        known=classes,
        splits=splits,
        problems=tuple(problems),
        mask_set=settings.masks or ("instances" if drawn else ""),
        stored=ready or (Renderer(instances, value) if drawn else None),
        colours=table.file if table else None,
        available=tuple(sorted(available)),
        tag_set="instances" if drawn else "instances (boxes only)",
        warnings=warnings,
    )


def _file(root: Path, split: str) -> Path:
    return root / "annotations" / f"{_PREFIX}{split}.json"


def _load(file: Path) -> Any:
    content = read_json(file, "export it again")
    for group, keys in _KEYS.items():
        things = content.get(group) if isinstance(content, dict) else None
        if not isinstance(things, list):
            raise InputError(f"{file}: no list {group!r}: not a COCO instances file")
        for thing in things:
            if fault := _fault(thing, keys):
                number = thing.get("id", "?") if isinstance(thing, dict) else "?"
                raise InputError(f"{file}: {group} id {number}: {fault}")
    coco = _COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _fault(thing: Any, keys: Mapping[str, type | UnionType]) -> str:
    """What is wrong with the form of an image, annotation or category, or ""."""
    if not isinstance(thing, dict):
        return f"{thing!r:.40} is not an object: remove it"
    drawn = _DRAWN if thing.get("segmentation") else {}
    for key, kind in (*keys.items(), *drawn.items()):
        if key not in thing:
            return f"{key!r} is missing: add it"
        if not isinstance(thing[key], kind):
            return f"{key!r} is {thing[key]!r:.40}: give {getattr(kind, '__name__', kind)}"
    if "height" in keys and not 0 < thing["height"] * thing["width"] <= PIXEL_LIMIT:
        return f"{thing['width']} x {thing['height']} pixels: give those of the photo"
    return ""


def _categories(root: Path, instances: Mapping[str, Any]) -> dict[int, str]:
    """Class name by category id, in the order of ids; the same in every file."""
    first = next(iter(instances))
    tables = {
        split: {c["id"]: str(c["name"]) for c in coco.dataset["categories"]}
        for split, coco in instances.items()
    }
    for split, table in tables.items():
        if table != tables[first]:
            raise InputError(f"{_file(root, split)}: categories unlike {first}'s: unify them")
    return dict(sorted(tables[first].items()))


def _same_names(root: Path, settings: Data, categories: Mapping[int, str]) -> tuple[str, ...]:
    """Warnings of categories that become one class; with ready masks, an InputError."""
    file = _file(root, settings.train)
    ids: dict[str, list[int]] = {}
    for category, name in categories.items():
        ids.setdefault(name, []).append(category)
    lines = [
        f"{file}: categories {' and '.join(map(str, numbers))} are all called {name!r}"
        for name, numbers in ids.items()
        if len(numbers) > 1
    ]
    if lines and settings.masks:
        raise InputError(f"{lines[0]}: what do their values in {settings.masks} mean? rename one")
    return tuple(f"{line}: they are taken for one class" for line in lines)


def _entries(
    root: Path,
    split: str,
    coco: Any,
    categories: Mapping[int, str],
    mask_root: Path | None,
    drawn: bool,
    problems: list[str],
) -> tuple[Entry, ...]:
    file = _file(root, split)
    folders = [root / inner for inner in (split, f"images/{split}", "images", ".")]
    folders = [folder for folder in folders if folder.is_dir()]
    entries: dict[str, Entry] = {}
    paths = [PurePosixPath(image["file_name"]) for image in coco.dataset["images"]]
    masks = mask_files(mask_root, {composed(str(p.with_suffix(""))) for p in paths if p.name})
    for image in coco.dataset["images"]:
        path = PurePosixPath(image["file_name"])
        name = str(path.with_suffix("")) if path.name else ""
        where = f"{file}: image id {image['id']}"
        photo = _photo(path, folders)
        if isinstance(photo, str) or name in entries:
            reason = photo if isinstance(photo, str) else f"{path} comes twice"
            problems.append(f"{where}: {reason}")
            continue
        used = {a["category_id"] for a in coco.imgToAnns[image["id"]]}
        if unknown := used - categories.keys():
            problems.append(f"{where}: category {min(unknown)} is not listed: add it")
        tags = tuple(sorted({categories[c] for c in used - unknown}))
        drawn_mask = file / str(image["id"]) if drawn else None
        mask = masks.get(composed(name)) if mask_root else drawn_mask
        entries[name] = Entry(name, photo, tags, mask)
    return tuple(entries.values())


def _photo(path: PurePosixPath, folders: Sequence[Path]) -> Path | str:
    """The photo in the first folder that has it, or the problem."""
    if not path.name or leads_out(path):
        return f"{path} leads out of the data folder"
    for folder in folders:
        if found := on_disk(folder, str(path)):
            return found
    return f"{folders[0] / path} is missing: add the photo"
