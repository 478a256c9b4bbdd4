"""YOLO's label files in the layouts that Ultralytics reads, and those of label tools."""

from pathlib import Path

import pytest
from opened import refused, tags
from PIL import Image

from esol.data import open_dataset
from esol.data.check import check
from esol.settings import Data

BOX, OUTLINE = "0.5 0.5 0.25 1", "0.1 0.1 0.9 0.1 0.5 1.0"
BOTH = Data(evaluate=("val",))
LABELS = {"train/a": f"0 {BOX}\n2 {OUTLINE}\n", "train/b": f"2 {BOX}\n", "val/a": f"1 {BOX}\n"}
EXPECTED = {"train/a": ("big cat", "dog"), "train/b": ("dog",)}


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), "teal").save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def usual(root: Path) -> Path:
    """images/train and labels/train, without the YAML file."""
    for name, text in LABELS.items():
        photo(root / "images" / f"{name}.jpg")
        write(root / "labels" / f"{name}.txt", text)
    return root


def exported(root: Path) -> Path:
    """train/images and train/labels, without the YAML file."""
    for name, text in LABELS.items():
        split, stem = name.split("/")
        photo(root / split / "images" / f"{stem}.jpg")
        write(root / split / "labels" / f"{stem}.txt", text)
    return root


def yaml(
    root: Path, lists: str, names: str = "[big cat, cow, dog]", file: str = "data.yaml"
) -> Path:
    write(root / file, f"{lists}\nnc: 3\nnames: {names}\n")
    return root


USUAL = "train: images/train\nval: images/val"


@pytest.mark.parametrize(
    "lists",
    [
        USUAL,
        f"path: .\n{USUAL}\ntest:",
        f"path: ../datasets/mine\n{USUAL}\ntest: images/test",
        f"path: /content/mine\n{USUAL}",
        "train: ./images/train/\nval: images\\val",
        "train: /content/mine/images/train\nval: /content/mine/images/val",
        "train: [images/train]\nval: [images/val]",
        "path: ..\ntrain: train.txt\nval: val.txt",
    ],
)
@pytest.mark.parametrize("names", ["[big cat, cow, dog]", "{0: big cat, 1: cow, 2: dog}"])
def test_lists_of_a_yaml_file(tmp_path, lists, names):
    root = yaml(usual(tmp_path), lists, names)
    write(root / "train.txt", "./images/train/a.jpg\nimages/train/b.jpg\n")
    write(root / "val.txt", "/content/mine/images/val/a.jpg\n")
    data = open_dataset(root, BOTH)
    assert tags(data) == EXPECTED
    assert tags(data, "val") == {"val/a": ("cow",)}
    assert check(root, BOTH).tag_set == "data.yaml (YOLO labels)"


@pytest.mark.parametrize("up", ["", "../"])
def test_folders_of_an_export(tmp_path, up):
    root = yaml(
        exported(tmp_path), f"train: {up}train/images\nval: {up}val/images\ntest: {up}test/images"
    )
    data = open_dataset(root, BOTH)
    assert list(tags(data).values()) == list(EXPECTED.values())
    assert tags(data, "val") == {"val/images/a": ("cow",)}
    refused(
        root,
        "test: ../test/images" if up else "test: test/images",
        settings=Data(evaluate=("test",)),
    )


@pytest.mark.parametrize("place", ["classes.txt", "labels/classes.txt"])
def test_classes_of_label_tools(tmp_path, place):
    root = usual(tmp_path)
    refused(root, "labels", "without names", "classes.txt")
    write(root / place, "big cat\ncow\ndog\n")
    write(root / "notes.json", "{}")
    data = open_dataset(root, BOTH)
    assert (tags(data), tags(data, "val")) == (EXPECTED, {"val/a": ("cow",)})
    assert check(root, BOTH).tag_set == "labels (YOLO labels)"


