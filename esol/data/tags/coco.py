"""COCO's JSON of any task, also boxes only: tags are the categories of annotations."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.reading import Row, folder_of
from esol.settings import Data
from esol.system.read import entry, leads_out, listed, read_json

TITLE = "COCO annotations"
FILE = "`.json` with `images`, `annotations`, `categories`"
TAGS = "categories of the annotations; boxes are enough"
UNTAGGED = "negative"
ANYWHERE = True

_GROUPS = {"images", "annotations", "categories"}


def recognise(path: Path, content: Any) -> bool:
    """Whether the content is that of such a file."""
    return isinstance(content, dict) and content.keys() >= _GROUPS


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each image; an InputError if the file is damaged."""
    content, names, tags = read_json(path, "export it again"), {}, dict[Any, set[str]]()
    for category in listed(content["categories"], path, "categories"):
        with entry(f"{path}: categories"):
            names[category["id"]] = str(category["name"])
    for number, annotation in enumerate(listed(content["annotations"], path, "annotations")):
        with entry(f"{path}: annotation {annotation.get('id', number)}"):
            name = names[annotation["category_id"]]
            tags.setdefault(annotation["image_id"], set()).add(name)
    folder = folder_of(path, root)
    for image in listed(content["images"], path, "images"):
        place = f"image {image.get('id', '?')}"
        with entry(f"{path}: {place}"):
            file = PurePosixPath(str(image["file_name"]).replace("\\", "/"))
            names_of = tuple(sorted(tags.get(image["id"], ())))
        if leads_out(file) or not file.parts:
            yield f"{path}: {place}: {file} leads out of the data folder: fix it"
        else:
            yield Row(path, place, folder / file, names_of, None)
