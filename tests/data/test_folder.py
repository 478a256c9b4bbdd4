"""Own photos: both layouts, every way of writing the labels file, masks and class order."""

from pathlib import Path

import numpy as np
import pytest
from opened import refused, tags
from PIL import Image

from esol.data import open_dataset
from esol.data.images import save_mask
from esol.data.reading import split_tags
from esol.errors import InputError
from esol.settings import Data


def photo(path: Path, width: int = 6, height: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "teal").save(path)


def labelled(root: Path, *rows: str, header: str = "image,labels") -> Path:
    """Four photos and a labels file."""
    for name in ("a.jpg", "b.png", "sub/c.JPG", "images/d.jpg"):
        photo(root / name)
    (root / "labels.csv").write_text("\n".join((header, *rows)) + "\n")
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog cat", ("cat", "dog")),
        ("  dog   dog ", ("dog",)),
        ("traffic light;car", ("car", "traffic light")),
        ("traffic  light | car", ("car", "traffic light")),
        ("traffic light;", ("traffic light",)),
        ("a b|c;d e", ("a b", "c", "d e")),
        (" ; ", ()),
    ],
)
def test_tag_separators(text: str, expected: tuple[str, ...]) -> None:
    assert split_tags(text) == expected


def test_labels_file(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg,dog cat", "b,red car;dog", "sub\\c.JPG,cat", '"d.jpg","dog"')
    data = open_dataset(root, Data())
    assert data.kind == "folder"
    assert data.classes == ("cat", "dog", "red car")
    expected = {"a": ("cat", "dog"), "b": ("dog", "red car"), "d": ("dog",), "sub/c": ("cat",)}
    assert tags(data) == expected
    assert [s.image for s in data.splits["train"]][2:] == [
        root / "images/d.jpg",
        root / "sub/c.JPG",
    ]
    assert data.truth is None
    assert data.mask_set == ""
    assert data.notes == ()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, ends: str) -> None:
    root = labelled(tmp_path)
    text = ends.join(("Image, Labels", "a.jpg,Käse", "", "b.png,Käse Brot", ""))
    (root / "labels.csv").write_bytes(text.encode(encoding))
    assert open_dataset(root, Data()).classes == ("Brot", "Käse")


