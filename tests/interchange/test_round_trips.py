"""Export, import: the same masks, through every format; and each tool reads its own."""

import json
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_run import CLASSES, FILES, NAMES, blank, make_run, masks_of, near_borders, pseudo

from esol.data import open_dataset
from esol.data.check import check
from esol.data.images import load_image, palette
from esol.errors import InputError
from esol.label_tools import TOOLS, voc
from esol.label_tools.album import Album, Photo
from esol.label_tools.exports import export_masks
from esol.label_tools.imports import import_masks
from esol.settings import Data

OUT = {
    "labelstudio": ("labelstudio", "tasks.json"),
    "cvat": ("cvat", "annotations.xml"),
    "cvat zip": ("cvat", "masks.zip"),
    "coco": ("coco", "instances.json"),
    "yolo": ("yolo", "labels"),
    "voc": ("voc", "folder"),
    "png": ("png", "masks"),
}


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path)


def exported(run: Path, form: str, tolerance: float | None = None) -> Path:
    """An export as the tool gives it back: Label Studio's predictions become annotations."""
    tool, name = OUT[form]
    out = run.parent / name
    if tool == "yolo" and tolerance is None:
        tolerance = 0.0  # it has no run lengths
    found = export_masks(run, out, to=tool, tolerance=tolerance)
    assert found == {"photos": 4, "list": "train"}
    if tool == "labelstudio":
        tasks = json.loads(out.read_text())
        for task in tasks:
            task["annotations"] = task.pop("predictions")
        out.write_text(json.dumps(tasks))
    return out


@pytest.mark.parametrize("form", OUT)
def test_run_lengths_come_back_bit_for_bit(run, form):
    file = exported(run, form)
    unchanged = {"photos": 4, "changed": 0, "corrected": 0, "untouched": 0}
    assert import_masks(file, run, source=OUT[form][0]) == unchanged
    assert not (run / "corrected").exists()
    before = blank(run)
    found = import_masks(file, run, source=OUT[form][0])
    assert found == {"photos": 4, "changed": 4, "corrected": 4, "untouched": 0}
    for name, mask in before.items():
        assert {0, 1, 2, 3, 255} <= set(np.unique(mask).tolist())
        np.testing.assert_array_equal(masks_of(run / "corrected")[name], said(form, mask))


def said(form: str, mask: np.ndarray) -> np.ndarray:
    """What a format can say of a mask: YOLO has no ignored pixels."""
    return np.where(mask == 255, 0, mask) if form == "yolo" else mask


@pytest.mark.parametrize("form", ["labelstudio", "cvat", "coco", "yolo"])
@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_polygons_come_back_within_the_tolerance(run, form, tolerance):
    file = exported(run, form, tolerance)
    assert import_masks(file, run, source=form, tolerance=tolerance)["changed"] == 0
    before = blank(run)
    import_masks(file, run, source=form, tolerance=tolerance)
    back = masks_of(run / "corrected")
    for name, mask in before.items():
        differs = back[name] != said(form, mask)
        assert not (differs & ~near_borders(mask)).any()
        assert tolerance or not differs.any()


@pytest.mark.parametrize("form", OUT)
def test_equal_masks_give_equal_bytes(run, form):
    tool, name = OUT[form]
    contents = []
    for turn in ("one", "two"):
        out = run.parent / turn / name
        export_masks(run, out, to=tool)
        files = sorted(out.rglob("*")) if out.is_dir() else [out]
        contents.append([path.read_bytes() for path in files if path.is_file()])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("form", OUT)
def test_photos_are_named_by_relative_paths(run, form):
    out = exported(run, form)
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    for file in files:
        assert str(run.parent).encode() not in file.read_bytes()


def test_pycocotools_reads_coco(run):
    from pycocotools.coco import COCO

    for tolerance in (None, 0.0):
        coco = COCO(str(exported(run, "coco", tolerance)))
        assert [c["name"] for c in coco.loadCats([1, 2, 3, 255])] == [*CLASSES, "ignore"]
        for image in coco.loadImgs(coco.getImgIds()):
            name = image["file_name"].removeprefix("images/").rsplit(".", 1)[0]
            drawn = np.zeros((image["height"], image["width"]), np.uint8)
            for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
                region = coco.annToMask(annotation).astype(bool)
                assert annotation["area"] == region.sum()
                drawn[region] = annotation["category_id"]
            np.testing.assert_array_equal(drawn, pseudo(run)[name])


