"""CVAT for images 1.1: tags of images, and the labels of their shapes."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.labels import Row
from esol.data.tags.lists import list_of
from esol.settings import Data
from esol.system.read import entry, leads_out, read_xml

ANYWHERE = True


def recognise(path: Path, content: Any) -> bool:
    """Whether this is the root of such a file."""
    xml = isinstance(content, ElementTree.Element)
    return xml and content.tag == "annotations" and content.find("image") is not None


def read(path: Path, root: Path, settings: Data) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Rows of the file, one for each image, and what is wrong with others.

    Raises:
        InputError: an image is damaged.
    """
    rows, problems = [], []
    for image in read_xml(path).iter("image"):
        place = f"image {image.get('id', '?')}"
        with entry(f"{path}: {place}"):
            photo = PurePosixPath(image.attrib["name"].replace("\\", "/"))
            tags = {thing.attrib["label"] for thing in image if "label" in thing.attrib}
        if leads_out(photo):
            problems.append(f"{path}: {place}: {photo} leads out of the data folder: fix it")
        else:
            rows.append(Row(path, place, photo, tuple(sorted(tags)), _list(image, photo)))
    return tuple(rows), tuple(problems)


def _list(image: ElementTree.Element, photo: PurePosixPath) -> str:
    """CVAT's subset, but for the one that it calls default."""
    subset = image.get("subset", "")
    return subset.lower() if subset and subset.lower() != "default" else list_of(photo)
