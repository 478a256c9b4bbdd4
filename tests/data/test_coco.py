"""The COCO layout: tags and masks against loops over the JSON file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from esol.data import open_dataset
from esol.data.check import check
from esol.data.images import save_mask
from esol.errors import InputError
from esol.settings import Data

# pycocotools 2.0.11 has not followed NumPy 2 in its array protocol; nothing here depends on it.


def box(x: int, y: int, width: int, height: int) -> list[list[int]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def annotation(number: int, image: int, category: int, **more: Any) -> dict[str, Any]:
    shape = more.pop("box", (0, 0, 4, 4))
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": box(*shape),
        "area": shape[2] * shape[3],
        "iscrowd": 0,
        "bbox": list(shape),
    } | more


def coco(root: Path, annotations: list[dict[str, Any]], split: str = "train2017") -> Path:
    """Three photos of 12 x 8 pixels and categories 1, 5 and 90."""
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "height": 8, "width": 12} for i in (7, 8, 9)]
    names = {90: "brush", 1: "person", 5: "plane"}
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in names.items()],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    (root / split).mkdir(exist_ok=True)
    for image in images:
        Image.new("RGB", (12, 8)).save(root / split / str(image["file_name"]))
    return root


TRAIN = Data(train="train2017", evaluate=("train2017",))
TWO = [annotation(1, 7, 90), annotation(2, 8, 1), annotation(3, 8, 5)]


def refused(root: Path, *words: str, settings: Data = TRAIN) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(root, settings)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_tags_and_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = open_dataset(coco(tmp_path, TWO), TRAIN)
    assert data.kind == "coco"
    assert data.classes == ("person", "plane", "brush")
    assert [(s.name, s.tags) for s in data.splits["train2017"]] == [
        ("000000000007", (2,)),
        ("000000000008", (0, 1)),
        ("000000000009", ()),
    ]
    assert data.notes == ("train2017: 1 of 3 photos has no tag, taken for background",)
    assert data.mask_set == "instances"
    assert capsys.readouterr().out == ""


def test_smaller_instances_lie_on_top(tmp_path: Path) -> None:
    crowd = {"size": [8, 12], "counts": [0, 96]}
    shapes = [
        annotation(1, 7, 5, box=(0, 0, 2, 2)),
        annotation(2, 7, 1, box=(0, 0, 6, 6)),
        annotation(3, 7, 5, box=(4, 0, 6, 6)),
        annotation(4, 7, 90, segmentation=crowd, area=96, iscrowd=1),
        annotation(5, 8, 90),
    ]
    data = open_dataset(coco(tmp_path, shapes), TRAIN)
    assert data.truth is not None
    expected = np.full((8, 12), 3)
    expected[:6, 4:10] = 2
    expected[:6, :6] = 1
    expected[:2, :2] = 2
    sample = data.splits["train2017"][0]
    # Equal areas: the lower id (2, a person) lies on top. The crowd counts as its class.
    assert (data.truth(sample) == expected).all()
    assert sample.tags == (0, 1, 2)
    some = open_dataset(tmp_path, Data("coco", "train2017", ("train2017",), ("brush", "plane")))
    assert some.truth is not None
    numbers = np.array([0, 255, 2, 1])
    assert (some.truth(some.splits["train2017"][0]) == numbers[expected]).all()


def test_ready_masks(tmp_path: Path) -> None:
    root = coco(tmp_path, TWO)
    save_mask(np.full((8, 12), 2, dtype=np.uint8), root / "ready" / "000000000007.png")
    data = open_dataset(root, Data("auto", "train2017", ("train2017",), masks="ready"))
    assert data.mask_set == "ready"
    assert data.truth is not None
    with_mask, without, _ = data.splits["train2017"]
    assert (data.truth(with_mask) == 2).all()
    assert without.mask is None


def test_two_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    root = coco(tmp_path, [annotation(1, 7, 90), annotation(2, 8, 1), annotation(3, 7, 1)])
    file = root / "annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    for category in content["categories"]:
        category["name"] = "plane" if category["id"] == 5 else "dog"
    file.write_text(json.dumps(content))
    said = f"{file}: categories 1 and 90 are all called 'dog': they are taken for one class"
    data = open_dataset(root, TRAIN)
    assert data.classes == ("dog", "plane")
    assert [s.tags for s in data.samples("train2017")] == [(0,), (0,), ()]
    assert data.truth is not None
    values = [set(np.unique(data.truth(sample))) for sample in data.samples("train2017")]
    assert values == [{0, 1}, {0, 1}, {0}]
    assert said in data.notes
    report = check(root, TRAIN)
    assert (report.problems, report.counts) == ((), {"train2017": (2, 0)})
    assert said in report.warnings
    (root / "masks").mkdir()
    settings = replace(TRAIN, masks="masks")
    refused(root, "categories 1 and 90", "'dog'", "rename one", settings=settings)


def test_images_folder_and_2014_names(tmp_path: Path) -> None:
    root = coco(tmp_path, TWO, "val2014")
    (root / "images").mkdir()
    (root / "val2014").rename(root / "images" / "val2014")
    settings = Data(train="val2014", evaluate=("val2014",))
    assert open_dataset(root, settings).splits["val2014"][0].image.is_file()


def test_problems(tmp_path: Path) -> None:
    refused(coco(tmp_path, TWO), "'train'", "available: train2017", settings=Data())
    refused(tmp_path, "data.labels", settings=Data("coco", "train2017", labels="x.csv"))
    refused(coco(tmp_path, [*TWO, annotation(9, 8, 4)]), "image id 8", "category 4")
    incomplete = {key: value for key, value in TWO[0].items() if key != "area"}
    refused(coco(tmp_path, [incomplete]), "annotations id 1", "'area'")
    coco(tmp_path, TWO)
    (tmp_path / "train2017" / "000000000008.jpg").unlink()
    refused(tmp_path, "000000000008.jpg", "missing")
    (tmp_path / "annotations" / "instances_train2017.json").write_text("[]")
    refused(tmp_path, "instances_train2017.json", "'images'")
    (tmp_path / "annotations" / "instances_train2017.json").write_text("{")
    refused(tmp_path, "instances_train2017.json", "not a JSON file")


def test_boxes_without_outline_give_tags_but_no_mask(tmp_path: Path) -> None:
    data = open_dataset(coco(tmp_path, [*TWO, annotation(9, 8, 5, segmentation=[])]), TRAIN)
    assert data.truth is not None
    with pytest.raises(InputError, match="annotation id 9: no segmentation"):
        data.truth(data.splits["train2017"][1])


def test_two_photos_of_one_name_are_refused(tmp_path: Path) -> None:
    coco(tmp_path, TWO)
    coco(tmp_path, TWO, "val2017")
    refused(tmp_path, "same name", settings=Data(train="train2017", evaluate=("val2017",)))


def test_real_photos_against_a_loop(shared: Path) -> None:
    root = shared / "data" / "tiny-coco"
    data = open_dataset(root, Data(train="train2017", evaluate=("val2017",)))
    assert len(data.classes) == 80
    assert data.truth is not None
    assert [len(samples) for samples in data.splits.values()] == [50, 50]
    tagged = [sum(bool(s.tags) for s in samples) for samples in data.splits.values()]
    assert tagged == [49, 48]
    for split in data.splits:
        coco = COCO(root / "annotations" / f"instances_{split}.json")
        numbers = {c["id"]: k for k, c in enumerate(coco.dataset["categories"])}
        crowded = {a["image_id"] for a in coco.dataset["annotations"] if a["iscrowd"]}
        samples = {int(sample.name): sample for sample in data.splits[split]}
        for image in sorted(set(sorted(crowded)[:2]) | set(list(samples)[::24])):
            annotations = coco.imgToAnns[image]
            assert samples[image].tags == tuple(
                sorted({numbers[a["category_id"]] for a in annotations})
            )
            areas = np.full((coco.imgs[image]["height"], coco.imgs[image]["width"]), np.inf)
            expected = np.zeros(areas.shape)
            for a in annotations:
                inside = (coco.annToMask(a) > 0) & (a["area"] < areas)
                areas[inside], expected[inside] = a["area"], numbers[a["category_id"]] + 1
            assert (data.truth(samples[image]) == expected).all()
