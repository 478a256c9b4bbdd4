"""CVAT for images 1.1: tags of images, and the labels of their shapes."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row
from esol.data.sample import BACKGROUND
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import entry, leads_out, read_xml

TITLE = "CVAT for images 1.1"
FILE = "`.xml`; not CVAT for video"
TAGS = "image tags, and labels of shapes; `subset` is the list"
UNTAGGED = (
    "negative if the image has the tag `background`; else left out, as the file does not say "
    "which images are finished"
)
ANYWHERE = True


def recognise(path: Path, content: Any) -> bool:
    """Whether the content is the root of such a file."""
    is_xml = isinstance(content, ElementTree.Element) and content.tag == "annotations"
    return is_xml and any(content.find(kind) is not None for kind in ("image", "track"))


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each image; an InputError if the file is damaged."""
    for image in images_of(path):
        place = f"image {image.get('id', '?')}"
        with entry(f"{path}: {place}"):
            photo = PurePosixPath(image.attrib["name"].replace("\\", "/"))
            tags = {thing.attrib["label"] for thing in image if "label" in thing.attrib}
            tags -= {BACKGROUND}
        if leads_out(photo):
            yield f"{path}: {place}: {photo} leads out of the data folder: fix it"
        else:
            names, finished = tuple(sorted(tags)), bool(tags) or says_empty(image)
            yield Row(path, place, photo, names, _list(image), finished)


def images_of(path: Path) -> list[ElementTree.Element]:
    """The images of such a file; an InputError if it is none, or CVAT's format for video."""
    root = read_xml(path)
    if root.tag != "annotations":
        raise InputError(f"{path}: <{root.tag}> instead of <annotations>: not CVAT for images 1.1")
    if root.find("track") is not None:
        raise InputError(f"{path}: CVAT for video: export the task as CVAT for images 1.1")
    return list(root.iter("image"))


def says_empty(image: ElementTree.Element) -> bool:
    """Whether an image says that nothing is in it: CVAT's files tell no other way if it is done."""
    return any(tag.get("label") == BACKGROUND for tag in image.iter("tag"))


def _list(image: ElementTree.Element) -> str | None:
    """CVAT's subset, unless it is called default."""
    subset = image.get("subset", "")
    return subset.lower() if subset and subset.lower() != "default" else None
