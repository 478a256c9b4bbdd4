"""JSON and XML of other tools: tags, corrected masks, and archives of these."""

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from corpus import Command, Kind, Place
from corpus.layouts import FAR, changed, instances, run_length
from esol.data.images import load_mask, save_mask
from esol.label_tools.brush import encode


def tags(name: str, content: Any) -> Callable[[Place], Command]:
    """``esol check`` of a data set whose tags are in a file of another tool."""

    def make(place: Place) -> Command:
        (place.data / "labels.csv").unlink()
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        place.write(f"data/{name}", text)
        return ["check", place.data, f"--data.labels={name}"]

    return make


def task(**changes: Any) -> dict[str, Any]:
    """A sound task of Label Studio."""
    choice = {"type": "choices", "value": {"choices": ["cat"]}}
    data = {"image": "/data/upload/1/0a1b2c3d-a.jpg"}
    return {"id": 5, "data": data, "annotations": [{"result": [choice]}], **changes}


def image(inner: str, attributes: str = 'id="0" name="a.jpg" width="32" height="24"') -> bytes:
    """A file of CVAT."""
    return f"<annotations><image {attributes}>{inner}</image></annotations>".encode()


def saved(vector: np.ndarray) -> bytes:
    """A file of NumPy with a dictionary, as IRN has it."""
    stream = io.BytesIO()
    np.save(stream, np.array({"a": vector}))
    return stream.getvalue()


def pickled(code: bytes) -> bytes:
    """The head of such a file, and any pickle."""
    return saved(np.ones(1))[:128] + code


ENTITIES = b'<!DOCTYPE a [<!ENTITY x "x"><!ENTITY y "&x;&x;">]>'
BOMB = ENTITIES + b"<annotations><image>&y;</image></annotations>"

VIDEO = b'<annotations><track id="0" label="cat"><polygon frame="0"/></track></annotations>'
NOTHING = '<tag label="background"/>'
EMPTY = image(NOTHING)
"""Of a photo in which nothing is."""

TAGS = {
    "YOLO: no names": ("data.yaml", b"train: images\nnames: []\n", "one per line"),
    "YOLO: folder gone": ("data.yaml", b"train: gone\nnames: [cat, dog]\n", "fix the path"),
    "YOLO: not YAML": ("data.yaml", b"train: [images\nnames: [cat]\n", "fix it"),
    "YAML of something else": ("data.yaml", b"path: x\n", "of no format"),
    "cls_labels.npy: executes": (
        "cls_labels.npy",
        pickled(b"cos\nsystem\n(X\x07\x00\x00\x00exit 99tR."),
        "nothing else is read",
    ),
    "cls_labels.npy: cut off": ("cls_labels.npy", pickled(b"\x80\x04}(X"), "labels.csv"),
    "cls_labels.npy: no names": ("cls_labels.npy", saved(np.ones(3)), "name each entry there"),
    "Label Studio: broken": (
        "tags.json",
        b'[{"data": {}, "annotations": [',
        "fix or regenerate it",
    ),
    "Label Studio: no address": ("tags.json", [task(data={"text": "x"})], "fix or remove it"),
    "Label Studio: address a number": ("tags.json", [task(data={"image": 7})], "fix or remove it"),
    "Label Studio: address without sense": (
        "tags.json",
        [task(data={"image": "http://[/a.jpg"})],
        "fix or remove it",
    ),
    "Label Studio: results a number": (
        "tags.json",
        [task(annotations=[{"result": 7}])],
        "fix or remove it",
    ),
    "Label Studio: annotations null": ("tags.json", [task(), task(annotations=None)], "fix or"),
    "CVAT: no name": ("tags.xml", image("", 'id="0"'), "fix or remove it"),
    "CVAT: entities": ("tags.xml", BOMB, "export it again"),
    "CVAT: for video": ("tags.xml", VIDEO, "export the task as CVAT for images 1.1"),
    "COCO: category unknown": (
        "tags.json",
        changed("annotations", category_id=9),
        "fix or remove it",
    ),
    "COCO: ids no numbers": ("tags.json", changed("annotations", image_id={}), "fix or remove it"),
    "COCO: images no objects": ("tags.json", instances(images=[1]), "export the file again"),
}


