"""Hugging Face data sets: photos inside Parquet and Arrow files."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from corpus import Command, Kind, Place
from esol.data import open_dataset
from esol.settings import Data

FILE = "hub/data/train-00000-of-00001.parquet"
NAMES = {"names": ["cat", "dog"], "_type": "ClassLabel"}


def columns(**changes: Any) -> dict[str, Any]:
    """Four photos with the numbers of their classes, and what differs; None: no such column."""
    sets = pytest.importorskip(
        "packed_sets", reason="needs the extra parquet", exc_type=ImportError
    )
    made = {"image": sets.photos(4), "label": [0, 1, 0, 1], **changes}
    return {
        name: cells(sets) if callable(cells) else cells
        for name, cells in made.items()
        if cells is not None
    }


def hub(changes: dict[str, Any], place: Place) -> Command:
    """``esol check`` of a data set as on the hub."""
    content = columns(**changes)
    import packed_sets

    made = packed_sets.table(content, image={"_type": "Image"}, label=NAMES)
    packed_sets.write_parquet(place.folder / FILE, made)
    return ["check", place.folder / "hub"]


def with_bytes(change: Callable[[bytes], bytes], place: Place) -> Command:
    """The file with other bytes."""
    command = hub({}, place)
    place.write(FILE, change((place.folder / FILE).read_bytes()))
    return command


def saved(name: str, change: Callable[[bytes], bytes], place: Place) -> Command:
    """``esol check`` of a folder of ``save_to_disk`` with one file changed."""
    content = columns()
    import packed_sets

    root = place.folder / "saved"
    packed_sets.write_saved(root / "train", packed_sets.table(content, label=NAMES))
    place.write("saved/dataset_dict.json", '{"splits": ["train"]}')
    place.write(f"saved/{name}", change((root / name).read_bytes()))
    return ["check", root]


def four_photos(place: Place) -> None:
    data = open_dataset(place.folder / "hub", Data())
    assert [sample.tags for sample in data.samples("train")] == [(0,), (1,), (0,), (1,)]


def struct(content: bytes | None) -> Callable[[Any], Any]:
    """A column of photos, of which the last is this."""
    return lambda sets: [*sets.photos(3).to_pylist(), {"bytes": content, "path": None}]


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no photos": ({"image": None}, (FILE, "none is known to hold the photos", "data.columns")),
    "two columns of photos": (
        {"photo": lambda sets: sets.photos(4)},
        (FILE, "image and photo may hold the photos", "data.columns '[image=NAME]'"),
    ),
    "no tags": ({"label": None, "n": [1, 2, 3, 4]}, (FILE, "none is known to hold the tags")),
    "two columns of tags": (
        {"tags": [["a"], ["b"], [], ["a"]]},
        (FILE, "label and tags may hold the tags", "data.columns '[label=NAME]'"),
    ),
    "numbers without names": (
        {"label": None, "tag": [3, 1, 3, 1]},
        (FILE, "'tag' has numbers without names", "ClassLabel"),
    ),
    "a number of no class": (
        {"image": lambda sets: sets.photos(5), "label": [0, 1, 0, 1, 2]},
        (FILE, "row 4: 2 is not one of the 2 classes"),
    ),
    "a photo that is text": (
        {"image": struct(b"text")},
        (FILE, "image/3: not an image of a known"),
    ),
    "a photo of zero bytes": ({"image": struct(b"")}, (FILE, "image/3: empty file")),
    "a photo missing": ({"image": struct(None)}, (FILE, "image/3: no photo in this row: remove")),
    "only paths": (
        {"image": lambda sets: [{"bytes": None, "path": f"/photos/{n}.jpg"} for n in range(4)]},
        (FILE, "row 0: has only a path, /photos/0.jpg", "save_to_disk"),
    ),
}

DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[:-100],
    "of zero bytes": lambda content: b"",
    "a text": lambda content: b"photos",
}

KINDS = (
    Kind("parquet: sound", partial(hub, {}), then=four_photos),
    *(Kind(f"parquet: {name}", partial(hub, made), says) for name, (made, says) in REFUSED.items()),
    *(
        Kind(f"parquet: {name}", partial(with_bytes, change), (FILE, "download or write it again"))
        for name, change in DAMAGED.items()
    ),
    *(
        Kind(f"save_to_disk: {file} {name}", partial(saved, file, change), (file, fix))
        for file, fix, name in (
            ("train/data-00000-of-00002.arrow", "download or write it again", "cut off"),
            ("train/data-00001-of-00002.arrow", "download or write it again", "a text"),
            ("dataset_dict.json", "not a JSON file", "a text"),
        )
        for change in (DAMAGED[name],)
    ),
    Kind(
        "save_to_disk: dataset_dict.json leads out",
        partial(saved, "dataset_dict.json", lambda content: b'{"splits": ["../outside"]}'),
        ("dataset_dict.json", "leads out of the folder"),
    ),
)
