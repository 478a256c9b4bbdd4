"""``esol prepare tags``: labels.csv of what masks show, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esol.cli.main import main
from esol.data import open_dataset
from esol.data.check import check
from esol.data.images import save_mask
from esol.errors import InputError
from esol.prepare import tags_from_masks
from esol.settings import Data

MASKS = {
    "a": [[1, 1, 0, 255]],
    "b": [[1, 2, 2, 2]],
    "c": [[2, 2, 0, 0]],
    "d": [[0, 0, 0, 0]],
}
"""Of the classes traffic light (1) and dog (2)."""


def data(root: Path, *, folder: str = "images", lists: bool = False) -> Path:
    """Four photos with masks, in VOC's colours; a fifth without one."""
    for name in (*MASKS, "e"):
        split = ("val/" if name in "bd" else "train/") if lists else ""
        path = root / folder / f"{split}{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 1), "teal").save(path)
        if name in MASKS:
            masks = "masks" if folder == "images" else "SegmentationClass"
            mask = np.array(MASKS[name], np.uint8)
            save_mask(mask, root / masks / f"{split}{name}_mask.png")
    (root / "classes.txt").write_text("traffic light\ndog\n")
    return root


def refused(root: Path, *words: str, **options: object) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError) as caught:
        tags_from_masks(root, **options)
    assert all(word in str(caught.value) for word in words), caught.value
    assert sorted(root.rglob("*")) == before


def test_tags_are_what_the_masks_show(tmp_path: Path) -> None:
    done = tags_from_masks(data(tmp_path))
    assert done.file.read_text() == (
        "image,labels\nimages/a.jpg,traffic light;\nimages/b.jpg,dog;traffic light;\n"
        "images/c.jpg,dog;\nimages/d.jpg,\n"
    )
    assert done.photos == {"train": 4}
    assert done.classes == {"traffic light": 2, "dog": 2}
    assert (done.untagged, done.without, done.done_before) == (1, ("e",), False)
    (tmp_path / "images" / "e.jpg").unlink()
    report = check(tmp_path, Data())
    assert report.problems == ()
    # What masks show are the tags.
    assert not any("mask" in warning for warning in report.warnings)
    assert tags_from_masks(tmp_path).done_before


def test_a_class_of_few_pixels_is_no_tag(tmp_path: Path) -> None:
    done = tags_from_masks(data(tmp_path), least=2)
    assert done.classes == {"traffic light": 1, "dog": 2}
    refused(tmp_path, "labels.csv", "other content", "move it away")


def test_lists_stay(tmp_path: Path) -> None:
    assert tags_from_masks(data(tmp_path, lists=True)).photos == {"train": 2, "val": 2}
    opened = open_dataset(tmp_path, Data(evaluate=("val",)))
    assert [sample.name for sample in opened.splits["val"]] == ["val/b", "val/d"]


def test_colours_name_the_classes(tmp_path: Path) -> None:
    numbers = tags_from_masks(data(tmp_path / "numbers")).file.read_text()
    root = data(tmp_path / "colours")
    (root / "classes.txt").unlink()
    lines = "background:0,0,0::\ndog:0,128,0::\ntraffic light:128,0,0::\n"
    (root / "labelmap.txt").write_text(lines)
    for path in (root / "masks").iterdir():
        with Image.open(path) as image:
            image.convert("RGB").save(path)
    assert tags_from_masks(root).file.read_text() == numbers
    # A grey mask among them has numbers, of which the table says nothing.
    (root / "labels.csv").unlink()
    Image.fromarray(np.array(MASKS["c"], np.uint8)).save(root / "masks" / "c_mask.png")
    refused(root, "c_mask.png", "grey mask with numbers", "classes.txt")


def test_the_layout_of_voc(tmp_path: Path) -> None:
    root = data(tmp_path, folder="JPEGImages")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, names in {"train": "acd", "val": "b"}.items():
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names))
    with pytest.raises(InputError, match="from masks: esol prepare tags"):
        open_dataset(root, Data())
    tags_from_masks(root)
    opened = open_dataset(root, Data(evaluate=("val",)))
    assert [(s.name, s.tags) for s in opened.samples("train", "val")] == [
        *(("a", (0,)), ("b", (0, 1)), ("c", (1,)), ("d", ()))
    ]
    (root / "Annotations").mkdir()
    refused(root, "Annotations", "has the tags already")


def test_what_is_refused(tmp_path: Path) -> None:
    root = data(tmp_path)
    refused(root, "--pixels 0", least=0)
    refused(root, "data.masks", "no such folder", masks="truth")
    (root / "classes.txt").unlink()
    refused(root, "masks", "which class a value is", "classes.txt", "table of colours")
    (root / "classes.txt").write_text("traffic light\n")
    refused(root, "b_mask.png: value 2 is not a class", "(and 1 more like this)")
    (root / "classes.txt").write_text("traffic; light\ndog\n")
    refused(root, "'traffic; light'", "rename the class")
    (root / "classes.txt").write_text("traffic light\ndog\n")
    (root / "_classes.csv").write_text("filename,dog\nimages/a.jpg,1\n")
    refused(root, "_classes.csv", "has the tags already")
    (root / "_classes.csv").unlink()
    for path in (root / "masks").iterdir():
        save_mask(np.array([[0, 0, 255, 255]], np.uint8), path)
    refused(root, "255 (ignored)", "store 1")
    for path in (root / "masks").iterdir():
        save_mask(np.zeros((1, 4), np.uint8), path)
    refused(root, "no mask shows a class")
    for path in (root / "masks").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    refused(root, "no mask belongs to a photo", "a.png")
    (root / "masks").rename(root / "truth")
    refused(root, "no folder masks", "--masks")
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text("{}")
    refused(root, "annotations", "has the tags already")


def test_folders_of_tags_are_not_written_over(tmp_path: Path) -> None:
    root = tmp_path
    for name in ("dog/a", "traffic light/b"):
        (root / name).parent.mkdir()
        Image.new("RGB", (4, 1), "teal").save(root / f"{name}.jpg")
        save_mask(np.array(MASKS["b"], np.uint8), root / "masks" / f"{name}.png")
    (root / "classes.txt").write_text("traffic light\ndog\n")
    refused(root, "has the tags already, as folders (dog, traffic light)")


def test_a_list_called_like_a_class_is_no_tag(tmp_path: Path) -> None:
    """VOC has the class train."""
    for name in "ab":
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.new("RGB", (4, 1), "teal").save(tmp_path / "train" / f"{name}.jpg")
        save_mask(np.array([[1, 0, 0, 0]], np.uint8), tmp_path / "masks" / "train" / f"{name}.png")
    (tmp_path / "classes.txt").write_text("train\n")
    tags_from_masks(tmp_path)
    assert open_dataset(tmp_path, Data()).classes == ("train",)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = data(tmp_path)
    (root / "masks").rename(root / "truth")
    assert main(["prepare", "tags", str(root), "--masks", "truth", "--pixels", "3"]) == 0
    out = capsys.readouterr().out
    assert "labels.csv: written: photos: train 4; tags: dog 1; 3 without a class" in out
    assert "without a mask, so not in it: 1 photo (e)" in out
    for words in (
        ["tags", str(root), "out"],
        ["voc12", str(root)],
        ["voc12", "x", "y", "--pixels=2"],
    ):
        assert main(["prepare", *words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