def corrected(tool: str, name: str, content: Any) -> Callable[[Place], Command]:
    """``esol import`` into the finished run, whose photos are those of the sound data set."""

    def make(place: Place) -> Command:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        file = place.write(name, text)
        return ["import", file, place.run, "--from", tool]

    return make


def archive(members: dict[str, bytes], spoil: Callable[[bytes], bytes], place: Place) -> Command:
    path = place.folder / "masks.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    path.write_bytes(spoil(path.read_bytes()))
    return ["import", path, place.run, "--from", "voc"]


def folder_of(tool: str, files: dict[str, Any], place: Place) -> Command:
    """A folder of YOLO or PNG files, sound but for ``files``."""
    sound = {
        "yolo": {"data.yaml": "train: images/train\nnames: [cat, dog]\n", LINES: "0 0 0 1 0 1 1\n"},
        "png": {"values.csv": "value,name\n0,background\n1,cat\n", "a.png": png_of(place)},
    }[tool]
    for name, content in {**sound, **files}.items():
        place.write(f"corrected.d/{name}", content)
    return ["import", place.folder / "corrected.d", place.run, "--from", tool]


def flipped(content: bytes) -> bytes:
    """Bits turned over amid what is compressed."""
    return content[:60] + bytes(byte ^ 85 for byte in content[60:90]) + content[90:]


def region(kind: str, **value: Any) -> dict[str, Any]:
    """A task of Label Studio with one region of a cat."""
    found = {
        "type": kind,
        "original_width": 32,
        "original_height": 24,
        "value": {kind: ["cat"], **value},
    }
    return task(annotations=[{"result": [found]}])


def imported(rows: int, place: Place) -> None:
    """Photo a is a cat's in the upper rows now."""
    mask = load_mask(place.run / "corrected" / "a.png")
    assert (mask[:rows] == 1).all()
    assert (mask[rows:] == 0).all()


def imported_corner(place: Place) -> None:
    """Photo a is a cat's in the upper right half now."""
    mask = load_mask(place.run / "corrected" / "a.png")
    assert (mask[:10, -10:] == 1).all()
    assert (mask[-10:, :10] == 0).all()


def shape(tag: str, **attributes: str) -> bytes:
    text = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return image(f"<{tag} {text}/>")


FULL = encode(np.ones((24, 32), bool))
BOX = {"left": "0", "top": "0", "width": "32", "height": "24"}

