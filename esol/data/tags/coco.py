"""COCO's JSON of any task, boxes alone will do: tags are the categories of annotations."""

from pathlib import Path, PurePosixPath
from typing import Any

from esol.data.labels import Row
from esol.data.tags.lists import folder_of, list_of
from esol.settings import Data
from esol.system.read import entry, leads_out, listed, read_json

ANYWHERE = True

_GROUPS = {"images", "annotations", "categories"}


def recognise(path: Path, content: Any) -> bool:
    """Whether this is the content of such a file."""
    return isinstance(content, dict) and content.keys() >= _GROUPS


def read(path: Path, root: Path, settings: Data) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Rows of the file, one for each image, and what is wrong with others.

    Raises:
        InputError: an entry is damaged.
    """
    content, names, tags = read_json(path, "export it again"), {}, dict[Any, set[str]]()
    for category in listed(content["categories"], path, "categories"):
        with entry(f"{path}: categories"):
            names[category["id"]] = str(category["name"])
    for number, annotation in enumerate(listed(content["annotations"], path, "annotations")):
        with entry(f"{path}: annotation {annotation.get('id', number)}"):
            name = names[annotation["category_id"]]
            tags.setdefault(annotation["image_id"], set()).add(name)
    rows, problems = [], []
    folder = folder_of(path, root)
    for image in listed(content["images"], path, "images"):
        place = f"image {image.get('id', '?')}"
        with entry(f"{path}: {place}"):
            file = PurePosixPath(str(image["file_name"]).replace("\\", "/"))
            found = tuple(sorted(tags.get(image["id"], ())))
        if leads_out(file) or not file.parts:
            problems.append(f"{path}: {place}: {file} leads out of the data folder: fix it")
        else:
            rows.append(Row(path, place, folder / file, found, list_of(folder / file)))
    return tuple(rows), tuple(problems)
