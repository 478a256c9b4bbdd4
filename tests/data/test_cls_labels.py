"""cls_labels.npy: a pickle that is read without executing anything."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opened import refused, tags
from PIL import Image

from esol.data import open_dataset
from esol.data.check import check
from esol.data.classes import COCO_CLASSES, VOC_CLASSES
from esol.data.images import save_mask
from esol.data.tags import pickled
from esol.data.tags.pickled import read_dictionary
from esol.settings import Data

CAT, DOG = VOC_CLASSES.index("cat"), VOC_CLASSES.index("dog")


def vector(size: int, *ones: int, kind: Any = np.float32) -> np.ndarray:
    made = np.zeros(size, kind)
    made[list(ones)] = 1
    return made


def photos(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), "teal").save(root / f"{name}.jpg")
    return root


def save(path: Path, content: object, protocol: int = 4) -> None:
    """As np.save writes an object, with any protocol of pickles."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": ()}
        )
        array = np.empty((), object)
        array[()] = content
        pickle.dump(array, file, protocol=protocol)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_numpy_reads_is_read(tmp_path, protocol):
    content = {
        np.int32(2007000032): vector(20, 3),
        "2007_000033": vector(20, 0, 19, kind=np.int64),
        np.str_("2007_000039"): vector(20, kind=bool),
        np.int64(9): vector(20, 7, kind=">f8"),
        7: [0, 1, 0],
    }
    path = tmp_path / "cls_labels.npy"
    save(path, content, protocol)
    expected = np.load(path, allow_pickle=True).item()
    found = read_dictionary(path)
    assert list(found) == list(expected)
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values)


def test_numpys_own_file_of_names_as_irn_has_them(tmp_path):
    root = photos(tmp_path, "JPEGImages/2007_000032", "JPEGImages/2007_000033", "2007_000039")
    content = {2007000032: vector(20, CAT, DOG), "2007_000033": vector(20, DOG)}
    content |= {2007000039: vector(20), 2008000001: vector(20, 4)}
    np.save(root / "cls_labels.npy", content)
    found = tags(open_dataset(root, Data()))
    assert found == {
        "JPEGImages/2007_000032": ("cat", "dog"),
        "JPEGImages/2007_000033": ("dog",),
        "2007_000039": (),
    }
    assert check(root, Data()).tag_set == "cls_labels.npy (NumPy dictionary)"


def test_tags_of_the_layout_of_voc(tmp_path):
    root = photos(tmp_path, "JPEGImages/2007_000032", "JPEGImages/2007_000033")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_000032\n2007_000033\n")
    np.save(root / "cls_labels.npy", {2007000032: vector(20, CAT), 2007000033: vector(20, DOG)})
    data = open_dataset(root, Data(labels="cls_labels.npy"))
    assert data.kind == "voc"
    assert tags(data) == {"2007_000032": ("cat",), "2007_000033": ("dog",)}


def test_masks_beside_are_no_photos(tmp_path):
    root = photos(tmp_path, "images/2007_000032", "images/2007_000033")
    (root / "masks").mkdir()
    save_mask(np.ones((4, 6), np.uint8), root / "masks" / "2007_000032.png")
    np.save(root / "cls_labels.npy", {2007000032: vector(20, CAT), "2007_000033": vector(20, DOG)})
    assert tags(open_dataset(root, Data())) == {"2007_000032": ("cat",), "2007_000033": ("dog",)}


def test_masks_in_the_layout_of_voc_are_no_photos(tmp_path):
    root = photos(tmp_path, "JPEGImages/2007_000032", "JPEGImages/2007_000033")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_000032\n2007_000033\n")
    (root / "SegmentationClassAug").mkdir()
    save_mask(np.ones((4, 6), np.uint8), root / "SegmentationClassAug" / "2007_000032.png")
    np.save(root / "cls_labels.npy", {2007000032: vector(20, CAT), 2007000033: vector(20, DOG)})
    data = open_dataset(root, Data(labels="cls_labels.npy"))
    assert tags(data) == {"2007_000032": ("cat",), "2007_000033": ("dog",)}


def test_names_of_coco_are_numbers_or_texts(tmp_path):
    train = ("train2014/COCO_train2014_000000000009", "train2014/COCO_train2014_000000000025")
    root = photos(tmp_path, *train, "val2014/COCO_val2014_000000000042", "000000000064")
    np.save(
        root / "labels.npy",
        {
            9: vector(80, 45),
            "COCO_train2014_000000000025": vector(80, 23),
            "COCO_val2014_000000000042.jpg": vector(80, 0),
            "000000000064": vector(80, 79),
        },
    )
    data = open_dataset(root, Data(train="train2014", evaluate=("val2014",)))
    assert list(tags(data, "train2014").values()) == [(COCO_CLASSES[45],), ("giraffe",)]
    assert list(tags(data, "val2014").values()) == [("person",)]
    assert (COCO_CLASSES[45], COCO_CLASSES[79], len(set(COCO_CLASSES))) == (
        "bowl",
        "toothbrush",
        80,
    )


