"""Own photos: both layouts, every way of writing the labels file, masks and class order."""

from pathlib import Path

import numpy as np
import pytest
from opened import refused, tags
from PIL import Image

from esol.data import RUN, open_dataset
from esol.data.images import save_mask
from esol.data.reading import split_cells
from esol.errors import InputError
from esol.runs.folder import DESCRIPTION
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
        (" ; ", ()),
    ],
)
def test_tag_separators(text: str, expected: tuple[str, ...]) -> None:
    assert split_cells([text]) == [expected]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a b", "c"], [("a", "b"), ("c",)]),
        (
            ["red car;dog", "red car", "grey  car"],
            [("dog", "red car"), ("red car",), ("grey car",)],
        ),
        (["a;b", "a b"], [("a", "b"), "'a b': other lines have ';': write 'a; b', or 'a b;' for "]),
        (["a b|c;d e"], ["'a b|c;d e' has ';', but '|' separates tags in this file"]),
        (["a;b", "c|d"], [("a", "b"), "'c|d' has '|', but ';' separates"]),
        (["a;", "Ka\u0308se"], [("a",), ("K\u00e4se",)]),
    ],
)
def test_one_separator_decides_for_the_whole_table(cells: list[str], expected: list) -> None:
    for found, wanted in zip(split_cells(cells), expected, strict=True):
        assert found == wanted or (isinstance(found, str) and found.startswith(wanted))


def test_labels_file(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg,dog cat", "b,dog red_car", "sub\\c.JPG,cat", '"d.jpg","dog"')
    data = open_dataset(root, Data())
    assert data.kind == "folder"
    assert data.classes == ("cat", "dog", "red_car")
    expected = {"a": ("cat", "dog"), "b": ("dog", "red_car"), "d": ("dog",), "sub/c": ("cat",)}
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
    root = labelled(tmp_path, "a.jpg;dog", header="image;words")
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


@pytest.mark.parametrize(
    "files",
    [
        ("train/1.jpg", "val/2.jpg"),
        ("images/1.jpg", "Masks/1.png"),
        ("train/images/1.jpg", "train/images/2.jpg", "Test/images/1.jpg"),
    ],
)
def test_folders_of_lists_and_parts_are_no_tags(tmp_path: Path, files: tuple[str, ...]) -> None:
    for name in files:
        photo(tmp_path / name)
    refused(tmp_path, "are no tags", "neither labels.csv nor a sub-folder per tag")


def test_such_a_folder_among_tags_is_a_class_only_if_it_is_named(tmp_path: Path) -> None:
    for name in ("car/1.jpg", "car/2.jpg", "test/3.jpg"):
        photo(tmp_path / name)
    refused(tmp_path, "a folder called 'test' is no tag", "data.classes")
    found = open_dataset(tmp_path, Data(classes=("car", "test")))
    assert tags(found)["test/3"] == ("test",)
    assert found.notes == ()
    (tmp_path / "classes.txt").write_text("car\ntest\n")
    assert tags(open_dataset(tmp_path, Data())) == tags(found)


def test_names_and_tags_in_either_form_of_unicode(tmp_path: Path) -> None:
    """Disks of Macs have decomposed names, tables and programs mostly composed ones."""
    composed, decomposed = "Ka\u0308fer".replace("a\u0308", "\u00e4"), "Ka\u0308fer"
    for photo_form, table_form in ((decomposed, composed), (composed, decomposed)):
        root = tmp_path / f"{photo_form}-photos"
        for name in ("1", "2"):
            photo(root / photo_form / f"{photo_form}{name}.jpg")
            mask = root / "masks" / photo_form / f"{photo_form}{name}.png"
            save_mask(np.ones((4, 6), dtype=np.uint8), mask)
        data = open_dataset(root, Data(classes=(table_form,)))
        expected = {f"{composed}/{composed}{name}": (composed,) for name in ("1", "2")}
        assert tags(data) == expected
        assert all(sample.mask is not None for sample in data.splits["train"])
        rows = [f"{table_form}/{table_form}{name}.jpg,{table_form}" for name in ("1", "2")]
        (root / "labels.csv").write_text("\n".join(("image,labels", *rows)), encoding="utf-8")
        (root / "classes.txt").write_text(table_form, encoding="utf-8")
        assert tags(open_dataset(root, Data())) == expected


def test_masks_in_linked_folders_and_with_any_ending(tmp_path: Path) -> None:
    root = labelled(tmp_path / "root", "a.jpg,x", "sub/c.JPG,x")
    save_mask(np.ones((4, 6), dtype=np.uint8), tmp_path / "store" / "c.png")
    (tmp_path / "store" / "c.png").rename(tmp_path / "store" / "c.PNG")
    (root / "masks").mkdir()
    (root / "masks" / "sub").symlink_to(tmp_path / "store", target_is_directory=True)
    a, c = open_dataset(root, Data()).splits["train"]
    assert (a.mask, c.mask) == (None, root / "masks" / "sub" / "c.PNG")
    save_mask(np.ones((4, 6), dtype=np.uint8), tmp_path / "store" / "c.png")
    refused(root, "c.png: same name as", "keep one mask of a photo")


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg,x", "b.png,x")
    for name in ("1.MP4", "2.nef", "sub/3.mp4", "readme.txt", ".4.mp4"):
        (root / name).write_bytes(b"")
    line = "3 files are not read as photos (2 .mp4, 1 .nef): save as JPEG or PNG"
    assert open_dataset(root, Data()).notes == (line,)


def test_a_folder_of_photos_that_are_not_read_says_so(tmp_path: Path) -> None:
    for name in ("cat/1.nef", "cat/2.NEF"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    refused(tmp_path, "no known layout", "2 files are not read as photos (2 .nef)")


def test_tags_that_nearly_agree_are_asked_about_and_stay_two(tmp_path: Path) -> None:
    root = labelled(tmp_path, "a.jpg,Dog caf\u00e9", "b.png,dog cafe ice_cream", "sub/c.JPG,bus")
    data = open_dataset(root, Data())
    assert len(data.classes) == 6
    dog, cafe = data.notes
    assert "tags 'Dog' and 'dog' differ only in case, accents or spaces" in dog
    assert "'cafe' and 'caf\u00e9'" in cafe


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
    save_mask(np.zeros((4, 6), dtype=np.uint8), root / "masks" / "mask_a.png")
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


def test_the_folder_of_a_run_is_no_data(tmp_path):
    assert RUN == DESCRIPTION
    photo(tmp_path / "07-masks" / "a.png")
    (tmp_path / DESCRIPTION).write_text("{}")
    with pytest.raises(InputError, match=r"the folder of a run, not of photos.*esol run"):
        open_dataset(tmp_path, Data())


@pytest.mark.parametrize("cells", [["dog, person", "dog"], ["traffic light; car", "dog, car"]])
def test_commas_between_tags_are_no_part_of_them(cells):
    (wrong,) = (found for found in split_cells(cells) if isinstance(found, str))
    assert "not by commas" in wrong
