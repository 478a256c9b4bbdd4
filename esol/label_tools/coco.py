"""COCO instances: a JSON file with run lengths or polygons."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from esol.data.shapes import polygon_region, run_length_region
from esol.errors import InputError
from esol.label_tools.album import Album, Corrected, Photo, check_size
from esol.label_tools.polygons import outlines
from esol.label_tools.regions import Region, Regions, paint
from esol.system.files import write_atomic
from esol.system.read import entry, listed, read_json


def write(album: Album, regions: Regions, out: Path, tolerance: float | None, objects: str) -> None:
    """Write a COCO instances file: an annotation per region.

    Category ids are mask values (255: ignored pixels), ``file_name`` is relative to the data
    folder. ``out`` is NAME.json; ``tolerance``: of polygons, pixels, None for run lengths;
    ``objects`` says what the regions are.
    """
    if out.suffix.lower() != ".json":
        raise InputError(f"{out}: COCO is one JSON file: name it NAME.json")
    images, annotations, numbers, used = [], [], count(1), set(range(1, len(album.classes) + 1))
    for index, photo in enumerate(album.photos, start=1):
        height, width = photo.size
        images.append({"id": index, "file_name": photo.file, "height": height, "width": width})
        for value, region in regions(photo):
            used.add(value)
            ids = {"id": next(numbers), "image_id": index, "category_id": value}
            annotations.append({**ids, "iscrowd": 0, **_shape(region, tolerance)})
    names = {value: album.label(value) for value in sorted(used)}
    content = {
        "info": {"description": f"ESOL masks; annotations: {objects}"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": v, "name": name, "supercategory": ""} for v, name in names.items()],
    }
    write_atomic(out, json.dumps(content, ensure_ascii=False))


def _shape(region: NDArray[np.bool_], tolerance: float | None) -> dict[str, Any]:
    coded = run_lengths.encode(np.asfortranarray(region, np.uint8))
    text = {"size": list(region.shape), "counts": coded["counts"].decode()}
    rings = None if tolerance is None else outlines(region, tolerance)
    return {
        "segmentation": text if rings is None else [np.ravel(ring).tolist() for ring in rings],
        "area": int(region.sum()),
        "bbox": run_lengths.toBbox(coded).tolist(),
    }


def read(path: Path, album: Album) -> Iterator[Corrected | None]:
    """Masks of a COCO instances file, one for each of its images that has annotations.

    None for every other image: such files do not tell an empty photo from one that nobody opened.
    Where annotations overlap, the smaller one is on top, as everywhere in ESOL. A damaged file, or
    a photo or class that the run does not have, is an InputError.
    """
    content = read_json(path, "export it again")
    with entry(str(path)):
        groups = {key: content[key] for key in ("images", "annotations", "categories")}
    values: dict[Any, int] = {}
    for category in listed(groups["categories"], path, "categories"):
        with entry(f"{path}: categories"):
            values[category["id"]] = album.value(str(category["name"]), f"{path}: categories")
    shapes: dict[Any, list[dict[str, Any]]] = {}
    for shape in listed(groups["annotations"], path, "annotations"):
        with entry(f"{path}: annotations"):
            shapes.setdefault(shape["image_id"], []).append(shape)
    for image in listed(groups["images"], path, "images"):
        with entry(f"{path}: images"):
            number, where = image["id"], f"{path}: image {image['id']}"
            photo = album.find(image["file_name"], where)
            check_size(photo, (int(image["height"]), int(image["width"])), where)
            annotations = shapes.pop(number, [])
        if not annotations:
            yield None
            continue
        layers = [_layer(shape, photo, values, path) for shape in annotations]
        layers.sort(key=lambda layer: int(layer[1].sum()), reverse=True)
        yield photo, paint(layers, photo.size)
    for number in shapes:
        raise InputError(f"{path}: annotations of image {number}, which is missing: remove them")


def _layer(shape: dict[str, Any], photo: Photo, values: dict[Any, int], path: Path) -> Region:
    where = f"{path}: annotation {shape.get('id', '?')}"
    with entry(where):
        value, segmentation = values[shape["category_id"]], shape["segmentation"]
        if isinstance(segmentation, list):
            if not segmentation:
                raise InputError(f"{where}: a box without a mask: draw it, or remove it")
            return value, polygon_region(segmentation, photo.size)
        height, width = segmentation["size"]
        check_size(photo, (height, width), where)
        return value, run_length_region(segmentation["counts"], photo.size)
