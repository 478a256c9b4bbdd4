"""Data sets in the layouts of COCO and VOC."""

import json
from functools import partial
from typing import Any

from corpus import Command, Kind, Place
from esol.data import open_dataset
from esol.settings import Data

NAMES = ("a", "b", "c", "d")
LARGE = [[0, 0, 32, 0, 32, 24, 0, 24]]
FAR = [[-1e6, -1e6, 1e6, -1e6, 1e6, 12, -1e6, 12]]
"""The upper half of a photo of 32 x 24 pixels, and very much around it."""


def instances(**changes: Any) -> dict[str, Any]:
    """A sound file: every photo shows a cat all over, drawn as a polygon."""
    images = [
        {"id": n, "file_name": f"{name}.jpg", "height": 24, "width": 32}
        for n, name in enumerate(NAMES, start=1)
    ]
    shapes = [
        {
            "id": 10 + n,
            "image_id": n,
            "category_id": 3,
            "iscrowd": 0,
            "area": 768,
            "segmentation": LARGE,
        }
        for n in range(1, 5)
    ]
    categories = [{"id": 3, "name": "cat"}]
    return {"images": images, "annotations": shapes, "categories": categories, **changes}


def changed(group: str, **values: Any) -> dict[str, Any]:
    """The sound file with other values of the first image, annotation or category; None: none."""
    content = instances()
    thing = {**content[group][0], **values}
    content[group][0] = {key: value for key, value in thing.items() if value is not None}
    return content


def coco(content: Any, place: Place) -> Command:
    """``esol check`` of a data set in the layout of COCO."""
    root = place.folder / "coco"
    root.mkdir()
    (place.data / "images").rename(root / "train")
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    place.write("coco/annotations/instances_train.json", text)
    return ["check", root]


def category_not_listed(place: Place) -> Command:
    """Its mask cannot be drawn either; a run tells the first problem."""
    _, root = coco(changed("annotations", category_id=9), place)
    return ["run", "demo", root, place.out, "--data.evaluate=[train]"]


def drawn(rows: int, place: Place) -> None:
    """The mask of a is a cat's in these upper rows."""
    data = open_dataset(place.folder / "coco", Data())
    assert data.truth is not None
    mask = data.truth(data.samples("train")[0])
    assert (mask[:rows] == 1).all()
    assert (mask[rows:] == 0).all()


def run_length(counts: Any, size: tuple[int, int] = (24, 32)) -> dict[str, Any]:
    return changed("annotations", segmentation={"size": list(size), "counts": counts})


COCO = {
    "broken": (b'{"images": [', "export it again"),
    "deeper than Python reads": (b"[" * 99_999, "export it again"),
    "no UTF-8": (b'{"images": "\xff"}', "export it again"),
    "of zero bytes": (b"", "export it again"),
    "a list": ([], "not a COCO instances file"),
    "no categories": ({"images": [], "annotations": []}, "'categories'"),
    "images no objects": (instances(images=[1, 2]), "is not an object: remove it"),
    "id missing": (changed("images", id=None), "'id' is missing: add it"),
    "id a list": (changed("images", id=[1]), "'id' is [1]: give int"),
    "name a number": (changed("images", file_name=7), "'file_name' is 7: give str"),
    "height a text": (changed("images", height="24"), "'height' is '24': give int"),
    "height below 0": (changed("images", height=-24), "give those of the photo"),
    "a photo of 10^12 pixels": (
        changed("images", height=10**6, width=10**6),
        "give those of the photo",
    ),
    "another size than the photo's": (changed("images", height=30), "make them equal"),
    "name upwards": (changed("images", file_name="../a.jpg"), "leads out of the data folder"),
    "photo gone": (changed("images", file_name="x.jpg"), "add the photo"),
    "category a list": (changed("annotations", category_id=[3]), "give int"),
    "area a text": (changed("annotations", area="large"), "'area' is 'large': give int | float"),
    "area missing": (changed("annotations", area=None), "'area' is missing: add it"),
    "a polygon of texts": (changed("annotations", segmentation=[["a"] * 6]), "fix or remove it"),
    "a polygon with a corner less": (changed("annotations", segmentation=[[0] * 7]), "fix or"),
    "a polygon of numbers no photo has": (
        changed("annotations", segmentation=[[0, 0, 1e30, 0, 1, 1]]),
        "fix or remove it",
    ),
    "a polygon that is a number": (changed("annotations", segmentation=[5]), "fix or remove it"),
    "run lengths too short": (run_length([3, 4]), "fix or remove it"),
    "run lengths that overflow": (
        run_length([2**63 - 1, 2**63 - 1, 2, 768]),
        "fix or remove it",
    ),
    "run lengths that are no text of COCO": (run_length("\x00\x01"), "fix or remove it"),
    "run lengths without end": (run_length("o" * 999_999), "fix or remove it"),
    "run lengths of another size": (run_length([768], (32, 24)), "fix or remove it"),
    "no region": (changed("annotations", segmentation={"counts": [768]}), "fix or remove it"),
}


