"""Tables of tags: labels.csv, and those of Hugging Face image folders."""

import shutil
from collections.abc import Callable
from functools import partial

from corpus import Command, Kind, Place
from esol.data import open_dataset
from esol.settings import Data

TAGS = {"a": ("cat",), "b": ("cat", "dog"), "c": ("dog",), "d": ("cat", "dog")}
SOUND = (
    "image,labels\nimages/a.jpg,cat\nimages/b.jpg,cat dog\nimages/c.jpg,dog\nimages/d.jpg,dog cat\n"
)


def table(content: str | bytes) -> Callable[[Place], Command]:
    """``esol check`` of a data set with this labels.csv."""

    def make(place: Place) -> Command:
        data = content.encode() if isinstance(content, str) else content
        (place.data / "labels.csv").write_bytes(data)
        return ["check", place.data]

    return make


def run(content: str) -> Callable[[Place], Command]:
    """``esol run``, which tells the first problem of several."""

    def make(place: Place) -> Command:
        table(content)(place)
        return ["run", "demo", place.data, place.out, "--data.evaluate=[train]"]

    return make


def same(place: Place) -> None:
    """The tags are those of the sound table."""
    data = open_dataset(place.data, Data())
    found = {s.name: tuple(data.classes[t] for t in s.tags) for s in data.samples("train")}
    assert found == TAGS


