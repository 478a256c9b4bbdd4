"""Tables of tags under any names of columns: a row per photo, per photo and tag, or one-hot."""

import json
from pathlib import Path

import pytest
from opened import refused, tags
from PIL import Image

from esol.data import open_dataset
from esol.data.check import check
from esol.settings import Data

EXPECTED = {"a": ("big dog", "cat"), "b": ("cat",), "c": ()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abc":
        Image.new("RGB", (6, 4), "teal").save(tmp_path / f"{name}.jpg")
    return tmp_path


def write(root: Path, text: str, name: str = "table.csv") -> Path:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root


LONG = "file,tag\na.jpg,cat\na.jpg,big dog\nb.jpg,cat\nb.jpg,cat\nc.jpg,\n"
WIDE = "filename,tags\na.jpg,cat;big dog\nb.jpg,cat;\nc.jpg,\n"
ONE_HOT = "image,big dog,cat\na.jpg,1,1\nb.jpg,0,1\nc.jpg,0,0\n"


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        LONG.replace(",", ";"),
        LONG.replace(",", "\t"),
        LONG.replace("file,tag", "Image_ID,Category"),
        LONG.replace("a.jpg", "photos/a.jpg").replace("c.jpg", "c"),
        "box,class,width,path\n"
        + "\n".join(
            f"{n},{tag},6,{name}"
            for n, (name, tag) in enumerate(
                [("b.jpg", "cat"), ("a.jpg", "big dog"), ("c", ""), ("a.jpg", "cat")]
            )
        ),
        WIDE,
        WIDE.replace(";", "|").replace(",", ";"),
        "labels,image,note\ncat;big dog,a,x\ncat;,b,\n,c,y",
        ONE_HOT,
        ONE_HOT.replace(",", "\t"),
        ONE_HOT.replace("0\n", "0.0\n").replace("1\n", "1.0\n"),
        ",filename,big dog,cat,split\n0,a.jpg,1,1,train\n1,b.jpg,0,1,train\n2,c.jpg,0,0,train\n",
    ],
)
def test_a_table_says_the_same_in_many_forms(root, text):
    assert tags(open_dataset(write(root, text), Data())) == EXPECTED
    assert tags(open_dataset(write(root, text, "labels.csv"), Data())) == EXPECTED
    one_hot = "big dog,cat" in text or "big dog\tcat" in text
    kind = "One-hot table" if one_hot else "Table of tags"
    assert check(root, Data()).tag_set == f"labels.csv ({kind})"


def test_lists_are_those_of_the_file_or_of_folders(root):
    write(root, "file,tag,subset\na,cat,train\nb,cat,train\na,cat,val\nb,cow,train\n")
    data = open_dataset(root, Data(evaluate=("val",)))
    assert tags(data) == {"a": ("cat",), "b": ("cat", "cow")}
    assert tags(data, "val") == {"a": ("cat",)}
    write(root, "file,tag,subset\na,cat,train\nb,cat,train\na,cow,val\n")
    refused(root, "line 4", "a.jpg has other tags on line 2", settings=Data(evaluate=("val",)))


def test_each_list_may_have_its_own_table(tmp_path):
    for name in ("train/a", "train/b", "val/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 4)).save(tmp_path / f"{name}.jpg")
    write(tmp_path, "file,tag\na,cat\nb,cow\n", "train/tags.csv")
    write(tmp_path, "file,tag\na,cow\n", "val/tags.csv")
    data = open_dataset(tmp_path, Data(evaluate=("val",)))
    assert tags(data) == {"train/a": ("cat",), "train/b": ("cow",)}
    assert tags(data, "val") == {"val/a": ("cow",)}


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("id,breed", ("image=id", "label=breed")),
        ("image,label,class", ("label=class",)),
        ("filename,path,label", ("image=path",)),
        ("image,fold,label", ("split=fold",)),
    ],
)
def test_columns_can_be_named(root, header, columns):
    cells = {"id": "a b", "image": "a b", "path": "a b", "filename": "x x", "fold": "train train"}
    cells |= {"breed": "cat cow", "label": "cat cow", "class": "cat cow"}
    if "class" in header:
        cells["label"] = "1 2"
    rows = [[cells[name].split()[k] for name in header.split(",")] for k in range(2)]
    text = "\n".join([header, *(",".join(row) for row in rows)])
    data = open_dataset(write(root, text), Data(columns=columns))
    assert tags(data) == {"a": ("cat",), "b": ("cow",)}
    if "fold" not in header:
        refused(root, "data.columns")