def test_an_export_without_its_yaml_file(tmp_path):
    root = exported(tmp_path)
    refused(root, "train/labels", "without names", "classes.txt")
    write(root / "classes.txt", "big cat\ncow\ndog\n")
    data = open_dataset(root, BOTH)
    assert list(tags(data).values()) == list(EXPECTED.values())
    assert tags(data, "val") == {"val/images/a": ("cow",)}


def test_a_yaml_file_outside_the_data_folder_leaves_the_labels_alone(tmp_path):
    root = usual(tmp_path / "data")
    yaml(tmp_path, USUAL)
    refused(root, "data/labels", "without names", "classes.txt")
    write(root / "classes.txt", "big cat\ncow\ndog\n")
    assert tags(open_dataset(root, BOTH)) == EXPECTED


def test_labels_beside_the_photos(tmp_path):
    for name, text in LABELS.items():
        photo(tmp_path / f"{name}.jpg")
        write(tmp_path / f"{name}.txt", text)
    data = open_dataset(yaml(tmp_path, "train: train\nval: val"), BOTH)
    assert (tags(data), tags(data, "val")) == (EXPECTED, {"val/a": ("cow",)})


def test_an_empty_file_is_background_and_a_missing_one_is_not_finished(tmp_path):
    root = yaml(usual(tmp_path), USUAL)
    photo(root / "images/train/empty.jpg")
    photo(root / "images/train/missing.jpg")
    write(root / "labels/train/empty.txt", "\n")
    assert tags(open_dataset(root, Data())) == EXPECTED | {"train/empty": ()}
    negative = EXPECTED | {"train/empty": (), "train/missing": ()}
    assert tags(open_dataset(root, Data(untagged="negative"))) == negative
    assert "1 left out: not said to be finished" in check(root, Data()).untagged


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"3 {BOX}", ("line 2", "class 3 has no name", "0 .. 2")),
        (f"-1 {BOX}", ("line 2", "-1 is no class id")),
        (f"0.5 {BOX}", ("line 2", "0.5 is no class id")),
        ("cat 0 0 1 1", ("line 2", "not numbers")),
        ("0 0.5 0.5 1.2 1", ("line 2", "1.2 is outside 0 .. 1")),
        ("0 0.5 0.5 1 nan", ("line 2", "nan is outside 0 .. 1")),
        ("0 0.5 0.5 1", ("line 2", "4 numbers")),
        ("0 0.5 0.5 1 1 0.9", ("line 2", "6 numbers")),
        ("0", ("line 2", "1 numbers")),
    ],
)
def test_mistakes_in_label_files(tmp_path, line, words):
    root = yaml(usual(tmp_path), USUAL)
    write(root / "labels/train/b.txt", f"0 {BOX}\n{line}\n")
    refused(root, "labels/train/b.txt", *words)


def test_rounded_coordinates_may_be_a_little_outside(tmp_path):
    root = yaml(usual(tmp_path), USUAL)
    write(root / "labels/train/b.txt", "2 0.5 0.5 1.0001 -0.0001\n")
    assert tags(open_dataset(root, Data())) == EXPECTED


@pytest.mark.parametrize(
    ("lists", "names", "words"),
    [
        ("train: images/gone", "[a, b, c]", ("train: images/gone", "fix the path")),
        ("train: ../../images/../x", "[a, b, c]", ("fix the path",)),
        ("train: /images", "[a, b, c]", ("train: /images", "fix the path")),
        (USUAL, "[]", ("names", "classes.txt")),
        (USUAL, "3", ("names", "classes.txt")),
        (USUAL, "{a: b}", ("names: a: b",)),
        (USUAL, "[yes, no, maybe]", ("names: 0: True", "quotes")),
        ("train: gone.txt", "[a, b, c]", ("train: gone.txt",)),
        ("train: some.txt", "[a, b, c]", ("some.txt: line 1: images/train/z.jpg",)),
    ],
)
def test_mistakes_in_the_yaml_file(tmp_path, lists, names, words):
    root = yaml(usual(tmp_path), lists, names)
    write(root / "some.txt", "images/train/z.jpg\n")
    refused(root, *words)
