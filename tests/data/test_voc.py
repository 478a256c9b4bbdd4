"""The PASCAL VOC layout, drawn in a few files and real."""

from pathlib import Path

import numpy as np
from opened import refused, tags
from PIL import Image

from esol.data import open_dataset
from esol.data.classes import VOC_CLASSES
from esol.data.images import save_mask
from esol.settings import Data

OBJECT = "<object><name>{0}</name><difficult>{1}</difficult><part><name>head</name></part></object>"


def voc(root: Path, masks: tuple[str, ...] = ("SegmentationClass",)) -> Path:
    """Three photos; "c" holds nothing but a difficult dog."""
    objects = {"a": [("cat", 0), ("dog", 1), ("cat", 0)], "b": [("person", 0)], "c": [("dog", 1)]}
    for folder in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, things in objects.items():
        Image.new("RGB", (6, 4)).save(root / "JPEGImages" / f"{name}.jpg")
        xml = "".join(OBJECT.format(*thing) for thing in things)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{xml}</annotation>")
        for folder in masks:
            values = np.array([[0, 8, 12, 15, 20, 255]] * 4, dtype=np.uint8)
            save_mask(values, root / folder / f"{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("c\nb\na\n")
    (root / "ImageSets/Segmentation/aug.txt").write_text(
        "/JPEGImages/a.jpg /SegmentationClassAug/a.png\n"
        "/JPEGImages/b.jpg /SegmentationClassAug/b.png\n"
    )
    (root / "ImageSets/Main/train.txt").write_text("a\n")
    (root / "ImageSets/Main/other.txt").write_text("a\n\nb\n")
    (root / "ImageSets/Main/cat_train.txt").write_text("a  1\nb -1\n")
    return root


def test_tags_from_xml(tmp_path: Path) -> None:
    root = voc(tmp_path)
    data = open_dataset(root, Data())
    assert data.kind == "voc"
    assert data.classes == VOC_CLASSES
    assert len(VOC_CLASSES) == 20
    assert tags(data) == {"a": ("cat", "dog"), "b": ("person",), "c": ("dog",)}
    data = open_dataset(root, Data(difficult=False))
    assert tags(data) == {"a": ("cat",), "b": ("person",)}
    # Its one object is difficult: something is there, and no tag says what.
    assert data.notes == ("train: 1 of 3 photos has no tag, left out",)


def test_lists(tmp_path: Path) -> None:
    root = voc(tmp_path)
    data = open_dataset(root, Data(train="aug", evaluate=("other", "train")))
    assert {split: len(samples) for split, samples in data.splits.items()} == {
        "aug": 2,
        "other": 2,
        "train": 3,
    }
    refused(root, "'nope'", "aug", "cat_train", "other", settings=Data(train="nope"))
    refused(root, "cat_train.txt: line 1", settings=Data(train="cat_train"))


def test_mask_sets(tmp_path: Path) -> None:
    root = voc(tmp_path, ("SegmentationClass", "SegmentationClassAug", "Mine"))
    assert open_dataset(root, Data()).mask_set == "SegmentationClassAug"
    data = open_dataset(root, Data(masks="Mine"))
    assert data.mask_set == "Mine"
    assert data.splits["train"][0].mask == root / "Mine" / "a.png"
    assert data.truth is not None
    assert data.truth(data.splits["train"][0])[0].tolist() == [0, 8, 12, 15, 20, 255]
    refused(root, "data.masks", "'None'", settings=Data(masks="None"))


def test_classes_left_out_are_ignored(tmp_path: Path) -> None:
    data = open_dataset(voc(tmp_path), Data(classes=("dog", "cat")))
    assert data.classes == ("dog", "cat")
    assert tags(data) == {"a": ("dog", "cat"), "b": (), "c": ("dog",)}
    assert data.truth is not None
    assert data.truth(data.splits["train"][0])[0].tolist() == [0, 2, 1, 255, 255, 255]
    assert data.notes == ("train: 1 of 3 photos has no tag, taken for background",)


def test_tags_from_a_labels_file(tmp_path: Path) -> None:
    root = voc(tmp_path)
    (root / "mine.csv").write_text("image,labels\nJPEGImages/a.jpg,sofa\nb,cow\nc.jpg,cow;sofa\n")
    expected = {"a": ("sofa",), "b": ("cow",), "c": ("cow", "sofa")}
    assert tags(open_dataset(root, Data(labels="mine.csv"))) == expected
    (root / "Annotations").rename(root / "Elsewhere")
    refused(root, "Annotations", "labels.csv")
    (root / "mine.csv").rename(root / "labels.csv")
    assert tags(open_dataset(root, Data())) == expected
    (root / "labels.csv").write_text("image,labels\na,sofa\nb,ape\n")
    refused(root, "line 3", "'ape'", "1 more")


def test_own_class_names(tmp_path: Path) -> None:
    root = voc(tmp_path, ())
    (root / "classes.txt").write_text("person\ndog\ncat\n")
    data = open_dataset(root, Data())
    assert data.classes == ("person", "dog", "cat")
    assert data.truth is None
    assert tags(data)["a"] == ("dog", "cat")


def test_problems(tmp_path: Path) -> None:
    root = voc(tmp_path)
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\na\nz\n")
    refused(root, "train.txt: line 3", "twice", "1 more")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\nz\n")
    refused(root, "train.txt: line 3", "no photo z")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    (root / "Annotations/b.xml").write_text("<annotation>")
    refused(root, "b.xml", "not an XML file")
    (root / "Annotations/b.xml").unlink()
    refused(root, "b.xml", "no such file")
    (root / "Annotations/b.xml").write_text(f"<annotation>{OBJECT.format('ape', 0)}</annotation>")
    write = f"write all class names, one per line, to {root / 'classes.txt'}"
    refused(root, "b.xml", "'ape' is not a class of this data set", write)
    (root / "classes.txt").write_text("\n".join(VOC_CLASSES))
    refused(root, "b.xml", "'ape'", f"add a line to {root / 'classes.txt'}")
    (root / "classes.txt").write_text("\n".join([*VOC_CLASSES, "ape"]))
    assert open_dataset(root, Data()).classes[-1] == "ape"
    (root / "classes.txt").write_text("__background__\nape\n")
    refused(root, "classes.txt: line 1: remove '__background__'")


def test_real_photos(shared: Path) -> None:
    root = shared / "data" / "voc-animals"
    data = open_dataset(root, Data(train="train_aug", evaluate=("train", "val")))
    counts = {split: len(samples) for split, samples in data.splits.items()}
    assert counts == {"train_aug": 2233, "train": 437, "val": 445}
    assert data.mask_set == "SegmentationClassAug"
    assert data.notes == ()
    assert data.truth is not None
    for sample in data.splits["val"][::40]:
        mask = data.truth(sample)
        seen = {int(v) - 1 for v in np.unique(mask)} - {-1, 254}
        assert seen <= set(sample.tags), sample.name
