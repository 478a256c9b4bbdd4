"""CVAT for images 1.1: an XML file with masks as run lengths, or polygons."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esol.data.images import palette
from esol.data.shapes import filled
from esol.errors import InputError
from esol.label_tools import voc
from esol.label_tools.album import Album, Photo, check_size
from esol.label_tools.coco import Masks
from esol.label_tools.polygons import outlines
from esol.label_tools.regions import Region, painted, regions, used_values
from esol.system.files import write_atomic
from esol.system.read import entry, read_xml

SHAPES = ("mask", "polygon")

_IN_THE_WAY = ("box", "ellipse", "polyline", "points", "cuboid", "skeleton")


def write(album: Album, masks: Masks, out: Path, tolerance: float | None) -> None:
    """Write masks for CVAT, and the labels of the task beside them as NAME.labels.json.

    NAME.xml is "CVAT for images 1.1": images are called by their paths in the data folder.
    NAME.zip is "Segmentation mask 1.1".

    Args:
        album: photos and classes.
        masks: (H, W) mask of a photo.
        out: NAME.xml or NAME.zip.
        tolerance: of polygons, pixels; None: masks. NAME.zip has masks only.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    if out.suffix.lower() not in (".xml", ".zip"):
        raise InputError(
            f"{out}: name it NAME.xml (CVAT for images 1.1) or NAME.zip (Segmentation mask 1.1)"
        )
    if out.suffix.lower() == ".zip":
        if tolerance is not None:
            raise InputError(f"{out}: Segmentation mask 1.1 has no polygons: name it NAME.xml")
        used = voc.write_archive(album, masks, out)
    else:
        used = _write_xml(album, masks, out, tolerance)
    colours = palette()
    labels = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*colours[value]), "attributes": []}
        for name, value in used_values(album, used).items()
    ]
    write_atomic(out.with_suffix(".labels.json"), json.dumps(labels, ensure_ascii=False, indent=1))


def _write_xml(album: Album, masks: Masks, out: Path, tolerance: float | None) -> set[int]:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    used: set[int] = set()
    for index, photo in enumerate(album.photos):
        height, width = photo.size
        image = ElementTree.SubElement(
            root,
            "image",
            {"id": str(index), "name": photo.file, "width": str(width), "height": str(height)},
        )
        for value, region in regions(masks(photo)):
            used.add(value)
            common = {"label": album.label(value), "source": "auto", "occluded": "0"}
            for kind, shape in _shapes(region, tolerance):
                ElementTree.SubElement(image, kind, common | shape | {"z_order": "0"})
    ElementTree.indent(root)
    write_atomic(out, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    return used


def _shapes(
    region: NDArray[np.bool_], tolerance: float | None
) -> Iterator[tuple[str, dict[str, str]]]:
    if tolerance is not None:
        for ring in outlines(region, tolerance):
            yield "polygon", {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)}
        return
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    box = region[top : rows[-1] + 1, left : columns[-1] + 1]
    edges = np.flatnonzero(np.diff(box.ravel(), prepend=False, append=not box[-1, -1]))
    # Runs begin with one of pixels outside, which may be empty.
    runs = np.diff(edges, prepend=0)
    yield (
        "mask",
        {
            "rle": ", ".join(map(str, runs.tolist())),
            "left": str(left),
            "top": str(top),
            "width": str(box.shape[1]),
            "height": str(box.shape[0]),
        },
    )


def read(path: Path, album: Album) -> Iterator[tuple[Photo, NDArray[np.uint8]]]:
    """Masks of either of CVAT's formats, one for each image in it.

    Shapes of an XML file are drawn in the order of ``z_order``, then of the file; tags are left
    alone.

    Raises:
        InputError: the file is damaged, has shapes that are no regions, or names a photo or label
            that the run has not.
    """
    if path.suffix.lower() != ".xml":
        yield from voc.read(path, album)
        return
    root = read_xml(path)
    if root.tag != "annotations":
        raise InputError(f"{path}: <{root.tag}> instead of <annotations>: not CVAT for images 1.1")
    for image in root.iter("image"):
        where = f"{path}: image {image.get('id', '?')}"
        with entry(where):
            photo = album.find(image.attrib["name"], where)
            check_size(photo, (int(image.attrib["height"]), int(image.attrib["width"])), where)
        found = [shape for shape in image if shape.tag in (*SHAPES, *_IN_THE_WAY)]
        with entry(where):
            found.sort(key=lambda shape: int(shape.get("z_order", "0")))
        layers = (_layer(shape, photo, album, where) for shape in found)
        yield photo, painted(layers, photo.size)


def _layer(shape: ElementTree.Element, photo: Photo, album: Album, where: str) -> Region:
    if shape.tag not in SHAPES:
        raise InputError(f"{where}: a {shape.tag}, which is no region: draw a mask or a polygon")
    with entry(where):
        value = album.value(shape.attrib["label"], where)
        if shape.tag == "polygon":
            points = [pair.split(",") for pair in shape.attrib["points"].split(";")]
            return value, filled([[float(v) for pair in points for v in pair]], photo.size)
        return value, _unrun(shape, photo.size)


def _unrun(shape: ElementTree.Element, size: tuple[int, int]) -> NDArray[np.bool_]:
    left, top, width, height = (int(shape.attrib[k]) for k in ("left", "top", "width", "height"))
    runs = np.array([int(run) for run in shape.attrib["rle"].split(",")], np.int64)
    inside = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    wrong = (runs < 0) | (runs > size[0] * size[1])
    if not inside or wrong.any() or runs.sum() != width * height:
        raise ValueError("run lengths do not fill their box, or it leaves the photo")
    region = np.zeros(size, bool)
    box = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    region[top : top + height, left : left + width] = box.reshape(height, width)
    return region