def test_torchvision_reads_voc(run):
    from torchvision.datasets import VOCSegmentation

    root = run.parent / "voc"
    export_masks(run, root / "VOCdevkit" / "VOC2012", to="voc")
    found = VOCSegmentation(str(root), year="2012", image_set="train")
    data = run.parent / "data"
    for name, (photo, mask) in zip(NAMES, found, strict=True):
        np.testing.assert_array_equal(np.asarray(mask), pseudo(run)[name])
        assert photo.size == mask.size
        source = next(file for file in FILES if file.removeprefix("images/").startswith(name))
        difference = np.asarray(photo, int) - np.asarray(load_image(data / source), int)
        assert np.abs(difference).mean() < (25 if "Käfer" in name or name == "turned" else 1e-9)
    colours = (root / "VOCdevkit/VOC2012/labelmap.txt").read_text().splitlines()
    assert colours[1:3] == ["background:0,0,0::", "dog:128,0,0::"]


def test_cvats_own_decoder_reads_its_masks(run):
    masks = pytest.importorskip("cvat_sdk.masks", reason="cvat-sdk is not installed")
    tree = ElementTree.parse(exported(run, "cvat")).getroot()
    values = {name: k for k, name in enumerate((*CLASSES, "ignore"), start=1)} | {"ignore": 255}
    for image in tree.iter("image"):
        name = image.get("name").removeprefix("images/").rsplit(".", 1)[0]
        height, width = int(image.get("height")), int(image.get("width"))
        drawn = np.zeros((height, width), np.uint8)
        for shape in image.iter("mask"):
            left, top, w, h = (int(shape.get(k)) for k in ("left", "top", "width", "height"))
            points = [*map(int, shape.get("rle").split(",")), left, top, left + w - 1, top + h - 1]
            region = masks.decode_mask(points, image_width=width, image_height=height)
            assert masks.encode_mask(region) == points
            drawn[region] = values[shape.get("label")]
        np.testing.assert_array_equal(drawn, pseudo(run)[name])


def test_datumaro_reads_segmentation_masks(run, tmp_path):
    datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
    with zipfile.ZipFile(exported(run, "cvat zip")) as archive:
        archive.extractall(tmp_path / "unpacked")
    found = datumaro.Dataset.import_from(str(tmp_path / "unpacked"), "voc_segmentation")
    names = {
        info.name: k for k, info in enumerate(found.categories()[datumaro.AnnotationType.label])
    }
    values = {names[c]: k for k, c in enumerate(CLASSES, start=1)} | {names["ignore"]: 255}
    seen = set()
    for item in found:
        name = item.id.removeprefix("images/")
        drawn = np.zeros_like(pseudo(run)[name])
        for annotation in item.annotations:
            if annotation.label in values:
                drawn[annotation.image.astype(bool)] = values[annotation.label]
        np.testing.assert_array_equal(drawn, pseudo(run)[name])
        seen.add(name)
    assert seen == set(NAMES)


def test_cvats_colour_images_come_back(run):
    """CVAT writes colour images and lists labels in its own order."""
    folder = exported(run, "voc")
    lines = (folder / "labelmap.txt").read_text().splitlines()
    (folder / "labelmap.txt").write_text("\n".join([lines[0], *lines[:0:-1]]))
    for path in (folder / "SegmentationClass").rglob("*.png"):
        Image.fromarray(palette()[np.asarray(Image.open(path))]).save(path)
    before = blank(run)
    import_masks(folder, run, source="cvat")
    for name, mask in before.items():
        np.testing.assert_array_equal(masks_of(run / "corrected")[name], mask)


