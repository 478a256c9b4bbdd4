"""Parsers, and a sound file of each: for Hypothesis in the tests, and for atheris by hand."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from esol.data.coco import read_coco
from esol.data.images import image_size, load_image, load_mask
from esol.data.reading import read_classes, read_labels
from esol.data.saliency import load_saliency
from esol.data.tags import read_tags
from esol.data.tags import yolo as yolo_tags
from esol.errors import InputError
from esol.label_tools import coco, cvat, labelstudio, png, yolo
from esol.label_tools.album import Album, Photo
from esol.label_tools.brush import encode
from esol.maps.files import load_maps
from esol.networks.checkpoints import Wanted, read_checkpoint
from esol.runs.corrections import FOLDER, MANIFEST, read_corrections
from esol.runs.folder import RunFolder
from esol.settings import Data
from esol.settings.load import check_keys, load_settings
from esol.system.read import read_json
from esol.training.steps import read_steps

SIZE = (24, 32)
WEIGHTS = {"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.float16)}


@dataclass(frozen=True)
class Target:
    """A parser.

    Attributes:
        file: name of its file in the folder.
        sound: what the file may hold.
        read: reads it, given the folder.
    """

    file: str
    sound: bytes
    read: Callable[[Path], object]

    def attempt(self, content: bytes, folder: Path) -> str:
        """Read other content.

        Returns:
            What was refused; "" if nothing was.

        Raises:
            AssertionError: the refusal is not one line that names the file.
            Exception: whatever the parser lets through, which is a fault of it.
        """
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            self.read(folder)
        except InputError as error:
            message = str(error)
            assert message.isprintable(), message
            assert path.name in message or path.parent.name in message, message
            return message
        return ""


def encoded(image: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def saved(state: dict[str, torch.Tensor]) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": state}, stream)
    return stream.getvalue()


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path, Wanted("net", "backbone.weights", WEIGHTS, lambda name: False))


def maps_file() -> bytes:
    stream = io.BytesIO()
    arrays: dict[str, Any] = {
        "classes": np.array([0, 2], np.uint8),
        "maps": np.zeros((2, 6, 8), np.uint8),
        "size": np.array(SIZE, np.int32),
    }
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def tags(file: str) -> Callable[[Path], object]:
    return lambda root: read_tags((root / file,), root, Data())


def yolo_labels(root: Path) -> list[object]:
    (root / "classes.txt").write_text("cat\ndog\n")
    GREY.save(root / "a.png")
    return [*yolo_tags.read(root / "labels", root, Data())]


def vectors() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array({"a": np.eye(20, dtype=np.float32)[7], 9: np.zeros(20)}))
    return stream.getvalue()


def masks(reader: Any, file: str) -> Callable[[Path], object]:
    album = Album(("cat", "dog"), (Photo("a", "images/a.jpg", Path("a.jpg"), SIZE),))
    return lambda root: [*reader(root / file, album)]


def masks_folder(reader: Any, **sound: str) -> Callable[[Path], object]:
    """Reads a folder with the target's file and these: "__" stands for "/", "_" for "."."""

    def read(root: Path) -> object:
        for name, content in sound.items():
            path = root / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return masks(reader, ".")(root)

    return read


def instances() -> dict[str, Any]:
    box = [[0, 0, 32, 0, 32, 24, 0, 24]]
    runs = {"size": [24, 32], "counts": [8, 760]}
    shared = {"image_id": 1, "iscrowd": 0, "area": 9}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 24, "width": 32}],
        "annotations": [
            {"id": 1, "category_id": 3, "segmentation": box, **shared},
            {"id": 2, "category_id": 4, "segmentation": runs, **shared},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "dog"}],
    }


def coco_layout(root: Path) -> object:
    (root / "train").mkdir(exist_ok=True)
    (root / "train" / "a.jpg").touch()
    reading = read_coco(root, Data("coco"))
    drawn = [entry.mask for entry in reading.splits["train"] if entry.mask is not None]
    return [] if reading.stored is None else [reading.stored(mask) for mask in drawn]


def task() -> list[dict[str, Any]]:
    common = {"original_width": 32, "original_height": 24}
    brush = {"brushlabels": ["cat"], "format": "rle", "rle": encode(np.ones(SIZE, bool))}
    points = {"polygonlabels": ["dog"], "points": [[0, 0], [50, 0], [50, 50]]}
    results = [
        {"type": "brushlabels", "value": brush, **common},
        {"type": "polygonlabels", "value": points, **common},
        {"type": "choices", "value": {"choices": ["cat"]}},
    ]
    return [{"id": 1, "data": {"image": "images/a.jpg"}, "annotations": [{"result": results}]}]


def settings(root: Path) -> object:
    check_keys(root / "mine.yaml")
    return load_settings(str(root / "mine.yaml"))


def manifest(run: Path) -> object:
    return RunFolder(run).made_from("masks"), RunFolder(run).outputs_of("masks")


CVAT = b"""<annotations><image id="0" name="a.jpg" width="32" height="24">
<mask label="cat" rle="0, 6" left="1" top="2" width="3" height="2" z_order="0"/>
<polygon label="dog" points="1.5,2;9,2;9,9" z_order="1"/><tag label="cat"/></image></annotations>"""
VOC = b"<annotation><object><name>cat</name><difficult>0</difficult></object></annotation>"
MADE = {
    "identity": {"after": {"cams": {"files": 1}}, "data": {"classes": ["cat"]}},
    "outputs": {"files": 1, "bytes": 2, "sha256": "0" * 64},
    "results": {},
    "record": {"esol": "0.1.0"},
}
CORRECTED = {
    "classes": ["cat"],
    "photos": {"a": {"sha256": "0" * 64, "source": "x"}},
    "sources": {"x": {"file": "x", "format": "coco", "photos": 1, "changed": 1}},
}
GREY = Image.fromarray(np.arange(768, dtype=np.uint8).reshape(SIZE))
COLOUR = Image.merge("RGB", (GREY, GREY, GREY))
MANIFEST_FILE = f"{RunFolder(Path()).stage('masks')}/manifest.json"

