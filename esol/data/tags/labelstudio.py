"""Label Studio's JSON export: choices, and the labels of regions."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from esol.data.reading import Row
from esol.settings import Data
from esol.system.read import entry, leads_out, read_json

TITLE = "Label Studio"
FILE = "the JSON export (not JSON-MIN)"
TAGS = (
    "choices of the annotation, and labels of its regions (ratings, texts, relations and "
    "other controls are passed over); annotations of one task must agree"
)
UNTAGGED = (
    "negative if the task has an annotation without any result; without annotation, skipped, "
    "or with no more than a rating or text, it is left out"
)
ANYWHERE = True

_UPLOADED = re.compile(r"[0-9a-f]{8}-")


def recognise(path: Path, content: Any) -> bool:
    """Whether the content is a list of tasks."""
    return isinstance(content, list) and any(
        isinstance(task, dict) and {"data", "annotations"} <= task.keys() for task in content
    )


def read(path: Path, root: Path, settings: Data) -> Iterator[Row | str]:
    """A row or a problem for each task; an InputError if the file is damaged.

    Cancelled annotations do not count; several annotations of a task must agree. A task without a
    tag is finished if an annotation says that nothing is in the photo.
    """
    for number, task in enumerate(read_json(path, "export it again"), start=1):
        with entry(f"{path}: task {number}"):
            place = f"task {task.get('id', number)}"
            image = PurePosixPath(photo_of(address_of(task["data"])))
            annotations = submitted(task)
            choices = {_tags(annotation["result"]) for annotation in annotations}
            empty = any(map(says_empty, annotations))
        if leads_out(image):
            yield f"{path}: {place}: {image} leads out of the data folder: fix it"
        elif len(choices) > 1:
            yield f"{path}: {place}: annotations with different tags: keep one"
        else:
            tags = next(iter(choices), ())
            yield Row(path, place, image, tags, None, finished=bool(tags) or empty)


def submitted(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Annotations of a task that were not cancelled."""
    return [one for one in task["annotations"] if not one.get("was_cancelled")]


def says_empty(annotation: dict[str, Any]) -> bool:
    """Whether a submitted annotation says that nothing is in the photo."""
    return not annotation["result"]


def address_of(data: dict[str, Any]) -> str:
    """Address of a task's photo: under "image", else the only text with a slash."""
    if isinstance(data.get("image"), str):
        return str(data["image"])
    addresses = [v for v in data.values() if isinstance(v, str) and "/" in v]
    if len(addresses) != 1:
        raise ValueError("no address of a photo under 'image'")
    return addresses[0]


def photo_of(address: str) -> str:
    """Path of a photo, as far as its address gives it.

    >>> photo_of("/data/local-files/?d=images/a%20b.jpg"), photo_of("/data/upload/3/0a1b2c3d-a.jpg")
    ('images/a b.jpg', 'a.jpg')
    """
    parts = urlsplit(address)
    if files := parse_qs(parts.query).get("d"):
        return files[0]
    path = PurePosixPath(unquote(parts.path))
    if "upload" in path.parts:
        return _UPLOADED.sub("", path.name, count=1)
    return str(path).lstrip("/")


def _tags(results: list[dict[str, Any]]) -> tuple[str, ...]:
    """The labels of results, which are under the name of a result's type."""
    labels = {
        str(label)
        for result in results
        # Relations, ratings, numbers and texts are no tags.
        if result["type"] == "choices" or result["type"].endswith("labels")
        for label in result["value"].get(result["type"], [])
    }
    return tuple(sorted(labels))
