"""Label Studio: tasks with predictions as JSON, and the labelling interface that fits."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from esol.data.images import palette
from esol.data.shapes import polygon_region
from esol.data.tags.labelstudio import address_of, photo_of, says_empty, submitted
from esol.errors import InputError
from esol.label_tools.album import Album, Corrected, Photo, check_size
from esol.label_tools.brush import decode, encode
from esol.label_tools.polygons import outlines
from esol.label_tools.regions import Region, Regions, paint, used_values
from esol.system.files import write_atomic
from esol.system.read import entry, listed, read_json

PREFIX = "/data/local-files/?d="
"""Label Studio's address of files in its LOCAL_FILES_DOCUMENT_ROOT."""

_TAGS = {"brushlabels": "BrushLabels", "polygonlabels": "PolygonLabels"}

_SHAPES = ("bitmask", "brush", "ellipse", "keypoint", "polygon", "rectangle", "vector")
"""Regions that the annotator drew without a label."""


def write(
    album: Album, regions: Regions, out: Path, tolerance: float | None, prefix: str = PREFIX
) -> None:
    """Write tasks with predictions, and the labelling interface beside them as NAME.config.xml.

    ``out`` is NAME.json; ``tolerance``: of polygons, pixels, None for brush masks; ``prefix``
    precedes a photo's path in its address.
    """
    if out.suffix.lower() != ".json":
        raise InputError(f"{out}: Label Studio's tasks are a JSON file: name it NAME.json")
    tasks, used = [], set[int]()
    for photo in album.photos:
        results: list[dict[str, Any]] = []
        for value, region in regions(photo):
            used.add(value)
            for kind, shape in _shapes(region, tolerance):
                labelled = {**shape, kind: [album.label(value)]}
                results.append(_result(f"esol-{len(results)}", kind, labelled, photo))
        data = {"image": prefix + quote(photo.file), "photo": photo.name}
        prediction = {"model_version": "esol", "result": results}
        tasks.append({"data": data, "predictions": [prediction]})
    kind = "brushlabels" if tolerance is None else "polygonlabels"
    write_atomic(out, json.dumps(tasks, ensure_ascii=False))
    write_atomic(out.with_suffix(".config.xml"), _interface(used_values(album, used), kind))


def _shapes(region: NDArray[np.bool_], tolerance: float | None) -> list[tuple[str, Any]]:
    if tolerance is None:
        return [("brushlabels", {"format": "rle", "rle": encode(region)})]
    height, width = region.shape
    rings = outlines(region, tolerance)
    percent = ([[100 * x / width, 100 * y / height] for x, y in ring] for ring in rings)
    return [("polygonlabels", {"points": points, "closed": True}) for points in percent]


def _result(identity: str, kind: str, value: dict[str, Any], photo: Photo) -> dict[str, Any]:
    return {
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": photo.size[1],
        "original_height": photo.size[0],
        "image_rotation": 0,
        "value": value,
        "id": identity,
    }


def _interface(values: dict[str, int], kind: str) -> str:
    view, colours = ElementTree.Element("View"), palette()
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    labels = ElementTree.SubElement(view, _TAGS[kind], {"name": "label", "toName": "image"})
    for name, value in values.items():
        colour = "#{:02x}{:02x}{:02x}".format(*colours[value])
        ElementTree.SubElement(labels, "Label", {"value": name, "background": colour})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def read(path: Path, album: Album) -> Iterator[Corrected | None]:
    """Masks of Label Studio's JSON export, one for each task with regions, or submitted as empty.

    None for every other task: without annotation, cancelled, or with results of other controls
    only. Later regions cover earlier ones.

    Raises:
        InputError: the file is damaged, a task has several annotations or regions of another kind,
            or names a photo or label that the run does not have.
    """
    tasks = listed(read_json(path, "export it again"), path, "tasks")
    for number, task in enumerate(tasks, start=1):
        where = f"{path}: task {task.get('id', number)}"
        with entry(where):
            if "annotations" not in task and "predictions" in task:
                # As esol export wrote it: nobody has annotated it.
                yield None
                continue
            if "annotations" not in task or "data" not in task:
                raise InputError(f"{where}: no annotations: export as JSON, not as JSON-MIN")
            valid = submitted(task)
            if len(valid) > 1:
                raise InputError(f"{where}: {len(valid)} annotations: keep one of them")
            drawn = [r for one in valid for r in one["result"] if _is_region(r["type"])]
            if not drawn and not any(map(says_empty, valid)):
                yield None
                continue
            data = task["data"]
            photo = album.find(str(data.get("photo") or photo_of(address_of(data))), where)
            layers = [_layer(result, photo, album, where) for result in drawn]
        yield photo, paint(layers, photo.size)


def _is_region(kind: str) -> bool:
    """Whether results of a type are drawn; relations, choices, ratings and texts are not."""
    return kind in _SHAPES or (kind.endswith("labels") and kind != "labels")


def _layer(result: dict[str, Any], photo: Photo, album: Album, where: str) -> Region:
    kind, value = result["type"], result["value"]
    if kind not in _TAGS:
        raise InputError(f"{where}: a region of type {kind}: draw it with brush or polygon")
    if result.get("image_rotation"):
        raise InputError(f"{where}: the photo was turned: turn it back and export again")
    check_size(photo, (result["original_height"], result["original_width"]), where)
    labels = value.get(kind, [])
    if len(labels) != 1:
        raise InputError(f"{where}: a region with {len(labels)} labels: give it one")
    number = album.value(labels[0], where)
    if kind == "brushlabels":
        return number, decode(value["rle"], photo.size)
    height, width = photo.size
    ring = [part for x, y in value["points"] for part in (x * width / 100, y * height / 100)]
    return number, polygon_region([ring], photo.size)