IMPORTED = {
    "Label Studio: broken": ("labelstudio", b"[{", "export it again"),
    "Label Studio: an object": ("labelstudio", {"tasks": []}, "export the file again"),
    "Label Studio: JSON-MIN": ("labelstudio", [{"image": "a.jpg"}], "not as JSON-MIN"),
    "Label Studio: brush cut off": (
        "labelstudio",
        [region("brushlabels", rle=FULL[:-3])],
        "fix or remove it",
    ),
    "Label Studio: brush of another size": (
        "labelstudio",
        [region("brushlabels", rle=encode(np.ones((9, 9), bool)))],
        "fix or remove it",
    ),
    "Label Studio: brush of no bytes": (
        "labelstudio",
        [region("brushlabels", rle=[999, -1, "x"])],
        "fix or remove it",
    ),
    "Label Studio: class unknown": (
        "labelstudio",
        [region("brushlabels", brushlabels=["ape"], rle=FULL)],
        "rename the label",
    ),
    "Label Studio: a box": ("labelstudio", [region("rectanglelabels")], "draw it with brush"),
    "Label Studio: photo unknown": (
        "labelstudio",
        [{**region("brushlabels", rle=FULL), "data": {"image": "/x.jpg"}}],
        "fix or remove it",
    ),
    "COCO: broken": ("coco", b"{", "export it again"),
    "COCO: no images": ("coco", {"annotations": []}, "fix or remove it"),
    "COCO: annotation of no image": (
        "coco",
        changed("annotations", image_id=77),
        "remove them",
    ),
    "COCO: a box without mask": ("coco", changed("annotations", segmentation=[]), "draw it"),
    "COCO: run lengths that overflow": (
        "coco",
        run_length([2**63 - 1, 2**63 - 1, 2, 768]),
        "fix or remove it",
    ),
    "COCO: another size": ("coco", changed("images", height=23), "export and correct it again"),
    "CVAT: broken": ("cvat", image("")[:30], "export it again"),
    "CVAT: entities": ("cvat", BOMB, "export it again"),
    "CVAT: another root": ("cvat", b"<annotation/>", "not CVAT for images"),
    "CVAT: a box": ("cvat", shape("box", label="cat"), "draw a mask or a polygon"),
    "CVAT: run lengths no numbers": (
        "cvat",
        shape("mask", label="cat", rle="a,b", **BOX),
        "fix or remove it",
    ),
    "CVAT: run lengths that overflow": (
        "cvat",
        shape("mask", label="cat", rle=f"{2**63 - 1},{2**63 - 1},2,768", **BOX),
        "fix or remove it",
    ),
    "CVAT: mask outside the photo": (
        "cvat",
        shape("mask", label="cat", rle="768", **{**BOX, "left": "9"}),
        "fix or remove it",
    ),
    "CVAT: no photo of that name": (
        "cvat",
        image(NOTHING, 'name="x.jpg" width="32" height="24"'),
        "fix or remove it",
    ),
    "CVAT: one photo twice": (
        "cvat",
        EMPTY.replace(b"</annotations>", EMPTY[13:]),
        "keep one of them",
    ),
    "CVAT: for video": ("cvat", VIDEO, "export the task as CVAT for images 1.1"),
    "COCO given to CVAT": ("cvat", instances(), "give --from coco"),
    "CVAT given to COCO": ("coco", EMPTY, "give --from cvat"),
    "Label Studio given to COCO": ("coco", [task()], "give --from labelstudio"),
    "Label Studio: an ellipse without a label": (
        "labelstudio",
        [region("ellipse")],
        "draw it with brush",
    ),
}


def file_of(content: Any) -> str:
    is_xml = isinstance(content, bytes) and content.startswith(b"<")
    return "corrected.xml" if is_xml else "corrected.json"


def png_of(place: Place) -> bytes:
    path = place.folder / "mask.png"
    save_mask(np.ones((24, 32), np.uint8), path)
    return path.read_bytes()


def zipped(name: str, spoil: Callable[[bytes], bytes], place: Place) -> Command:
    return archive({name: png_of(place)}, spoil, place)


SEGMENTATION = "SegmentationClass/a.png"
LINES = "labels/train/a.txt"