def test_other_lengths_need_names(tmp_path):
    root = photos(tmp_path, "a", "b")
    np.save(root / "tags.npy", {"a": vector(2, 0), "b": vector(2, 1)})
    refused(root, "tags.npy: 2 entries", "classes.txt", "one per line")
    (root / "classes.txt").write_text("x\ny\nz\n")
    refused(root, "tags.npy: 2 entries", "classes.txt has 3 lines")
    (root / "classes.txt").write_text("y\nx\n")
    assert tags(open_dataset(root, Data())) == {"a": ("y",), "b": ("x",)}


class _Call:
    """Executes something when it is unpickled as usual."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        {"a": _Call(os.mkdir, "executed")},
        _Call(os.mkdir, "executed"),
        {"a": _Call(eval, "__import__('os').mkdir('executed')")},
        {"a": _Call(np.load, "x.npy")},
        {"a": _Call(np.zeros, 10**12)},
        {_Call(shutil.rmtree, "x"): vector(20)},
        {"a": Path("x")},
        {"a": "cat"},
        {"a": vector(20).reshape(4, 5)},
        {"a": np.array(["x"])},
        {"a": np.array([None])},
        {"a": np.array([1j])},
        {("a", "b"): vector(20)},
        {True: vector(20)},
        [vector(20)],
        7,
        None,
    ],
    ids=lambda content: type(content).__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_else_is_read_or_executed(tmp_path, monkeypatch, content, protocol):
    root = photos(tmp_path, "a", "b")
    monkeypatch.chdir(tmp_path)
    save(root / "cls_labels.npy", content, protocol)
    refused(root, "cls_labels.npy: not a plain dictionary", "labels.csv")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x04r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".",
        b"\x80\x04N\x94\x82\x01.",
        b"\x80\x04(" + b"l" * 10,
        b"(" * 100_000 + b".",
        b"\x80\x04cnumpy\nndarray\n}b.",
        b"\x80\x04cnumpy\ndtype\n(NN}X\x01\x00\x00\x00aK\x01stb.",
        b"",
    ],
)
def test_crafted_pickles(tmp_path, code):
    root = photos(tmp_path, "a", "b")
    save(root / "x.npy", 0)
    head = (root / "x.npy").read_bytes()[:128]
    (root / "x.npy").write_bytes(head + code)
    refused(root, "x.npy: not a plain dictionary")


def test_a_pickle_that_asks_for_endless_text(tmp_path, monkeypatch):
    """A hundred copies of one text in a file with one."""
    monkeypatch.setattr(pickled, "_MOST_BYTES", 50_000)
    root = photos(tmp_path, "a", "b")
    save(root / "x.npy", 0)
    head = (root / "x.npy").read_bytes()[:128]
    text = b"X" + (1000).to_bytes(4, "little") + b"a" * 1000 + b"q\x01"
    latin = b"X\x06\x00\x00\x00latin1q\x02"
    copies = b"h\x00h\x01h\x02\x86R" * 100
    (root / "x.npy").write_bytes(
        head + b"\x80\x02c_codecs\nencode\nq\x00" + text + latin + copies + b"."
    )
    refused(root, "x.npy: not a plain dictionary", "more bytes than such a file has")


def test_a_vector_that_claims_another_length(tmp_path):
    root = photos(tmp_path, "a", "b")
    save(root / "x.npy", {"a": vector(20), "b": vector(20)})
    content = (root / "x.npy").read_bytes()
    assert b"K\x14\x85" in content
    (root / "x.npy").write_bytes(content.replace(b"K\x14\x85", b"K\x13\x85"))
    refused(root, "x.npy: not a plain dictionary", "a vector of 19 with 20 numbers")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": vector(20, 1), "b": vector(19, 1)}, ("b: not 20 numbers of 0 and 1",)),
        ({"a": vector(20, 1), "b": vector(20, 1) * 2}, ("b: not 20 numbers of 0 and 1",)),
        ({"x": vector(20, 1), "y": vector(20, 1)}, ("none of its 2 photos (x ..)",)),
        ({}, ("no rows",)),
        ({1: vector(20, 1)}, ("1: may be any of", "0001.jpg", "1.jpg")),
    ],
)
def test_mistakes_in_vectors(tmp_path, content, words):
    root = photos(tmp_path, "a", "b", "1", "0001")
    np.save(root / "cls_labels.npy", content)
    refused(root, "cls_labels.npy", *words)