def test_several_tags_in_a_named_column(root):
    write(root, "image,breed\na,cat cow\nb,cow\n", "table.csv")
    data = open_dataset(root, Data(columns=("labels=breed",)))
    assert tags(data) == {"a": ("cat", "cow"), "b": ("cow",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,tag,class\na,cat,x\n", ("tag and class may hold the tags", "[label=NAME]")),
        ("file,tag,tags\na,cat,x\n", ("tag and tags may hold the tags", "[labels=NAME]")),
        ("file,path,tag\na,a,x\n", ("file and path may hold the photos", "[image=NAME]")),
        ("file,tag,split,subset\na,x,train,train\n", ("may hold the lists", "[split=NAME]")),
        ("file,tag\na,1\nb,0\n", ("'tag' has only 0 and 1",)),
        ("file,tag\na,cat; dog\n", ("line 2", "'cat; dog'", "one tag a row")),
        ("file,tag\na,cat dog\nb,cat\nc,dog\n", ("line 2", "'cat dog'", "one tag a row")),
        ("file,tag\na,cat\na,\n", ("line 3", "a row without a tag, too")),
        ("file,tag\n/x/a.jpg,cat\n", ("line 2", "leads out")),
        ("file,tag\nz.jpg,cat\n", ("line 2", "no such photo")),
        ("file,tag,tag\na,cat,x\n", ("line 1", "two columns are called 'tag'")),
        ("file,tag\na,cat,x\n", ("line 2", "fields")),
        ('file,tag\na,"cat\n', ("not a .csv file",)),
        ("file,tags\na,cat\na,dog\n", ("line 3", "other tags on line 2")),
        ('file,tags\na,"cat,dog"\n', ("line 2", "not by commas")),
        ("file,cat,dog\na,1,0\nb,2,0\n", ("line 3", "cat '2' is neither 0 nor 1")),
        ("file,cat,dog\n../a,1,0\n", ("line 2", "leads out")),
    ],
)
def test_mistakes_in_a_table(root, text, words):
    refused(write(root, text), "table.csv", *words)


def test_columns_that_are_not_there_or_not_of_a_table(root):
    write(root, LONG)
    refused(root, "no column 'x'", "file, tag", settings=Data(columns=("label=x",)))
    (root / "table.csv").unlink()
    (root / "cat").mkdir()
    (root / "a.jpg").rename(root / "cat/a.jpg")
    refused(root, "no table of tags", "data.labels", settings=Data(columns=("label=x",)))
    write(root, '{"file_name": "a.jpg", "tags": ["x"]}', "metadata.jsonl")
    named = Data(labels="metadata.jsonl", columns=("label=x",))
    refused(root, "metadata.jsonl", "remove the setting", settings=named)


@pytest.mark.parametrize("name", ["tags.csv", "labels.csv"])
def test_labels_csv_in_the_folders_of_lists(tmp_path, name):
    lists(tmp_path)
    for split in ("train", "val"):
        write(tmp_path, f"image,labels\n{split}0.jpg,cat\n{split}1.jpg,cow\n", f"{split}/{name}")
    both_lists(tmp_path)


def lists(root: Path) -> None:
    for split in ("train", "val"):
        (root / split).mkdir()
        for number in "01":
            Image.new("RGB", (6, 4)).save(root / split / f"{split}{number}.jpg")


def both_lists(root: Path) -> None:
    data = open_dataset(root, Data(evaluate=("val",)))
    for split in ("train", "val"):
        expected = {f"{split}/{split}0": ("cat",), f"{split}/{split}1": ("cow",)}
        assert tags(data, split) == expected


