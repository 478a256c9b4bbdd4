"""CVAT for images 1.1: an XML file with masks as run lengths, or polygons."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esol.data.images import palette
from esol.data.shapes import polygon_region, run_length_region
from esol.data.tags.cvat import images_of, says_empty
from esol.errors import InputError
from esol.label_tools import voc
from esol.label_tools.album import Album, Corrected, Photo, check_size
from esol.label_tools.polygons import outlines
from esol.label_tools.regions import Region, Regions, paint, used_values
from esol.system.files import write_atomic
from esol.system.read import entry

SHAPES = ("mask", "polygon")

_NOT_REGIONS = ("box", "ellipse", "polyline", "points", "cuboid", "skeleton")


def write(album: Album, regions: Regions, out: Path, tolerance: float | None) -> None:
    """Write masks for CVAT, and the labels of the task beside them as NAME.labels.json.

    NAME.xml is "CVAT for images 1.1", with images named by their paths in the data folder, and
    polygons of that tolerance (pixels; None: masks). NAME.zip is "Segmentation mask 1.1".
    """
    if out.suffix.lower() not in (".xml", ".zip"):
        names = "NAME.xml (CVAT for images 1.1) or NAME.zip (Segmentation mask 1.1)"
        raise InputError(f"{out}: name it {names}")
    if out.suffix.lower() == ".zip":
        used = voc.write_archive(album, lambda photo: paint(regions(photo), photo.size), out)
    else:
        used = _write_xml(album, regions, out, tolerance)
    colours = palette()
    labels = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*colours[value]), "attributes": []}
        for name, value in used_values(album, used).items()
    ]
    write_atomic(out.with_suffix(".labels.json"), json.dumps(labels, ensure_ascii=False, indent=1))


def _write_xml(album: Album, regions: Regions, out: Path, tolerance: float | None) -> set[int]:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    used: set[int] = set()
    for index, photo in enumerate(album.photos):
        height, width = photo.size
        size = {"width": str(width), "height": str(height)}
        image = ElementTree.SubElement(
            root, "image", {"id": str(index), "name": photo.file, **size}
        )
        for value, region in regions(photo):
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
    # The first run is one of pixels outside, and may be empty.
    runs = np.diff(edges, prepend=0).tolist()
    place = {"left": left, "top": top, "width": box.shape[1], "height": box.shape[0]}
    values = {"rle": ", ".join(map(str, runs)), **place}
    yield "mask", {key: str(value) for key, value in values.items()}


def read(path: Path, album: Album) -> Iterator[Corrected | None]:
    """Masks of either of CVAT's formats, one for each image with shapes, or tagged "background".

    None for every other image of an XML file, which nobody may have opened. Shapes are drawn by
    ``z_order``, then in the order of the file; other tags are ignored.

    Raises:
        InputError: the file is damaged, has shapes that are not regions, or names a photo or label
            that the run does not have.
    """
    if path.suffix.lower() != ".xml":
        yield from voc.read(path, album)
        return
    for image in images_of(path):
        where = f"{path}: image {image.get('id', '?')}"
        shapes = [shape for shape in image if shape.tag in (*SHAPES, *_NOT_REGIONS)]
        if not shapes and not says_empty(image):
            yield None
            continue
        with entry(where):
            photo = album.find(image.attrib["name"], where)
            check_size(photo, (int(image.attrib["height"]), int(image.attrib["width"])), where)
            shapes.sort(key=lambda shape: int(shape.get("z_order", "0")))
        layers = (_layer(shape, photo, album, where) for shape in shapes)
        yield photo, paint(layers, photo.size)


def _layer(shape: ElementTree.Element, photo: Photo, album: Album, where: str) -> Region:
    if shape.tag not in SHAPES:
        raise InputError(f"{where}: a {shape.tag}, which is not a region: draw a mask or a polygon")
    with entry(where):
        value = album.value(shape.attrib["label"], where)
        if shape.tag == "polygon":
            points = [pair.split(",") for pair in shape.attrib["points"].split(";")]
            return value, polygon_region([[float(v) for pair in points for v in pair]], photo.size)
        return value, _mask_region(shape, photo.size)


def _mask_region(shape: ElementTree.Element, size: tuple[int, int]) -> NDArray[np.bool_]:
    left, top, width, height = (int(shape.attrib[k]) for k in ("left", "top", "width", "height"))
    if not (0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]):
        raise ValueError("the box of a mask leaves the photo")
    region = np.zeros(size, bool)
    # CVAT's runs go along the rows.
    runs = [int(run) for run in shape.attrib["rle"].split(",")]
    region[top : top + height, left : left + width] = run_length_region(runs, (width, height)).T
    return region