def test_lists(tmp_path: Path) -> None:
    rows = (
        "a.jpg,x,train",
        "b.png,x,train",
        "sub/c.JPG,y,val",
        "images/d.jpg,y,test",
        "a.jpg,x,val",
    )
    root = labelled(tmp_path, *rows, header="image,labels,split")
    data = open_dataset(root, Data(evaluate=("val", "val")))
    assert list(data.splits) == ["train", "val"]
    assert [s.name for s in data.splits["val"]] == ["a", "sub/c"]
    assert [s.name for s in data.samples("train", "val")] == ["a", "b", "sub/c"]
    refused(root, "data.evaluate", "'nope'", "test, train, val", settings=Data(evaluate=("nope",)))
    refused(root, "data.train", "'nope'", settings=Data(train="nope"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("missing.jpg,dog", ("labels.csv: line 3", "missing.jpg")),
        ("../a.jpg,dog", ("line 3", "out of the data folder")),
        ("/etc/a.jpg,dog", ("line 3", "out of the data folder")),
        ("C:\\a.jpg,dog", ("line 3", "out of the data folder")),
        (",dog", ("line 3", "no image")),
        ("a.jpg,dog", ("line 3", "line 2 too")),
        ("a,dog", ("line 3", "line 2 too")),
        ("a.jpg,cat", ("line 3", "other tags on line 2")),
        ("b.png,cat,dog", ("line 3", "fields")),
        ('b.png,"cat,dog"', ("line 3", "commas")),
        ('b.png,"cat', ("labels.csv", "not CSV")),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, words: tuple[str, ...]) -> None:
    refused(labelled(tmp_path, "a.jpg,dog", row), *words)


def test_bad_files(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg;dog", header="image;labels")
    refused(root, "labels.csv", "header")
    (root / "labels.csv").write_bytes("image,labels\na.jpg,Käse\n".encode("latin-1"))
    refused(root, "labels.csv", "UTF-8")
    (root / "labels.csv").write_text("image,labels\n")
    refused(root, "labels.csv", "no rows")
    refused(root, "tags.csv", settings=Data(kind="folder", labels="tags.csv"))
    refused(tmp_path / "absent", "no such folder")
    photo(root / "a.png")
    (root / "labels.csv").write_text("image,labels\na,dog\nb,dog\n")
    refused(root, "line 2", "a.jpg, a.png", "suffix")
    (root / "labels.csv").write_text("image,labels\na.jpg,dog\na.png,dog\n")
    refused(root, "line 3", "share the name")


def test_folder_per_tag(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/2.png", "dog/1.jpg", ".trash/1.jpg", "dog/.hidden.jpg"):
        photo(tmp_path / name)
    save_mask(np.ones((4, 6), dtype=np.uint8), tmp_path / "masks" / "cat" / "1.png")
    data = open_dataset(tmp_path, Data())
    assert tags(data) == {"cat/1": ("cat",), "cat/2": ("cat",), "dog/1": ("dog",)}
    assert [s.mask is not None for s in data.splits["train"]] == [True, False, False]
    photo(tmp_path / "loose.jpg")
    refused(tmp_path, "loose.jpg", "outside a tag folder")
    (tmp_path / "loose.jpg").unlink()
    photo(tmp_path / "cat" / "deep" / "3.jpg")
    refused(tmp_path, "3.jpg", "too deep")


def test_nothing_recognised(tmp_path: Path) -> None:
    refused(tmp_path, "labels.csv", "JPEGImages", "instances_*.json")
    photo(tmp_path / "images" / "a.jpg")
    refused(tmp_path, "labels.csv", "sub-folder per tag")


def test_mask_values_follow_the_class_order(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg,dog cat", "b.png,emu", "images/d.jpg,cat")
    stored = np.array([[0, 1, 2, 3, 255, 0]] * 4, dtype=np.uint8)
    for name in ("a", "b", "d"):
        save_mask(stored, root / "masks" / f"{name}.png")

    def values(settings: Data) -> list[int]:
        data = open_dataset(root, settings)
        assert data.truth is not None
        assert data.mask_set == (settings.masks or "masks")
        return data.truth(data.splits["train"][0])[0].tolist()

    assert values(Data()) == [0, 1, 2, 3, 255, 0]
    assert open_dataset(root, Data()).classes == ("cat", "dog", "emu")
    # Without classes.txt, settings that name all tags tell the order; a part of them cannot.
    assert values(Data(classes=("emu", "dog", "cat"))) == [0, 1, 2, 3, 255, 0]
    refused(root, "classes.txt", settings=Data(classes=("emu", "cat")))
    (root / "classes.txt").write_text("emu\ndog\ncat\n")
    assert open_dataset(root, Data()).classes == ("emu", "dog", "cat")
    assert values(Data(classes=("cat", "dog", "emu"))) == [0, 3, 2, 1, 255, 0]
    data = open_dataset(root, Data(classes=("cat",), untagged="skip"))
    assert tags(data) == {"a": ("cat",), "d": ("cat",)}
    assert "1 of 3" in data.notes[0]
    assert values(Data(classes=("cat",))) == [0, 255, 255, 1, 255, 0]
    refused(root, "'ape'", "emu, dog, cat", settings=Data(classes=("ape",)))
    (root / "classes.txt").write_text("emu\ndog\n")
    refused(root, "classes.txt", "'cat'")
    (root / "masks").rename(root / "truth")
    refused(root, "data.masks", settings=Data(masks="nowhere"))
    (root / "classes.txt").unlink()
    assert values(Data(masks="truth")) == [0, 1, 2, 3, 255, 0]


def test_truth_refuses_wrong_masks(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg,dog", "b.png,cat", "sub/c.JPG,cat")
    save_mask(np.full((4, 6), 3, dtype=np.uint8), root / "masks" / "a.png")
    save_mask(np.zeros((6, 4), dtype=np.uint8), root / "masks" / "b.png")
    data = open_dataset(root, Data())
    assert data.truth is not None
    for sample, word in zip(data.splits["train"], ("value 3", "4 x 6", "no mask"), strict=True):
        with pytest.raises(InputError, match=word):
            data.truth(sample)


def test_masks_of_other_names_are_noticed(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg,dog", "b.png,cat")
    save_mask(np.zeros((4, 6), dtype=np.uint8), root / "masks" / "a_mask.png")
    refused(root, "masks", "a.png")


def test_limit_is_evenly_spaced_among_tagged_photos(tmp_path: Path) -> None:
    for i in range(20):
        photo(tmp_path / f"{i:02d}.jpg")
    rows = [f"{i:02d}.jpg,{'dog' if i % 2 else 'cat'}" for i in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(("image,labels", *rows)))
    data = open_dataset(tmp_path, Data(limit=5))
    assert [s.name for s in data.splits["train"]] == ["00", "04", "08", "12", "16"]
    data = open_dataset(tmp_path, Data(limit=5, classes=("dog",), untagged="skip"))
    assert [s.name for s in data.splits["train"]] == ["01", "05", "09", "13", "17"]
    assert len(open_dataset(tmp_path, Data(limit=50)).splits["train"]) == 20
    refused(tmp_path, "at least 2", settings=Data(limit=1))


def test_linked_folders_are_followed_but_not_for_ever(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        photo(tmp_path / "elsewhere" / name)
    root = tmp_path / "root"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "up").symlink_to(root, target_is_directory=True)
    assert set(tags(open_dataset(root, Data()))) == {"cat/1", "cat/2"}


def test_fingerprint_follows_tags_not_places(tmp_path: Path) -> None:
    prints = []
    for place, tag in (("one", "dog"), ("two", "dog"), ("three", "cat")):
        root = labelled(tmp_path / place, "a.jpg,dog cat", f"b.png,{tag}")
        prints.append(open_dataset(root, Data()).fingerprint("train"))
    assert prints[0] == prints[1] != prints[2]