def voc(xml: bytes, lines: str, place: Place) -> Command:
    """``esol check`` of a data set in the layout of VOC: annotation of a, and the list."""
    root = place.folder / "voc"
    root.mkdir()
    (place.data / "images").rename(root / "JPEGImages")
    for name in NAMES:
        objects = b"".join(b"<object><name>%s</name></object>" % tag for tag in (b"cat", b"dog"))
        place.write(f"voc/Annotations/{name}.xml", b"<annotation>%s</annotation>" % objects)
    place.write("voc/Annotations/a.xml", xml)
    place.write("voc/ImageSets/Segmentation/train.txt", lines)
    return ["check", root]


SOUND_XML = b"<annotation><object><name>cat</name></object></annotation>"
LINES = "a\nb\nc\nd\n"
VOC = {
    "annotation cut off": (SOUND_XML[:30], LINES, ("Annotations/a.xml", "export it again")),
    "annotation of zero bytes": (b"", LINES, ("Annotations/a.xml", "export it again")),
    "annotation with entities": (
        b'<!DOCTYPE a [<!ENTITY x "x">]>' + SOUND_XML,
        LINES,
        ("Annotations/a.xml", "export it again"),
    ),
    "annotation in an encoding unknown": (
        b'<?xml version="1.0" encoding="mine"?>' + SOUND_XML,
        LINES,
        ("Annotations/a.xml", "export it again"),
    ),
    "annotation in UTF-32, as it says": (
        b'<?xml version="1.0" encoding="utf-32"?>' + SOUND_XML,
        LINES,
        ("Annotations/a.xml", "export it again"),
    ),
    "annotation of a class unknown": (
        SOUND_XML.replace(b"cat", b"ape"),
        LINES,
        ("Annotations/a.xml", "is not a class"),
    ),
    "list with a photo twice": (SOUND_XML, LINES + "a\n", ("train.txt: line 5", "remove one line")),
    "list with a photo gone": (SOUND_XML, LINES + "x\n", ("train.txt: line 5", "remove the line")),
    "list with two words in a line": (SOUND_XML, "a b\nb\nc\nd\n", ("line 1", "one photo name")),
    "list that is binary": (SOUND_XML, LINES + "\0\1\n", ("train.txt: line 5", "remove the line")),
}


def voc_tags(place: Place) -> None:
    data = open_dataset(place.folder / "voc", Data())
    assert [len(sample.tags) for sample in data.samples("train")] == [1, 2, 2, 2]


def twice(place: Place) -> Command:
    content = instances()
    content["images"].append({**content["images"][0], "id": 99})
    return coco(content, place)


KINDS = (
    *(
        Kind(f"COCO layout: {name}", partial(coco, content), ("instances_train.json", fix))
        for name, (content, fix) in COCO.items()
    ),
    Kind(
        "COCO layout: category not listed",
        category_not_listed,
        ("instances_train.json", "is not listed: add it"),
    ),
    *(
        Kind(f"VOC layout: {name}", partial(voc, xml, lines), says)
        for name, (xml, lines, says) in VOC.items()
    ),
    Kind(
        "VOC layout: BOM and CRLF in the list",
        partial(voc, SOUND_XML, "\ufeff" + LINES.replace("\n", "\r\n")),
        then=voc_tags,
    ),
    Kind("COCO layout: a photo twice", twice, ("instances_train.json", "comes twice")),
    Kind(
        "COCO layout: BOM",
        partial(coco, json.dumps(instances()).encode("utf-8-sig")),
        then=partial(drawn, 24),
    ),
    Kind(
        "COCO layout: polygon far outside the photo",
        partial(coco, changed("annotations", segmentation=FAR)),
        then=partial(drawn, 12),
    ),
    Kind(
        "COCO layout: polygon of two corners",
        partial(coco, changed("annotations", segmentation=[[1, 1, 9, 9]])),
        then=partial(drawn, 0),
    ),
)
