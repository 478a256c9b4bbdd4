"""YOLO's labels: read by decoders of others, and what data.yaml says."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from small_run import (
    CLASSES,
    NAMES,
    SIZE,
    blank,
    make_coco_run,
    make_run,
    masks_of,
    near_borders,
    pseudo,
)

from esol.data.images import save_mask
from esol.errors import InputError
from esol.label_tools import yolo
from esol.label_tools.exports import export_masks
from esol.label_tools.imports import import_masks
from esol.runs.folder import RunFolder

LISTS = {
    "train": ("1.jpg", "x/1.png", "y/images/1.jpg", "a.b.jpg"),
    "val": ("3.jpg", "labels/images/x.y/3.jpg"),
}
ODD = ("yes", "1, 2", "#x")


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path)


def lines_of(file: Path) -> list[tuple[int, NDArray[np.float64]]]:
    """Class and corners (x, y), pixels, of each line."""
    cells = (line.split() for line in file.read_text().splitlines())
    sides = np.array(SIZE[::-1])
    return [(int(c), np.array(xy, float).reshape(-1, 2) * sides) for c, *xy in cells]


def inside(corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels whose centres are inside, by counting crossings to the right of them."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    odd = np.zeros(SIZE, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            odd ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return odd


def test_each_line_is_one_connected_part(run):
    out = run.parent / "out"
    export_masks(run, out, to="yolo", tolerance=0)
    holes = 0
    for name, mask in pseudo(run).items():
        parts = []
        for value in range(1, len(CLASSES) + 1):
            labels, count = ndimage.label(mask == value, np.ones((3, 3)))
            parts += [(value - 1, (labels == n).tobytes()) for n in range(1, count + 1)]
            holes += ndimage.label(mask != value)[1] > 1
        lines = lines_of(out / "labels" / "train" / f"{name}.txt")
        assert sorted((c, inside(corners).tobytes()) for c, corners in lines) == sorted(parts)
    assert holes


def test_pillow_fills_what_the_mask_has_but_for_borders(run):
    out = run.parent / "out"
    export_masks(run, out, to="yolo", objects="class")
    for name, mask in pseudo(run).items():
        for number, corners in lines_of(out / "labels" / "train" / f"{name}.txt"):
            drawn = Image.new("1", SIZE[::-1])
            ImageDraw.Draw(drawn).polygon([tuple(xy) for xy in corners.tolist()], fill=1)
            differs = np.asarray(drawn) != (mask == number + 1)
            # Pillow also paints the outline, and the lines between pieces of a class.
            along = ImageDraw.Draw(lines := Image.new("1", SIZE[::-1]))
            along.line([tuple(xy) for xy in corners.tolist()], fill=1, width=3)
            assert not (differs & ~near_borders(mask) & ~np.asarray(lines)).any()


def test_a_list_that_is_not_there_twice_is_said(run):
    out = run.parent / "out"
    export_masks(run, out, to="yolo")
    text = (out / "data.yaml").read_text()
    found = yaml.safe_load(text)
    assert found["train"] == found["val"] == "images/train"
    assert found["names"] == dict(enumerate(CLASSES))
    notes = [line for line in text.splitlines() if line.startswith("#")]
    assert any("val is train again" in line for line in notes)
    assert any("connected part" in line for line in notes)
    ignored = np.mean([mask == 255 for mask in pseudo(run).values()])
    assert any(f"{100 * ignored:.2g} % of the pixels are ignored" in line for line in notes)


def test_the_first_evaluated_list_with_masks_is_val(tmp_path):
    run, out = make_coco_run(tmp_path, ODD, **LISTS), tmp_path / "out"
    assert export_masks(run, out, to="yolo") == {"photos": 6, "list": "train and val"}
    text = (out / "data.yaml").read_text()
    assert yaml.safe_load(text) == {
        **{"train": "images/train", "val": "images/val"},
        "names": {0: "yes", 1: "1, 2", 2: "#x"},
    }
    assert "again" not in text
    (RunFolder(run).stage("masks") / "3.png").unlink()
    assert export_masks(run, tmp_path / "one", to="yolo")["list"] == "train"
    with pytest.raises(InputError, match="no such mask"):
        export_masks(run, tmp_path / "two", to="yolo", split=["train", "val"])
    assert not (tmp_path / "two").exists()


def test_several_lists_come_back(tmp_path):
    run, out = make_coco_run(tmp_path, ODD, **LISTS), tmp_path / "out"
    export_masks(run, out, to="yolo", split=["val", "train"], tolerance=0)
    before = blank(run)
    assert import_masks(out, run, source="yolo")["changed"] == 6
    for name, mask in masks_of(run / "corrected").items():
        np.testing.assert_array_equal(mask, np.where(before[name] == 255, 0, before[name]))


def test_labels_lie_where_ultralytics_looks(tmp_path):
    """Its rule: the last /images/ of a photo's path becomes /labels/, its last suffix .txt."""
    run, out = make_coco_run(tmp_path, ODD, **LISTS), tmp_path / "out"
    export_masks(run, out, to="yolo")
    photos = sorted(out.rglob("*.jpg"))
    assert len(photos) == 6
    for photo in photos:
        label = "/labels/".join(str(photo).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
        assert Path(label).is_file()


def test_ultralytics_reads_it(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

    run, out = make_coco_run(tmp_path, ODD, **LISTS), tmp_path / "out"
    export_masks(run, out, to="yolo")
    found = check_det_dataset(str(out / "data.yaml"))
    assert found["names"] == {0: "yes", 1: "1, 2", 2: "#x"}
    photos = [str(path) for path in Path(found["train"]).rglob("*.jpg")]
    assert len(photos) == 4
    for photo, label in zip(photos, img2label_paths(photos), strict=True):
        *_, missing, _, _, corrupt, message = verify_image_label(
            (photo, label, "", False, 3, 0, 0, False)
        )
        assert (missing, corrupt, message) == (0, 0, "")


def test_ignored_pixels_stay_where_no_polygon_is(run):
    out = run.parent / "out"
    export_masks(run, out, to="yolo", tolerance=0)
    before = pseudo(run)["a b"]
    file = out / "labels" / "train" / "a b.txt"
    file.write_text(file.read_text() + "0 0 0 0.5 0 0.5 0.5 0 0.5\n")
    assert import_masks(out, run, source="yolo")["changed"] == 1
    after = masks_of(run / "corrected")["a b"]
    assert (before == 255).any()
    beyond = np.ones(SIZE, bool)
    beyond[:16, :22] = False
    np.testing.assert_array_equal(after[beyond], before[beyond])
    assert not (after == 255)[:14, :20].any()


def test_a_photo_without_labels_is_no_correction(run):
    out = run.parent / "out"
    save_mask(np.zeros(SIZE, np.uint8), RunFolder(run).stage("masks") / "a b.png")
    export_masks(run, out, to="yolo", tolerance=0)
    assert (out / "labels" / "train" / "a b.txt").read_text() == ""
    found = import_masks(out, run, source="yolo")
    assert (found["photos"], found["changed"], found["untouched"]) == (3, 0, 1)


def test_lists_of_cvat_and_names_in_a_row_are_understood(run):
    """CVAT: names numbered from 0, `train: train.txt`, labels/train."""
    out = run.parent / "out"
    export_masks(run, out, to="yolo", tolerance=0)
    content = {"path": ".", "train": "train.txt", "names": list(CLASSES)}
    (out / "data.yaml").write_text(yaml.safe_dump(content))
    blank(run)
    assert import_masks(out, run, source="yolo")["changed"] == len(NAMES)


def test_regions_joined_far_apart_are_one_line(run):
    mask = np.zeros(SIZE, np.uint8)
    mask[2:5, 2:5] = mask[20:25, 30:33] = mask[10:20, 3:6] = 2
    save_mask(mask, RunFolder(run).stage("masks") / "a b.png")
    out = run.parent / "out"
    export_masks(run, out, to="yolo", objects="class", tolerance=0)
    ((number, corners),) = lines_of(out / "labels" / "train" / "a b.txt")
    assert number == 1
    np.testing.assert_array_equal(inside(corners), mask == 2)


def test_more_lists_than_ultralytics_has_uses_are_refused(tmp_path):
    with pytest.raises(InputError, match="4 lists"):
        yolo.write(dict.fromkeys("abcd"), pytest.fail, tmp_path / "out", 1.0, "")


def test_what_was_not_edited_is_no_correction(run):
    export_masks(run, run.parent / "out", to="yolo")
    assert import_masks(run.parent / "out", run, source="yolo")["changed"] == 0


def test_lists_that_are_called_so_are_used_so(tmp_path):
    run, out = make_coco_run(tmp_path, ODD, **LISTS), tmp_path / "out"
    export_masks(run, out, to="yolo", split=["val", "train"])
    content = yaml.safe_load((out / "data.yaml").read_text())
    assert (content["train"], content["val"]) == ("images/train", "images/val")


def test_specks_are_told_and_can_be_left_out(run, caplog):
    def lines(name: str) -> int:
        files = (run.parent / name / "labels").rglob("*.txt")
        return sum(len(file.read_text().splitlines()) for file in files)

    export_masks(run, run.parent / "all", to="yolo")
    told = re.search(r"(\d+) of (\d+) lines are of fewer than 50 pixels", caplog.text)
    assert told is not None
    assert int(told[2]) == lines("all")
    export_masks(run, run.parent / "few", to="yolo", smallest=50)
    assert 0 < lines("few") <= lines("all") - int(told[1])