def renamed(names: dict[str, str], rows: str, place: Place) -> Command:
    """``esol check`` of photos of other names, listed by these rows."""
    for old, new in names.items():
        path = place.data / new
        path.parent.mkdir(parents=True, exist_ok=True)
        (place.data / "images" / f"{old}.jpg").rename(path)
        mask = (place.data / "masks" / new.removeprefix("images/")).with_suffix(".png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        (place.data / "masks" / f"{old}.png").rename(mask)
    return table(f"image,labels\n{rows}images/c.jpg,dog\nimages/d.jpg,dog cat\n")(place)


def named(*names: str) -> Callable[[Place], None]:
    """The first photos are called so, and have their masks."""

    def then(place: Place) -> None:
        samples = open_dataset(place.data, Data()).samples("train")
        assert {s.name for s in samples} == {*names, "c", "d"}
        assert all(s.mask is not None for s in samples)

    return then


def classes(*names: str) -> Callable[[Place], None]:
    def then(place: Place) -> None:
        assert open_dataset(place.data, Data()).classes == names

    return then


def folder(place: Place) -> Command:
    (place.data / "labels.csv").unlink()
    (place.data / "labels.csv").mkdir()
    return ["check", place.data]


def stray(place: Place) -> Command:
    """``esol check`` of a folder per tag with a table of sizes."""
    for name, tag in {"a": "cat", "b": "dog"}.items():
        (place.data / tag).mkdir()
        (place.data / "images" / f"{name}.jpg").rename(place.data / tag / f"{name}.jpg")
    shutil.rmtree(place.data / "images")
    (place.data / "labels.csv").unlink()
    place.write("data/sizes.csv", "file,large\ncat/a.jpg,1\ndog/b.jpg,0\n")
    return ["check", place.data]


def metadata(name: str, content: str | bytes) -> Callable[[Place], Command]:
    """``esol check`` of an image folder of Hugging Face."""

    def make(place: Place) -> Command:
        (place.data / "labels.csv").unlink()
        place.write(f"data/{name}", content)
        return ["check", place.data]

    return make


MANY = 1_000_000


def million_photos_gone(place: Place) -> Command:
    rows = "".join(f"images/{number:07}.jpg,cat dog\n" for number in range(MANY))
    return run(f"image,labels\n{rows}")(place)


def million_rows(place: Place) -> Command:
    """A million rows that are right: four photos, each in 250,000 lists."""
    rows = (
        f"images/{name}.jpg,{' '.join(tags)},list{number}\n"
        for number in range(MANY // 4)
        for name, tags in TAGS.items()
    )
    table("image,labels,split\n" + "".join(rows))(place)
    return ["check", place.data, "--data.train=list249999", "--data.evaluate=[list0]"]


def last_list(place: Place) -> None:
    data = open_dataset(place.data, Data(train="list249999", evaluate=("list0",)))
    assert len(data.samples("list249999")) == 4


JSONL = """\
{"file_name": "images/a.jpg", "tags": ["cat"]}
{"file_name": "images/b.jpg", "tags": "dog cat"}

{"file_name": "images/c.jpg", "tags": ["dog"]}
{"file_name": "images/d.jpg", "tags": ["cat", "dog", "cat"]}
"""
CSV = SOUND.replace("image,labels", "file_name,tags")

SAME = {
    "BOM": SOUND.encode("utf-8-sig"),
    "CRLF": SOUND.replace("\n", "\r\n"),
    "CR": SOUND.replace("\n", "\r"),
    "no line end at the end": SOUND.rstrip("\n"),
    "quotes": SOUND.replace("images/a.jpg,cat", '"images/a.jpg","cat"'),
    "spaces around the header": SOUND.replace("image,labels", " Image , LABELS "),
    "empty lines": SOUND.replace("\n", "\n\n") + ",\n",
    "semicolons": SOUND.replace("cat dog", "cat ; dog ;").replace("dog cat", "dog;cat"),
    "bars": SOUND.replace("cat dog", "cat|dog").replace("dog cat", "dog|cat"),
    "empty columns at the end": SOUND.replace("\n", ",,\n"),
    "empty columns in rows alone": SOUND.replace("\n", ", ,\n").replace("labels, ,", "labels"),
    "spaces at the ends of cells": SOUND.replace("images/", "  images/").replace(",", " ,  "),
    "a tag twice in a row": SOUND.replace("cat dog", "dog cat  dog\t"),
    "backslashes": SOUND.replace("images/", "images\\"),
    "paths without suffix or folder": SOUND.replace("images/", "").replace(".jpg", ""),
    "semicolons between columns": SOUND.replace(",", ";"),
    "tabs between columns": SOUND.replace(",", "\t"),
    "other columns": "Tags,x,File_Name\n"
    + "".join(f"{' '.join(tags)},,{name}.jpg\n" for name, tags in TAGS.items()),
    "a row per tag": "path,class\n"
    + "".join(f"a/b/images/{name}.jpg,{tag}\n" for name, tags in TAGS.items() for tag in tags),
    "one-hot": "image,cat,dog\na,1,0\nb,1,1\nc,0,1\nd,1,1\n",
    "tab inside tags": SOUND.replace("cat dog", "cat\tdog"),
}

REFUSED = {
    "empty file": ("", ("labels.csv: line 1", "header must be")),
    "no header": (SOUND[len("image,labels\n") :], ("labels.csv: line 1", "header must be")),
    "another header": ("one,two\na,b\n", ("labels.csv: line 1", "header must be")),
    "two columns of tags": ("image,label,class\na,b,c\n", ("labels.csv", "--data.columns")),
    "numbers for tags": ("image,label\na,1\nb,0\n", ("labels.csv", "only 0 and 1")),
    "header alone": ("image,labels\n", ("labels.csv", "add one per photo")),
    "Latin-1": (
        SOUND.replace("dog", "d\xf6g").encode("latin-1"),
        ("labels.csv", "save it as UTF-8"),
    ),
    "UTF-16": (SOUND.encode("utf-16"), ("labels.csv", "save it as UTF-8")),
    "quote without end": (SOUND + 'images/d.jpg,"cat', ("labels.csv: line", "not CSV")),
    "quote amid a field": (
        SOUND.replace("images/a.jpg", '"images"/a.jpg'),
        ("labels.csv: line 2", "not CSV"),
    ),
    "a field of 200 KB": (
        SOUND + f"images/d.jpg,{'x' * 200_000}\n",
        ("labels.csv: line 6", "not CSV"),
    ),
}

RUN = {
    "a field too many": (SOUND.replace("a.jpg,cat", "a.jpg,cat,dog"), ("line 2", "quote those")),
    "a field too few": (SOUND.replace("a.jpg,cat", "a.jpg"), ("line 2", "as the header")),
    "no tag at all": (
        "image,labels\nimages/a.jpg,\nimages/b.jpg,\n",
        ("data", "must be 1 .. 254"),
    ),
    "no photo": (SOUND.replace("images/a.jpg,", ","), ("line 2", "no image given")),
    "commas in quotes": (
        SOUND.replace("cat dog", '"cat,dog"'),
        ("line 3", "not by commas"),
    ),
    "two separators": (
        SOUND.replace("cat dog", "cat;dog").replace("dog cat", "dog|cat"),
        ("line 5", "separates tags in this file"),
    ),
    "spaces where others have semicolons": (
        SOUND.replace("cat dog", "cat;dog"),
        ("line 5", "'dog; cat', or 'dog cat;' for one tag"),
    ),
    "a photo of a kind that is not read": (
        SOUND.replace("a.jpg", "a.NEF"),
        ("line 2", "kind .nef is not read: save as JPEG or PNG"),
    ),
    "photo gone": (SOUND.replace("a.jpg", "x.jpg"), ("line 2", "fix the path")),
    "NUL byte": (SOUND.replace("images/a", "ima\0ges/a"), ("line 2", "fix the path")),
    "path upwards": (SOUND.replace("images/a", "../a"), ("line 2", "relative to it")),
    "absolute path": (SOUND.replace("images/a", "/a"), ("line 2", "relative to it")),
    "path of Windows": (SOUND.replace("images/a", "C:\\a"), ("line 2", "relative to it")),
    "row twice": (SOUND + "images/a.jpg,cat\n", ("line 6", "keep one row")),
    "rows that contradict": (SOUND + "images/a.jpg,dog\n", ("line 6", "keep one row")),
    "one photo by two paths": (SOUND + "a,cat\n", ("line 6", "keep one row")),
    "empty list": (
        SOUND.replace("labels", "labels,split")
        .replace("cat\n", "cat,\n")
        .replace("dog\n", "dog,train\n"),
        ("line 2", "fill the split column"),
    ),
    "a class called background": (SOUND.replace("dog", "background"), ("data", "rename the tag")),
    "a class called Background": (
        SOUND.replace("dog", "Background"),
        ("data", "'Background'", "folder _background"),
    ),
    "300 classes": (
        SOUND.replace("dog", " ".join(map(str, range(300)))),
        ("data", "must be 1 .. 254"),
    ),
}

METADATA = {
    "metadata.jsonl: a line cut off": ("metadata.jsonl", JSONL[:-9], "fix it"),
    "metadata.jsonl: no objects": ("metadata.jsonl", JSONL + "[1]\n", "fix it"),
    "metadata.jsonl: deeper than Python reads": ("metadata.jsonl", "[" * 99_999, "fix it"),
    "metadata.jsonl: numbers for tags": (
        "metadata.jsonl",
        JSONL.replace('"tags": ["cat"]', '"tags": 7'),
        "give names, not numbers",
    ),
    "metadata.jsonl: no tags": (
        "metadata.jsonl",
        JSONL.replace("tags", "text"),
        "must hold the tags",
    ),
    "metadata.jsonl: no file_name": (
        "metadata.jsonl",
        JSONL + '{"tags": ["cat"]}\n',
        "fix or remove it",
    ),
    "metadata.csv: a field too many": ("metadata.csv", CSV + "a.jpg,cat,dog\n", "quote those"),
    "metadata.csv: no UTF-8": ("metadata.csv", CSV.encode() + b"\xff", "save it as UTF-8"),
    "metadata.csv: two columns of tags": (
        "metadata.csv",
        CSV.replace("tags", "tags,label").replace("t\n", "t,x\n").replace("g\n", "g,x\n"),
        "one column of",
    ),
}

KINDS = (
    *(Kind(f"labels.csv: {name}", table(content), then=same) for name, content in SAME.items()),
    *(Kind(f"labels.csv: {name}", table(made), says) for name, (made, says) in REFUSED.items()),
    *(
        Kind(f"labels.csv: {name}", run(made), ("data", *says))
        for name, (made, says) in RUN.items()
    ),
    *(
        Kind(name, metadata(file, content), (file, fix))
        for name, (file, content, fix) in METADATA.items()
    ),
    Kind("metadata.jsonl: sound", metadata("metadata.jsonl", JSONL), then=same),
    Kind(
        "metadata.csv: spaces and empty columns",
        metadata("metadata.csv", CSV.replace(",", " , ").replace("\n", ",,\n")),
        then=same,
    ),
    Kind("metadata.csv: BOM", metadata("metadata.csv", CSV.encode("utf-8-sig")), then=same),
    Kind(
        "a table of something else beside folders of tags",
        stray,
        ("data", "the folders' (cat, dog)", "data.labels", "move it away"),
    ),
    Kind("labels.csv: a folder", folder, ("labels.csv", "cannot be read")),
    Kind(
        "labels.csv: unicode and spaces in names",
        partial(
            renamed,
            {"a": "images/Käfer 日本 [1].jpg", "b": "zwei  Hunde/b b.jpg"},
            "images/Käfer 日本 [1].jpg,cat\nzwei  Hunde/b b.jpg,cat dog\n",
        ),
        then=named("Käfer 日本 [1]", "zwei  Hunde/b b"),
    ),
    Kind(
        "labels.csv: commas and quotes in names",
        partial(
            renamed,
            {"a": 'images/a, "b".jpg', "b": "images/'b'.x.jpg"},
            '"images/a, ""b"".jpg",cat\nimages/\'b\'.x.jpg,cat dog\n',
        ),
        then=named('a, "b"', "'b'.x"),
    ),
    Kind(
        "labels.csv: unicode tags",
        table(SOUND.replace("cat", "Katze;").replace("dog", "große Dogge 🐕;").replace("; ", ";")),
        then=classes("Katze", "große Dogge 🐕"),
    ),
    Kind(
        "labels.csv: a million photos that are not there",
        million_photos_gone,
        ("labels.csv: line 2", "999999 more"),
        slow=True,
    ),
    Kind("labels.csv: a million rows", million_rows, then=last_list, slow=True),
)