def test_grey_masks_count_the_lines_of_the_label_map(run):
    folder = exported(run, "voc")
    path = folder / "SegmentationClass" / "a b.png"
    Image.fromarray(np.asarray(Image.open(path))).save(path)
    before = blank(run)
    import_masks(folder, run, source="voc")
    np.testing.assert_array_equal(masks_of(run / "corrected")["a b"], before["a b"])


def test_label_studios_interface_names_every_label(run):
    exported(run, "labelstudio")
    tree = ElementTree.parse(run.parent / "tasks.config.xml").getroot()
    assert [label.get("value") for label in tree.iter("Label")] == [*CLASSES, "ignore"]
    tasks = json.loads((run.parent / "tasks.json").read_text())
    used = {r["from_name"] for task in tasks for r in task["annotations"][0]["result"]}
    assert used == {tree.find("BrushLabels").get("name")}
    assert tree.find("Image").get("value") == "$image"
    assert "image" in tasks[0]["data"]
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=images/K%C3%A4fer/0001.png"


def test_label_studios_own_parser_takes_interface_and_tasks(run):
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk is not installed"
    ).LabelInterface
    for kind, tolerance in (("BrushLabels", None), ("PolygonLabels", 1.0)):
        tasks = json.loads(exported(run, "labelstudio", tolerance).read_text())
        label = interface((run.parent / "tasks.config.xml").read_text())
        assert label.get_tag("label").tag == kind
        for task in tasks:
            assert label.validate_prediction({**task["annotations"][0], "score": 0.5})


def test_labels_of_cvat_are_written_beside(run):
    exported(run, "cvat")
    labels = json.loads((run.parent / "annotations.labels.json").read_text())
    assert [label["name"] for label in labels] == [*CLASSES, "ignore"]
    assert labels[0]["color"] == "#800000"


def test_every_tool_is_tried():
    assert {tool for tool, _ in OUT.values()} == set(TOOLS)


def test_a_class_called_ignore_is_refused_where_it_would_be_two_things(tmp_path):
    run = make_run(tmp_path)
    for path, old in (
        (run.parent / "data" / "labels.csv", "dog"),
        (run.parent / "data" / "classes.txt", "dog"),
    ):
        path.write_text(path.read_text().replace(old, "ignore"))
    manifest = run / "07-masks" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dog"', '"ignore"'))
    with pytest.raises(InputError, match="'ignore'"):
        export_masks(run, tmp_path / "x.json", to="coco")
    assert not (tmp_path / "x.json").exists()


def test_a_mask_set_back_takes_its_correction_away(run):
    file = exported(run, "coco")
    before = blank(run)
    import_masks(file, run, source="coco")
    for name in before:
        (run / "corrected" / f"{name}.png").replace(run / "07-masks" / f"{name}.png")
    found = import_masks(file, run, source="coco")
    assert found == {"photos": 4, "changed": 0, "corrected": 0, "untouched": 0}
    assert not list((run / "corrected").glob("*.png"))


def test_an_own_export_to_voc_opens_as_a_data_set(run, tmp_path):
    """Names with folders and spaces, tags of two words, the run's own classes and masks."""
    out = tmp_path / "voc"
    export_masks(run, out, to="voc")
    settings = Data()
    exported_set, before = open_dataset(out, settings), open_dataset(run.parent / "data", settings)
    assert exported_set.kind == "voc"
    assert exported_set.classes == before.classes
    assert exported_set.truth is not None
    masks = pseudo(run)
    for sample, old in zip(exported_set.samples("train"), before.samples("train"), strict=True):
        assert (sample.name, sample.tags) == (old.name, old.tags)
        np.testing.assert_array_equal(exported_set.truth(sample), masks[sample.name])
    assert check(out, settings).problems == ()


def test_a_tag_that_a_table_cannot_hold_is_told_before_a_voc_export(tmp_path):
    tags = ("dog,cat",)
    album = Album(tags, (Photo("a", "a.jpg", tmp_path / "a.jpg", (2, 4), tags),))
    with pytest.raises(InputError, match="rename the class"):
        voc.write(album, pytest.fail, tmp_path / "voc", "train")
    assert not (tmp_path / "voc").exists()