TARGETS: dict[str, Target] = {
    "labels.csv": Target(
        "labels.csv",
        b'image,labels,split\na.jpg,cat dog,train\n"b, c.jpg",traffic light;,val\n',
        lambda root: read_labels(root / "labels.csv"),
    ),
    "names": Target("classes.txt", b"cat\ndog\n", lambda root: read_classes(root / "classes.txt")),
    "metadata.csv": Target(
        "metadata.csv", b"file_name,tags\na.jpg,cat dog\n", tags("metadata.csv")
    ),
    "metadata.jsonl": Target(
        "metadata.jsonl", b'{"file_name": "a.jpg", "tags": ["cat"]}\n', tags("metadata.jsonl")
    ),
    "_classes.csv": Target(
        "_classes.csv", b"filename, cat, dog\na.jpg, 1, 0\n", tags("_classes.csv")
    ),
    "table of tags": Target(
        "tags.csv", b"file;tag;split\na.jpg;cat;train\na.jpg;big dog;train\n", tags("tags.csv")
    ),
    "one-hot table": Target("tags.tsv", b"file\tcat\tdog\na.jpg\t1\t0\n", tags("tags.tsv")),
    "YOLO labels": Target("labels/a.txt", b"0 0.5 0.5 1 1\n1 0 0 0 1 1 1\n", yolo_labels),
    "YAML of YOLO": Target(
        "data.yaml", b"path: x\ntrain: images\nnames: {0: cat, 1: dog}\n", tags("data.yaml")
    ),
    "cls_labels.npy": Target("cls.npy", vectors(), tags("cls.npy")),
    "tags of Label Studio": Target("tags.json", json.dumps(task()).encode(), tags("tags.json")),
    "tags of COCO": Target("tags.json", json.dumps(instances()).encode(), tags("tags.json")),
    "tags of CVAT": Target("tags.xml", CVAT, tags("tags.xml")),
    "tags of VOC": Target("boxes/a.xml", VOC, tags("boxes")),
    "COCO layout": Target(
        "annotations/instances_train.json", json.dumps(instances()).encode(), coco_layout
    ),
    "masks of Label Studio": Target(
        "masks.json", json.dumps(task()).encode(), masks(labelstudio.read, "masks.json")
    ),
    "masks of COCO": Target(
        "masks.json", json.dumps(instances()).encode(), masks(coco.read, "masks.json")
    ),
    "masks of CVAT": Target("masks.xml", CVAT, masks(cvat.read, "masks.xml")),
    "labels of YOLO": Target(
        "labels/train/a.txt",
        b"0 0 0 1 0 1 1\n1 0.25 0.5 0.75 0.5 0.5 1\n",
        masks_folder(yolo.read, data_yaml="train: images/train\nnames: [cat, dog]\n"),
    ),
    "data.yaml of YOLO": Target(
        "data.yaml",
        b"train: images/train\nval: [images/val]\nnames: {0: cat, 1: dog}\n",
        masks_folder(yolo.read, labels__train__a_txt="0 0 0 1 0 1 1\n"),
    ),
    "values.csv": Target(
        "values.csv", b'value,name\n0,background\n1,cat\n2,"dog"\n', masks(png.read, ".")
    ),
    "settings": Target(
        "mine.yaml", b"seed: 7\ndata: &d {classes: [cat, dog], limit: 3}\n", settings
    ),
    "maps": Target("a.npz", maps_file(), lambda root: load_maps(root / "a.npz")),
    "weights": Target("w.safetensors", save(WEIGHTS), lambda root: weights(root / "w.safetensors")),
    "weights of PyTorch": Target("w.pth", saved(WEIGHTS), lambda root: weights(root / "w.pth")),
    "manifest": Target(MANIFEST_FILE, json.dumps(MADE).encode(), manifest),
    "corrections": Target(f"{FOLDER}/{MANIFEST}", json.dumps(CORRECTED).encode(), read_corrections),
    "run.json": Target("run.json", b'{"data": "/x"}', lambda run: read_json(run / "run.json")),
    "losses": Target(
        "metrics.jsonl",
        b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n',
        lambda folder: read_steps(folder / "metrics.jsonl"),
    ),
    "photo": Target("a.jpg", encoded(COLOUR, "JPEG"), lambda root: load_image(root / "a.jpg")),
    "photo, PNG": Target("a.png", encoded(COLOUR, "PNG"), lambda root: load_image(root / "a.png")),
    "photo, TIFF": Target("a.tif", encoded(GREY, "TIFF"), lambda root: load_image(root / "a.tif")),
    "photo, WebP": Target(
        "a.webp", encoded(COLOUR, "WEBP"), lambda root: load_image(root / "a.webp")
    ),
    "photo's size": Target("a.gif", encoded(GREY, "GIF"), lambda root: image_size(root / "a.gif")),
    "mask": Target(
        "m.png", encoded(GREY.convert("P"), "PNG"), lambda root: load_mask(root / "m.png")
    ),
    "saliency": Target(
        "s.png", encoded(GREY, "PNG"), lambda root: load_saliency(root / "s.png", SIZE)
    ),
}
