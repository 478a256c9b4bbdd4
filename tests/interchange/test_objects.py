"""Regions: classes, connected parts, or the instances of IRN; and flags of other formats."""

import json

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from scipy import ndimage
from small_run import SIZE, blank, make_run, masks_of, pseudo

from esol.cli.main import main
from esol.data.images import save_mask
from esol.errors import InputError
from esol.label_tools import OBJECTS
from esol.label_tools.exports import export_masks
from esol.label_tools.imports import import_masks
from esol.label_tools.regions import instances, parts, without_specks
from esol.runs.folder import RunFolder
from esol.runs.work import work_on

FORMS = {
    "labelstudio": "tasks.json",
    "cvat": "annotations.xml",
    "coco": "instances.json",
    "yolo": "folder",
}


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def add_instances(run):
    """Vertical strips, each an object, in the stage refine."""
    folder = RunFolder(run)
    with work_on(folder, "refine", folder.manifest("masks")["identity"]) as stage:
        for name, mask in pseudo(run).items():
            strips = np.broadcast_to(np.arange(SIZE[1]) // 10 + 1, SIZE).astype(np.uint8)
            save_mask(np.where(mask == 0, 0, strips), stage.path / "instances" / f"{name}.png")


def by_hand(mask, objects):
    """Regions of the instances, pixel by pixel, as (value, bytes)."""
    class_of = {}
    for number in range(1, 255):
        values = [v for v in mask[objects == number].tolist() if v not in (0, 255)]
        if values:
            class_of[number] = min(set(values), key=lambda v: (-values.count(v), v))
    found = {}
    for y, x in np.argwhere(mask > 0).tolist():
        value = int(mask[y, x])
        mine = [n for n, v in class_of.items() if v == value]
        at = [(p, q) for p, q in np.argwhere(mask == value) if objects[p, q] in mine]
        distances = [((p - y) ** 2 + (q - x) ** 2, objects[p, q]) for p, q in at]
        least = min(distances, default=(0, 0))[0]
        # Several objects may be equally near.
        found[y, x] = value, {int(n) for d, n in distances if d == least} or {0}
    return found


def test_pixels_go_to_the_nearest_object_of_their_class():
    rng = np.random.default_rng(3)
    for _ in range(5):
        mask = ndimage.zoom(rng.integers(0, 4, (3, 4)), 4, order=0).astype(np.uint8)
        mask[mask == 3] = 255
        objects = ndimage.zoom(rng.integers(0, 5, (4, 3)), (3, 16 / 3), order=0).astype(np.uint8)
        wanted, seen = by_hand(mask, objects), np.zeros(mask.shape, int)
        for value, region in instances(mask, objects):
            assert region.any()
            seen += region
            own = [wanted[y, x] for y, x in np.argwhere(region).tolist()]
            assert {v for v, _ in own} == {value}
            assert value == 255 or set.intersection(*(numbers for _, numbers in own))
        np.testing.assert_array_equal(seen, mask > 0)


def test_parts_that_touch_at_a_corner_are_one():
    mask = np.array([[1, 0, 1], [0, 1, 0], [255, 0, 255]], np.uint8)
    found = [(value, region.sum()) for value, region in parts(mask)]
    assert found == [(1, 3), (255, 2)]
    mask[1, 1] = 2
    assert [value for value, _ in parts(mask)] == [1, 1, 2, 255]


@pytest.mark.parametrize("objects", OBJECTS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_comes_back_with_any_objects(run, form, objects):
    add_instances(run)
    out = run.parent / FORMS[form]
    tolerance = 0.0 if form == "yolo" else None
    export_masks(run, out, to=form, objects=objects, tolerance=tolerance)
    if form == "labelstudio":
        out.write_text(out.read_text().replace('"predictions"', '"annotations"'))
    before = blank(run)
    import_masks(out, run, source=form)
    for name, mask in before.items():
        expected = np.where(mask == 255, 0, mask) if form == "yolo" else mask
        np.testing.assert_array_equal(masks_of(run / "corrected")[name], expected)


def test_coco_says_what_an_annotation_is_and_has_one_for_each(run):
    add_instances(run)
    counts = {}
    for objects, words in OBJECTS.items():
        out = run.parent / f"{objects}.json"
        export_masks(run, out, to="coco", objects=objects)
        content = json.loads(out.read_text())
        assert words in content["info"]["description"]
        counts[objects] = 0
        for image in content["images"]:
            name = image["file_name"].removeprefix("images/").rsplit(".", 1)[0]
            shapes = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            drawn = np.zeros(SIZE, int)
            for shape in shapes:
                drawn += run_lengths.decode(shape["segmentation"]) * shape["category_id"]
            np.testing.assert_array_equal(drawn, pseudo(run)[name])
            counts[objects] += len(shapes)
    default = run.parent / "default.json"
    export_masks(run, default, to="coco")
    assert default.read_bytes() == (run.parent / "class.json").read_bytes()
    assert counts["class"] == 4 * 4
    assert counts["instances"] > counts["class"]
    assert counts["parts"] > counts["class"]


def test_instances_that_are_not_there_are_told(run):
    with pytest.raises(InputError, match="run the stage refine"):
        export_masks(run, run.parent / "x.json", to="coco", objects="instances")
    add_instances(run)
    (RunFolder(run).stage("refine") / "instances" / "a b.png").unlink()
    with pytest.raises(InputError, match=r"a b\.png: no such instances .*refine\.instances true"):
        export_masks(run, run.parent / "x.json", to="coco", objects="instances")
    save_mask(np.ones((3, 3), np.uint8), RunFolder(run).stage("refine") / "instances" / "a b.png")
    with pytest.raises(InputError, match=r"a b\.png: not of the size"):
        export_masks(run, run.parent / "folder", to="yolo", objects="instances")
    assert not (run.parent / "folder").exists()


@pytest.mark.parametrize(
    ("to", "out", "flags", "words"),
    [
        ("voc", "x", ["--objects", "parts"], "--objects: --to voc has masks only"),
        ("png", "x", ["--shapes", "polygons"], "--shapes polygons: --to png has masks only"),
        ("cvat", "x.zip", ["--objects", "class"], "Segmentation mask 1.1 of CVAT has masks only"),
        ("yolo", "x", ["--shapes", "rle"], "--to yolo has polygons only"),
        ("coco", "x.json", ["--values", "dog=1"], "--values: --to coco"),
        ("coco", "x.json", ["--list", "a", "--list", "b"], "--to coco takes one list"),
        ("yolo", "x", ["--list", "train", "--list", "../x"], "no such list"),
        ("heatmaps", "x", ["--list", "a", "--list", "b"], "--to heatmaps takes one list"),
    ],
)
def test_flags_of_another_format_are_refused(run, capsys, to, out, flags, words):
    assert main(["export", str(run), str(run.parent / out), "--to", to, *flags]) == 2
    assert words in capsys.readouterr().err
    assert not (run.parent / out).exists()


def test_specks_and_pinholes_take_the_value_beside_them():
    mask = np.zeros((12, 12), np.uint8)
    mask[1:9, 1:9] = 1
    mask[4, 4] = 0  # a pinhole
    mask[2, 2] = 2  # a speck
    mask[10, 10] = mask[11, 11] = 2  # one part, by its corner
    mask[0:2, 10:12] = 255
    clean = without_specks(mask, 3)
    expected = np.zeros_like(mask)
    expected[1:9, 1:9] = 1
    expected[0:2, 10:12] = 255
    np.testing.assert_array_equal(clean, expected)
    np.testing.assert_array_equal(without_specks(mask, 1), mask)
    # Where all is small, nothing can take its place.
    np.testing.assert_array_equal(without_specks(mask, 1000), mask)
