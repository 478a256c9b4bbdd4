"""Tags in other people's files: every format, recognised by content, found again in the photos."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from opened import refused, tags
from PIL import Image

from esol.data import open_dataset
from esol.data.check import check, render
from esol.settings import Data

BOTH = Data(evaluate=("train", "val"))


def photos(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), "teal").save(root / file)
    return root


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


def source(root: Path, settings: Data | None = None) -> str:
    report = check(root, settings or Data())
    assert report.problems == ()
    assert any(f"tags: {report.tag_set}" == str(part) for part in render(report).renderables)
    return report.tag_set


EXPECTED = {"a b": ("dog", "rote Kuh"), "sub/Käfer": ("dog",), "sub/c": ("rote Kuh",)}
FILES = ("images/a b.jpg", "images/sub/Käfer.png", "sub/c.jpg", "images/none.jpg")


def task(number: int, image: str, *choices: str, **more: object) -> dict[str, object]:
    result = {"type": "choices", "from_name": "c", "value": {"choices": list(choices)}}
    annotation = {"id": number, "result": [result] if choices else [], **more}
    return {"id": number, "data": {"image": image}, "annotations": [annotation]}


def studio(root: Path) -> Path:
    return write(
        root / "project-1-at-2024.json",
        [
            task(11, "/data/upload/1/0a1b2c3d-a%20b.jpg", "rote Kuh", "dog"),
            task(12, "/data/local-files/?d=images/sub/K%C3%A4fer.png", "dog"),
            task(13, "https://host/bucket/sub/c.jpg?X=1", "rote Kuh"),
            task(14, "none.jpg"),
        ],
    )


def cvat(root: Path) -> Path:
    return write(
        root / "annotations.xml",
        """<annotations><version>1.1</version><meta/>
        <image id="0" name="images/a b.jpg" width="6" height="4"><tag label="dog"/>
          <box label="rote Kuh" xtl="0" ytl="0" xbr="2" ybr="2"/></image>
        <image id="1" name="Käfer.png" subset="default"><tag label="dog"></tag></image>
        <image id="2" name="c.jpg"><tag label="rote Kuh"/></image>
        <image id="3" name="none.jpg"/></annotations>""",
    )


def coco(root: Path) -> Path:
    names = ("a b.jpg", "elsewhere/images/sub/Käfer.png", "c.jpg", "none.jpg")
    pairs = ((1, 7), (1, 9), (1, 9), (2, 7), (3, 9))
    return write(
        root / "detections.json",
        {
            "images": [{"id": i, "file_name": n} for i, n in enumerate(names, start=1)],
            "annotations": [
                {"id": i, "image_id": image, "category_id": c, "bbox": [0, 0, 2, 2]}
                for i, (image, c) in enumerate(pairs)
            ],
            "categories": [{"id": 7, "name": "dog"}, {"id": 9, "name": "rote Kuh"}],
        },
    )


def voc(root: Path) -> Path:
    thing = "<object><name>{}</name><difficult>{}</difficult><bndbox/></object>"
    files = {
        "a b": (("dog", 0), ("rote Kuh", 0)),
        "sub/Käfer": (("dog", 0),),
        "c": (("rote Kuh", 0),),
        "none": (),
    }
    for name, things in files.items():
        inner = "".join(thing.format(*one) for one in things)
        write(root / "annotations" / f"{name}.xml", f"<annotation>{inner}</annotation>")
    return root / "annotations"


def jsonl(root: Path) -> Path:
    rows = (
        {"file_name": "images/a b.jpg", "tags": ["rote Kuh", "dog"]},
        {"file_name": "images/sub/Käfer.png", "tags": "dog", "other": 3},
        {"file_name": "sub/c.jpg", "tags": "rote Kuh;"},
        {"file_name": "images/none.jpg", "tags": None},
    )
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    return write(root / "metadata.jsonl", text)


def table(root: Path) -> Path:
    return write(
        root / "metadata.csv",
        "file_name,width,labels\nimages/a b.jpg,6,dog;rote Kuh\nimages/sub/Käfer.png,6,dog\n"
        "sub/c.jpg,6,rote Kuh;\nimages/none.jpg,6,\n",
    )


MAKERS = {
    "Label Studio": studio,
    "CVAT for images 1.1": cvat,
    "COCO annotations": coco,
    "VOC annotations": voc,
    "Hugging Face image folder": jsonl,
    "Hugging Face image folder, CSV": table,
}

UNFINISHED = ("CVAT for images 1.1", "Hugging Face image folder")
"""Where the photo without a tag may be one that nobody has tagged yet (JSON: null)."""


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("named", [False, True])
def test_a_format_is_recognised_by_its_content(tmp_path, form, named):
    root = photos(tmp_path, *FILES)
    path = MAKERS[form](root)
    if named:
        path = path.rename(root / f".hidden-{path.name}") if "folder" not in form else path
    settings = Data(labels=path.name if named else "")
    data = open_dataset(root, settings)
    negative = {} if form in UNFINISHED else {"none": ()}
    assert tags(data) == EXPECTED | negative
    what = "left out" if form in UNFINISHED else "taken for background"
    assert data.notes == (f"train: 1 of 4 photos has no tag, {what}",)
    for choice, more in (("negative", {"none": ()}), ("skip", {})):
        chosen = replace(settings, untagged=choice)
        assert tags(open_dataset(root, chosen)) == EXPECTED | more
    refused(root, "'train': 1 photo (none)", settings=replace(settings, untagged="refuse"))
    assert source(root, settings) == f"{path.name} ({form.removesuffix(', CSV')})"


def test_labels_csv_goes_before_what_else_is_there(tmp_path):
    root = photos(tmp_path, "images/x.jpg", "images/y.jpg")
    write(root / "labels.csv", "image,labels\nx,cat\ny,cat\n")
    studio(root)
    assert source(root) == "labels.csv"


def test_two_candidates_are_told_and_one_can_be_named(tmp_path):
    root = photos(tmp_path, *FILES)
    studio(root)
    coco(root)
    refused(root, "detections.json, project-1-at-2024.json", "data.labels")
    settings = Data(labels="detections.json")
    assert tags(open_dataset(root, settings)) == EXPECTED | {"none": ()}
    refused(
        root, "nothing.json", "no such file", settings=Data(kind="folder", labels="nothing.json")
    )


def test_other_json_and_xml_is_no_candidate(tmp_path):
    root = photos(tmp_path, "cat/a.jpg", "cat/b.jpg")
    write(root / "package.json", {"name": "x"})
    write(root / "list.json", [1, 2])
    write(root / "broken.json", "{")
    write(root / "page.xml", "<html/>")
    write(root / "notes" / "x.xml", "<html/>")
    assert source(root) == "sub-folders"


def test_lists_have_folders_with_a_metadata_file_each(tmp_path):
    root = photos(tmp_path, "train/a.jpg", "train/b.jpg", "val/a.jpg")
    write(root / "train/metadata.csv", "file_name,label\na.jpg,traffic light\nb.jpg,dog\n")
    write(root / "val/metadata.jsonl", '{"file_name": "a.jpg", "label": "dog"}\n')
    data = open_dataset(root, BOTH)
    assert tags(data) == {"train/a": ("traffic light",), "train/b": ("dog",)}
    assert tags(data, "val") == {"val/a": ("dog",)}
    write(root / "train/metadata.jsonl", '{"file_name": "a.jpg", "label": "dog"}\n')
    refused(root, "may be in any of", "data.labels", settings=BOTH)


def test_one_metadata_file_for_lists_in_folders(tmp_path):
    root = photos(tmp_path, "train/a.jpg", "train/b.jpg", "val/a.jpg")
    write(root / "metadata.csv", "file_name,tag\ntrain/a.jpg,x\ntrain/b.jpg,y\nval/a.jpg,x\n")
    data = open_dataset(root, BOTH)
    assert {split: len(list_) for split, list_ in data.splits.items()} == {"train": 2, "val": 1}


def test_lists_have_folders_with_a_folder_per_tag(tmp_path):
    root = photos(
        tmp_path, "train/dog/1.jpg", "train/cat/1.jpg", "train/cat/2.jpg", "val/dog/1.jpg"
    )
    data = open_dataset(root, BOTH)
    expected = {"train/cat/1": ("cat",), "train/cat/2": ("cat",), "train/dog/1": ("dog",)}
    assert tags(data) == expected
    assert tags(data, "val") == {"val/dog/1": ("dog",)}
    photos(root, "train/stray.jpg")
    refused(root, "photos lie at TAG/photo.jpg")


def test_train_may_be_a_tag(tmp_path):
    root = photos(tmp_path, "train/1.jpg", "bus/1.jpg", "train/2.jpg")
    data = open_dataset(root, Data())
    assert tags(data) == {"bus/1": ("bus",), "train/1": ("train",), "train/2": ("train",)}
    (note,) = data.notes
    assert "the folder 'train' is a tag here: move its photos, or name it" in note


def test_cvats_subsets_are_lists(tmp_path):
    root = photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    image = '<image id="{0}" name="{0}.jpg" subset="{1}"><tag label="x"/></image>'
    inner = "".join(image.format(*one) for one in (("a", "Train"), ("b", "default"), ("c", "Val")))
    write(root / "annotations.xml", f"<annotations>{inner}</annotations>")
    data = open_dataset(root, BOTH)
    assert [len(data.splits[split]) for split in ("train", "val")] == [2, 1]


def test_difficult_objects_of_voc(tmp_path):
    root = photos(tmp_path, "a.jpg", "b.jpg")
    thing = "<object><name>{}</name><difficult>{}</difficult></object>"
    for name in "ab":
        inner = thing.format("dog", 0) + thing.format("cat", 1)
        write(root / "xml" / f"{name}.xml", f"<annotation>{inner}</annotation>")
    assert open_dataset(root, Data()).classes == ("cat", "dog")
    assert open_dataset(root, Data(difficult=False)).classes == ("dog",)


def test_boxes_alone_are_enough_in_the_layout_of_coco(tmp_path):
    root = photos(tmp_path, "train/a.jpg", "train/b.jpg")
    content = {
        "images": [
            {"id": i, "file_name": f"{n}.jpg", "height": 4, "width": 6} for i, n in enumerate("ab")
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 5, "bbox": [0, 0, 1, 1]} for i in range(2)
        ],
        "categories": [{"id": 5, "name": "dog"}],
    }
    write(root / "annotations/instances_train.json", content)
    data = open_dataset(root, Data())
    assert (data.kind, data.truth, data.mask_set) == ("coco", None, "")
    assert tags(data) == {"a": ("dog",), "b": ("dog",)}
    assert source(root) == "instances (boxes only)"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t[0].update(data={"image": "../a b.jpg"}), ("task 11", "leads out")),
        (
            lambda t: t[0].update(data={"image": "/data/local-files/?d=/etc/x"}),
            ("task 11", "leads"),
        ),
        (lambda t: t[0].update(data={"image": "gone.jpg"}), ("task 11", "no such photo")),
        (lambda t: t[0].update(data={"text": "hello"}), ("task 1", "damaged")),
        (lambda t: t[0].update(annotations=3), ("task 1", "damaged")),
        (lambda t: t[1].update(data=t[0]["data"]), ("task 12", "other tags on task 11")),
        (
            lambda t: t[0]["annotations"].append(task(1, "", "dog")["annotations"][0]),
            ("task 11", "different tags"),
        ),
    ],
)
def test_mistakes_in_a_file_of_label_studio(tmp_path, edit, words):
    root = photos(tmp_path, *FILES)
    path = studio(root)
    content = json.loads(path.read_text())
    edit(content)
    write(path, content)
    refused(root, path.name, *words)


def test_names_that_fit_several_photos_are_not_guessed(tmp_path):
    root = photos(tmp_path, *FILES, "other/c.jpg")
    path = studio(root)
    write(path, path.read_text().replace("bucket/sub/c.jpg", "c.jpg"))
    refused(root, "task 13", "may be any of", "other/c.jpg")


def test_cancelled_annotations_do_not_count(tmp_path):
    root = photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    tasks = [
        task(1, "a.jpg", "x"),
        task(2, "b.jpg", "x"),
        task(3, "c.jpg", "y", was_cancelled=True),
    ]
    write(root / "export.json", tasks)
    assert tags(open_dataset(root, Data())) == {"a": ("x",), "b": ("x",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file_name,x\na.jpg,dog\n", ("label, labels, tag, tags", "none")),
        ("file_name,label,tags\na.jpg,dog,cat\n", ("label and tags",)),
        ("file_name,label\n../a.jpg,dog\n", ("line 2", "leads out")),
        ("file_name,label\nz.jpg,dog\n", ("line 2", "no such photo")),
        ("file_name,label\na.jpg,dog,cat\n", ("line 2", "fields")),
        ('file_name,label\na.jpg,"dog\n', ("not a .csv file",)),
    ],
)
def test_mistakes_in_metadata(tmp_path, text, words):
    root = photos(tmp_path, "a.jpg")
    write(root / "metadata.csv", text)
    refused(root, "metadata.csv", *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"file_name": "a.jpg", "label": 3}', ("line 1", "names, not numbers")),
        ("[1]", ("line 1", "not a JSON object")),
        ('{"file_name": "a.jpg"', ("not a .jsonl file",)),
    ],
)
def test_mistakes_in_lines_of_json(tmp_path, text, words):
    root = photos(tmp_path, "a.jpg")
    write(root / "metadata.jsonl", text)
    refused(root, "metadata.jsonl", *words)


@pytest.mark.parametrize(
    ("maker", "old", "new", "words"),
    [
        (cvat, 'name="images/a b.jpg"', 'name="../x.jpg"', ("image 0", "leads out")),
        (cvat, 'name="images/a b.jpg"', "", ("image 0", "damaged")),
        (coco, '"a b.jpg"', '"/x.jpg"', ("image 1", "leads out")),
        (coco, '"category_id": 7', '"category_id": 8', ("annotation 0", "damaged")),
    ],
)
def test_mistakes_in_files_of_cvat_and_coco(tmp_path, maker, old, new, words):
    root = photos(tmp_path, *FILES)
    path = maker(root)
    assert old in path.read_text()
    write(path, path.read_text().replace(old, new))
    refused(root, path.name, *words)


def test_nothing_known(tmp_path):
    root = photos(tmp_path, "a.jpg")
    refused(root, "no known layout", "docs/data.md")


def test_other_controls_of_label_studio_are_no_tags(tmp_path):
    root = photos(tmp_path, "a b.jpg", "b.jpg")
    others = [
        {"type": "rating", "value": {"rating": 4}},
        {"type": "number", "value": {"number": 4}},
        {"type": "textarea", "value": {"text": ["x"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    content = [task(1, "/data/upload/1/0a1b2c3d-a_b.jpg", "dog"), task(2, "b.jpg", "cat")]
    content[0]["annotations"][0]["result"] += others
    write(root / "tasks.json", content)
    assert tags(open_dataset(root, Data())) == {"a b": ("dog",), "b": ("cat",)}


def test_cvat_for_video_is_told(tmp_path):
    root = photos(tmp_path, "a.jpg", "b.jpg")
    write(root / "tracks.xml", '<annotations><track id="0" label="dog"/></annotations>')
    refused(root, "tracks.xml", "CVAT for video", "as CVAT for images 1.1")


@pytest.mark.parametrize("place", ["images", "images/train", "."])
def test_a_coco_file_in_annotations_finds_its_photos(tmp_path, place):
    """As tags, and as CVAT exports it: images/*.jpg beside annotations/instances_default.json."""
    root = photos(tmp_path, f"{place}/a.jpg", f"{place}/b.jpg")
    content = {
        "images": [
            {"id": i, "file_name": f"{name}.jpg", "width": 6, "height": 4}
            for i, name in enumerate("ab")
        ],
        "annotations": [{"id": i, "image_id": i, "category_id": i} for i in range(2)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    file = write(root / "annotations" / "instances_train.json", content)
    found = open_dataset(root, Data())
    assert (found.kind, tags(found)) == ("coco", {"a": ("cat",), "b": ("dog",)})
    settings = Data(kind="folder", labels=file.relative_to(root).as_posix())
    assert list(tags(open_dataset(root, settings)).values()) == [("cat",), ("dog",)]


def test_roboflows_table_of_classes(tmp_path):
    root = photos(tmp_path, "train/a.jpg", "train/b.jpg", "valid/c.jpg")
    write(root / "train/_classes.csv", "filename, big dog, cat\na.jpg, 1, 0\nb.jpg, 1, 1\n")
    write(root / "valid/_classes.csv", "filename, big dog, cat\nc.jpg, 0, 1\n")
    data = open_dataset(root, Data(evaluate=("valid",)))
    assert tags(data) == {"train/a": ("big dog",), "train/b": ("big dog", "cat")}
    assert tags(data, "valid") == {"valid/c": ("cat",)}
    write(root / "train/_classes.csv", "filename, cat\na.jpg, 1\nb.jpg, 7\n")
    refused(root, "train/_classes.csv: line 3", "cat '7' is neither 0 nor 1")
    write(root / "train/_classes.csv", "cat, dog\n1, 0\n")
    refused(root, "train/_classes.csv: line 1", "the first column must be filename, not 'cat'")