FOLDERS: dict[str, tuple[str, str, Any, str]] = {
    "YOLO: description cut off": ("yolo", "data.yaml", "names: [cat", "fix it"),
    "YOLO: no names": ("yolo", "data.yaml", "train: images/train\n", "fix or remove it"),
    "YOLO: a number": ("yolo", "data.yaml", "7", "fix or remove it"),
    "YOLO: names unknown": ("yolo", "data.yaml", "names: [wolf]\n", "rename the label"),
    "YOLO: a list that leads out": (
        "yolo",
        "data.yaml",
        "train: ../images\nnames: [cat]\n",
        "move it there",
    ),
    "YOLO: a list without images": (
        "yolo",
        "data.yaml",
        "train: photos\nnames: [cat]\n",
        "move it there",
    ),
    "YOLO: class unknown": ("yolo", LINES, "2 0 0 1 0 1 1\n", "add its name"),
    "YOLO: a box": ("yolo", LINES, "0 0.5 0.5 1 1\n", "draw it, or remove it"),
    "YOLO: pixels": ("yolo", LINES, "0 0 0 32 0 32 24\n", "fix or remove it"),
    "YOLO: an odd number": ("yolo", LINES, "0 0 0 1 0 1 1 1\n", "fix or remove it"),
    "YOLO: no number": ("yolo", LINES, "0 0 0 1 0 1 nan\n", "fix or remove it"),
    "YOLO: bytes": ("yolo", LINES, b"\xff\xfe0", "save it as UTF-8"),
    "YOLO: a photo unknown": ("yolo", "labels/train/x.txt", "", "fix or remove it"),
    "PNG: another header": ("png", "values.csv", "name\ncat\n", "header must be"),
    "PNG: a value twice": ("png", "values.csv", "value,name\n1,cat\n1,dog\n", "of its own"),
    "PNG: a value too large": ("png", "values.csv", "value,name\n65536,cat\n", "give 0 .. 65535"),
    "PNG: a name unknown": ("png", "values.csv", "value,name\n1,wolf\n", "rename the label"),
    "PNG: a value unknown": ("png", "values.csv", "value,name\n0,cat\n", "add or fix it"),
    "PNG: an image damaged": ("png", "a.png", b"\x89PNG", "replace or remove"),
}


def values(text: str, place: Place) -> Command:
    """``esol export`` of masks with values of one's own."""
    return ["export", place.run, place.out, "--to", "png", "--values", text]


KINDS = (
    *(
        Kind(f"tags: {name}", tags(file, content), (file, fix))
        for name, (file, content, fix) in TAGS.items()
    ),
    *(
        Kind(
            f"import: {name}",
            corrected(tool, file_of(content), content),
            ("corrected.", fix),
        )
        for name, (tool, content, fix) in IMPORTED.items()
    ),
    Kind(
        "import: Label Studio: polygon beyond the photo",
        corrected(
            "labelstudio",
            "corrected.json",
            [region("polygonlabels", points=[[-900, -900], [900, -900], [900, 50], [-900, 50]])],
        ),
        then=partial(imported, 12),
    ),
    Kind(
        "import: COCO: polygon far outside the photo",
        corrected("coco", "corrected.json", changed("annotations", segmentation=FAR)),
        then=partial(imported, 12),
    ),
    *(
        Kind(f"import: {name}", partial(folder_of, tool, {file: content}), ("corrected.d", fix))
        for name, (tool, file, content, fix) in FOLDERS.items()
    ),
    Kind("import: YOLO", partial(folder_of, "yolo", {}), then=imported_corner),
    Kind("import: PNG", partial(folder_of, "png", {}), then=partial(imported, 24)),
    Kind(
        "export: a value missing", partial(values, "background=0,cat=1,ignore=9"), ("'dog'", "add")
    ),
    Kind(
        "export: a value doubled",
        partial(values, "background=0,cat=1,dog=1,ignore=9"),
        ("--values", "give each a value of its own"),
    ),
    Kind(
        "import: archive cut off",
        partial(zipped, SEGMENTATION, lambda b: b[:-30]),
        ("masks.zip", "export it again"),
    ),
    Kind(
        "import: archive with bits turned over",
        partial(zipped, SEGMENTATION, flipped),
        ("masks.zip", "export it again"),
    ),
    Kind(
        "import: archive without masks",
        partial(zipped, "a.png", bytes),
        ("masks.zip", "give the folder or ZIP"),
    ),
    Kind(
        "import: archive with a path upwards",
        partial(zipped, "../SegmentationClass/a.png", bytes),
        ("masks.zip", "export it again"),
    ),
    Kind(
        "import: a mask of no photo",
        partial(zipped, "SegmentationClass/x.png", bytes),
        ("masks.zip", "x.png"),
    ),
)
