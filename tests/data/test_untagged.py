"""Photos without a tag: which are photos of background, which are left out, and what is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from opened import refused, tags
from PIL import Image

from esol.data import open_dataset
from esol.data.balance import tag_warnings
from esol.data.check import check
from esol.data.images import save_mask
from esol.settings import Data


def photos(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), "teal").save(root / file)
    return root


def table(root: Path, *rows: str) -> Path:
    (root / "labels.csv").write_text("\n".join(("image,labels,split", *rows)))
    return root


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two cats, a dog, and a photo of neither."""
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    return table(tmp_path, "a,cat,train", "b,cat,train", "c,dog,train", "d,,train", "d,,val")


def test_an_empty_row_is_a_photo_of_background(mixed):
    data = open_dataset(mixed, Data(evaluate=("val",)))
    assert tags(data) == {"a": ("cat",), "b": ("cat",), "c": ("dog",), "d": ()}
    assert tags(data, "val") == {"d": ()}
    assert data.notes == (
        "train: 1 of 4 photos has no tag, taken for background",
        "val: 1 of 1 photos has no tag, taken for background",
    )
    assert check(mixed, Data()).untagged == "negative (train 1)"


def test_it_can_be_left_out_or_refused(mixed):
    skipped = Data(untagged="skip")
    assert "d" not in tags(open_dataset(mixed, skipped))
    assert any("1 photo (d) without a tag" in line for line in check(mixed, skipped).warnings)
    refused(mixed, "'val' has no tagged photo", settings=Data(evaluate=("val",), untagged="skip"))
    strict = Data(untagged="refuse")
    refused(mixed, "list 'train': 1 photo (d)", "data.untagged: negative", settings=strict)
    assert any("1 photo (d)" in line for line in check(mixed, strict).problems)


def test_classes_left_out_make_photos_of_background(mixed):
    only = Data(classes=("cat",))
    assert tags(open_dataset(mixed, only)) == {"a": ("cat",), "b": ("cat",), "c": (), "d": ()}
    assert check(mixed, only).untagged == "negative (train 2)"


def test_tagged_photos_are_still_needed(mixed):
    refused(mixed, "1 tagged photos: at least 2", settings=Data(classes=("dog",)))
    refused(table(mixed, "a,,train", "b,,train"), "0 classes")


def test_a_folder_called_background_with_an_underscore_is_no_tag(tmp_path):
    root = photos(tmp_path, "cat/a.jpg", "cat/b.jpg", "_background/a.jpg")
    assert tags(open_dataset(root, Data())) == {
        "_background/a": (),
        "cat/a": ("cat",),
        "cat/b": ("cat",),
    }
    lists = photos(
        tmp_path / "lists", "train/cat/a.jpg", "train/cat/b.jpg", "val/_background/c.jpg"
    )
    assert tags(open_dataset(lists, Data(evaluate=("val",))), "val") == {"val/_background/c": ()}
    refused(photos(tmp_path / "none", "_background/a.jpg"), "nor a sub-folder per tag")


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ([{"result": []}], {"c": ()}),
        ([], {}),
        ([{"result": [], "was_cancelled": True}], {}),
        ([{"result": [{"type": "rating", "value": {"rating": 3}}]}], {}),
    ],
)
def test_label_studio_says_what_is_finished(tmp_path, annotations, expected):
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    cat = {"result": [{"type": "choices", "value": {"choices": ["cat"]}}]}
    tasks = {"a.jpg": [cat], "b.jpg": [cat], "c.jpg": annotations}
    content = [{"data": {"image": name}, "annotations": made} for name, made in tasks.items()]
    (tmp_path / "project.json").write_text(json.dumps(content))
    assert tags(open_dataset(tmp_path, Data())) == {"a": ("cat",), "b": ("cat",)} | expected
    said = check(tmp_path, Data()).untagged
    assert said.startswith("negative (train 1)")
    assert said.endswith("1 left out: not said to be finished") == (not expected)


@pytest.mark.parametrize(("label", "expected"), [("background", {"c": ()}), ("", {})])
def test_cvat_says_what_is_empty(tmp_path, label, expected):
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    tag = f'<tag label="{label}"/>' if label else ""
    inner = {"a.jpg": '<tag label="cat"/>', "b.jpg": '<tag label="cat"/>', "c.jpg": tag}
    images = [f'<image name="{name}">{content}</image>' for name, content in inner.items()]
    (tmp_path / "cvat.xml").write_text(f"<annotations>{''.join(images)}</annotations>")
    assert tags(open_dataset(tmp_path, Data())) == {"a": ("cat",), "b": ("cat",)} | expected


def test_without_a_mask_they_are_measured_only_if_that_is_asked_for(mixed):
    save_mask(np.ones((4, 6), np.uint8), mixed / "masks" / "a.png")
    save_mask(np.zeros((4, 6), np.uint8), mixed / "masks" / "c.png")
    measured = {
        asked: [
            s.name
            for s in open_dataset(mixed, Data(untagged_masks=asked)).splits["train"]
            if s.mask
        ]
        for asked in (False, True)
    }
    assert measured == {False: ["a", "c"], True: ["a", "c", "d"]}
    data = open_dataset(mixed, Data(untagged_masks=True))
    assert data.truth is not None
    assert data.truth(data.splits["train"][3]).tolist() == [[0] * 6] * 4


def test_a_class_in_nearly_every_photo_is_reported():
    (everywhere,) = tag_warnings("train", [{0}] * 19 + [set()], ["cat"])
    assert everywhere.startswith("list 'train': class 'cat' is in 19 of 20 photos:")
    assert tag_warnings("train", [{0}] * 19 + [set()] * 2, ["cat"]) == []


def test_classes_that_always_come_together_are_reported():
    photos = [{0, 1}] * 10 + [{2}] * 10
    (together,) = tag_warnings("train", photos, ["cup", "saucer", "dog"])
    assert "classes 'cup' and 'saucer' always come together (10 photos)" in together
    assert tag_warnings("train", [*photos, {0}], ["cup", "saucer", "dog"]) == []


def test_classes_with_very_few_photos_are_reported():
    photos = [{0}] * 9 + [{1}] * 10 + [set()] * 10
    (rare,) = tag_warnings("train", photos, ["dodo", "dog"])
    assert (
        rare
        == "list 'train': too few photos to learn from: dodo (9): add photos, 10 or more of each"
    )
    assert tag_warnings("train", photos, ["dodo", "dog"], least=10) == []


@pytest.mark.parametrize(
    "word", ["none", "None", "-", "--", "?", "N/A", "negative", "no tag", "no_tag"]
)
def test_a_tag_that_means_none_is_told(tmp_path, word):
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    table(
        tmp_path,
        *(f"{name},{tag};,train" for name, tag in zip("abcd", ["cat", word] * 2, strict=True)),
    )
    assert word in open_dataset(tmp_path, Data()).classes
    (told,) = (line for line in check(tmp_path, Data()).warnings if "like any other" in line)
    assert told == (
        f"list 'train': tag {word!r} is a class like any other: photos that show none of the"
        " classes have no tag: leave their labels empty, or put them in the folder _background"
    )


def test_tags_that_mean_something_are_not(tmp_path):
    names = ["non-stick", "nan bread", "negative space", "empty", "no", "1", "日本", "é"]
    lines = tag_warnings("train", [{k} for k in range(len(names))] * 20, names)
    assert not any("like any other" in line for line in lines)
    (told,) = tag_warnings("train", [{0}, {1}, {2}] * 20, ["-", "none", "cat"])
    assert told.startswith("list 'train': tags '-', 'none' are classes like any other")
