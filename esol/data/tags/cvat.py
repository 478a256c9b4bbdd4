"""CVAT for images 1.1: tags of images, and the labels of their shapes."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row, list_of
from esol.settings import Data
from esol.system.read import entry, leads_out, read_xml

ANYWHERE = True


def recognise(path: Path, content: Any) -> bool:
    """Whether the content is the root of such a file."""
    is_xml = isinstance(content, ElementTree.Element)
    return is_xml and content.tag == "annotations" and content.find("image") is not None


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each image; an InputError if the file is damaged."""
    for image in read_xml(path).iter("image"):
        place = f"image {image.get('id', '?')}"
        with entry(f"{path}: {place}"):
            photo = PurePosixPath(image.attrib["name"].replace("\\", "/"))
            tags = {thing.attrib["label"] for thing in image if "label" in thing.attrib}
        if leads_out(photo):
            yield f"{path}: {place}: {photo} leads out of the data folder: fix it"
        else:
            # The file does not say which images are finished.
            names = tuple(sorted(tags))
            yield Row(path, place, photo, names, _list(image, photo), finished=bool(names))


def _list(image: ElementTree.Element, photo: PurePosixPath) -> str:
    """CVAT's subset, unless it is called default."""
    subset = image.get("subset", "")
    return subset.lower() if subset and subset.lower() != "default" else list_of(photo)