@pytest.mark.parametrize("form", ["table", "one-hot", "coco"])
def test_bare_names_get_the_lists_of_their_photos(tmp_path, form):
    lists(tmp_path)
    photos = ["train0", "train1", "val0", "val1"]
    if form == "table":
        rows = [f"{name},{'cow' if name[-1] == '1' else 'cat'}" for name in photos]
        write(tmp_path, "image_id,label\n" + "\n".join(rows))
    elif form == "one-hot":
        rows = [f"{name}.jpg,{int(name[-1] == '0')},{name[-1]}" for name in photos]
        write(tmp_path, "filename,cat,cow\n" + "\n".join(rows))
    else:
        content = {
            "images": [{"id": n, "file_name": f"{name}.jpg"} for n, name in enumerate(photos)],
            "annotations": [{"id": n, "image_id": n, "category_id": n % 2} for n in range(4)],
            "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "cow"}],
        }
        write(tmp_path, json.dumps(content), "coco.json")
    both_lists(tmp_path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two folders of tags."""
    for tag in ("cat", "dog"):
        (tmp_path / tag).mkdir()
        for number in "01":
            Image.new("RGB", (6, 4)).save(tmp_path / tag / f"{tag}{number}.jpg")
    return tmp_path


FOLDERS = {f"{tag}/{tag}{n}": (tag,) for tag in ("cat", "dog") for n in "01"}


@pytest.mark.parametrize(
    "text",
    [
        "file,size\ncat/cat0.jpg,1\ndog/dog0.jpg,1\n",
        "image,label\ncat/cat0.jpg,cat\ncat1,cat\n",
        "image,label\ncat0,cat\ncat1,dog\ndog0,dog\ndog1,dog\n",
    ],
    ids=["a table of something else", "a part of the photos", "other tags"],
)
def test_a_stray_table_beside_folders_of_tags(folders, text):
    write(folders, text, "sizes.csv")
    refused(folders, "sizes.csv", "(cat, dog)", "data.labels", "move it away")
    assert "cat/cat0" in tags(open_dataset(folders, Data(labels="sizes.csv")))
    (folders / "sizes.csv").rename(folders / "labels.csv")
    assert "cat/cat0" in tags(open_dataset(folders, Data()))


def test_a_table_that_says_what_the_folders_say(folders):
    rows = "".join(f"{name}.jpg,{tag}\n" for name, (tag,) in FOLDERS.items())
    write(folders, "image,label\n" + rows)
    assert tags(open_dataset(folders, Data())) == FOLDERS
    assert check(folders, Data()).tag_set == "table.csv (Table of tags)"


def test_lists_in_one_hot_tables(root):
    write(root, "image,cat,split\na.jpg,1,train\nb.jpg,1,\nc.jpg,0,val\n")
    refused(root, "table.csv: line 3: b.jpg is in no list", "fill the split column")
    write(root, "image,cat,split,subset\na.jpg,1,train,A\nb.jpg,1,train,B\nc.jpg,0,train,A\n")
    refused(root, "table.csv: split and subset may hold the lists: remove one")
    write(root, "image,cat,subset\na.jpg,1,0\nb.jpg,1,0\nb.jpg,1,1\nc.jpg,0,2\n")
    data = open_dataset(root, Data(train="0", evaluate=("1", "2")))
    assert tags(data, "0") == {"a": ("cat",), "b": ("cat",)}
    assert (tags(data, "1"), tags(data, "2")) == ({"b": ("cat",)}, {"c": ()})
    # Of 0 and 1 alone, it is a class.
    write(root, "image,cat,subset\na.jpg,1,0\nb.jpg,1,1\nc.jpg,0,1\n")
    assert tags(open_dataset(root, Data()))["b"] == ("cat", "subset")


def test_two_tables_are_not_guessed_among(root):
    write(root, LONG)
    write(root, WIDE, "other.tsv")
    refused(root, "other.tsv, table.csv", "data.labels")


def test_roboflows_unlabeled_photos_are_left_out(root):
    text = "filename, Unlabeled, cat\na.jpg, 0, 1\nb.jpg, 0, 1\nc.jpg, 1, 0\n"
    write(root, text, "_classes.csv")
    assert tags(open_dataset(root, Data())) == {"a": ("cat",), "b": ("cat",)}
    assert tags(open_dataset(root, Data(untagged="negative")))["c"] == ()
    write(root, text.replace("c.jpg, 1", "c.jpg, 0"), "_classes.csv")
    assert tags(open_dataset(root, Data()))["c"] == ()
