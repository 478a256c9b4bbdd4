"""What is refused on import, with nothing written; what an import leaves behind."""

import json
import os
import unicodedata
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from small_run import NAMES, blank, make_run, masks_of, pseudo

from esol.cli.main import main
from esol.data.images import load_mask, save_mask
from esol.errors import InputError
from esol.label_tools.exports import export_masks
from esol.label_tools.imports import import_masks
from esol.runs.corrections import read_corrections
from esol.runs.work import FolderLock


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path)


def refused(run: Path, file: Path, tool: str, *words: str) -> None:
    before = sorted(run.rglob("*"))
    with pytest.raises(InputError) as caught:
        import_masks(file, run, source=tool)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert sorted(run.rglob("*")) == before
    assert not (run / "corrected").exists()


def as_json(run: Path, tool: str, **options: object) -> tuple[Path, object]:
    out = run.parent / f"{tool}.json"
    export_masks(run, out, to=tool, **options)
    content = json.loads(out.read_text())
    if tool == "labelstudio":
        for task in content:
            task["annotations"] = task.pop("predictions")
    return out, content


def edited(content: object, *path: object, value: object) -> None:
    for key in path[:-1]:
        content = content[key]
    content[path[-1]] = value


COCO = [
    (("images", 1, "file_name"), "../a b.jpg", "leads out"),
    (("images", 1, "file_name"), "/etc/a b.jpg", "leads out"),
    (("images", 1, "file_name"), "C:\\a b.jpg", "leads out"),
    (("images", 1, "file_name"), "other.jpg", "not a photo of this run"),
    (("images", 1, "file_name"), "dog/0001.png", "not a photo of this run"),
    (("images", 1, "file_name"), "0001.png", "may be any of"),
    (("images", 1, "file_name"), "cat/0001.jpg", "x 29 pixels"),
    (("images", 1, "file_name"), 7, "damaged"),
    (("images", 1, "width"), 40, "40 x 29 pixels"),
    (("images", 1, "id"), None, "annotations of image"),
    (("images", 1, "id"), [2], "damaged"),
    (("images",), None, "not a list"),
    (("categories", 0, "name"), "wolf", "no class 'wolf'"),
    (("annotations", 0, "category_id"), 99, "annotation 1: damaged"),
    (("annotations", 0, "segmentation"), [], "box without a mask"),
    (("annotations", 0, "segmentation"), [[1, 2, 3, 4]], "three corners"),
    (("annotations", 0, "segmentation"), {"size": [29, 41], "counts": [5, 6]}, "do not fill"),
    (("annotations", 0, "segmentation"), {"size": [29, 41], "counts": "0"}, "damaged"),
    (("annotations", 0, "segmentation"), {"size": [29, 41], "counts": "zzzz"}, "damaged"),
    (("annotations", 0, "segmentation"), {"size": [29, 41], "counts": "P"}, "cut off"),
    (("annotations", 0, "segmentation"), {"size": [29, 41], "counts": "é"}, "not COCO text"),
    (("annotations", 0, "segmentation"), {"size": [28, 41], "counts": [1]}, "41 x 28 pixels"),
]


@pytest.mark.parametrize(("path", "value", "words"), COCO)
def test_coco_mistakes(run, path, value, words):
    out, content = as_json(run, "coco")
    edited(content, *path, value=value)
    if path == ("images", 1, "file_name") and value == "cat/0001.jpg":
        content["images"][1]["width"] = 40
        words = "40 x 29 pixels"
    out.write_text(json.dumps(content))
    refused(run, out, "coco", "coco.json", words)


RESULT = (0, "annotations", 0, "result", 0)
STUDIO = [
    ((0, "data", "photo"), "../x", "leads out"),
    ((0, "data"), {"image": "/data/upload/1/0a1b2c3d-0001.png"}, "may be any of"),
    ((*RESULT, "type"), "rectanglelabels", "brush or polygon"),
    ((*RESULT, "original_width"), 7, "7 x 29 pixels"),
    ((*RESULT, "value", "rle"), [0, 0, 1], "cut off"),
    ((*RESULT, "value", "rle"), [300], "damaged"),
    ((*RESULT, "value", "brushlabels"), ["wolf"], "no class 'wolf'"),
    ((*RESULT, "value", "brushlabels"), ["dog", "dog"], "2 labels"),
    ((*RESULT, "image_rotation"), 90, "turned"),
    ((0, "annotations"), [{"result": []}, {"result": []}], "2 annotations"),
    ((0,), {"image": "a.jpg", "label": "dog"}, "JSON-MIN"),
    ((0,), "no task", "not a list of objects"),
]


@pytest.mark.parametrize(("path", "value", "words"), STUDIO)
def test_label_studio_mistakes(run, path, value, words):
    out, content = as_json(run, "labelstudio")
    edited(content, *path, value=value)
    out.write_text(json.dumps(content))
    refused(run, out, "labelstudio", "labelstudio.json", words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('label="dog"', 'label="wolf"', "no class 'wolf'"),
        ('width="41" height="29">', 'width="9" height="29">', "9 x 29 pixels"),
        ('name="images/a b.jpg"', 'name="../a b.jpg"', "leads out"),
        ('rle="', 'rle="3, ', "do not fill"),
        ('rle="', 'rle="x, ', "damaged"),
        ('left="', 'left="9', "leaves the photo"),
        ("<mask label", "<box label", "a box, which is not a region"),
        ("</annotations>", "", "not an XML file"),
        ("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>', "entities"),
        ("annotations>", "stuff>", "not CVAT"),
    ],
)
def test_cvat_mistakes(run, old, new, words):
    out = run.parent / "cvat.xml"
    export_masks(run, out, to="cvat")
    text = out.read_text()
    assert old in text
    count = -1 if "annotations>" in old else 1
    # A damaged <mask> keeps its closing tag, as all of them stand alone.
    out.write_text(text.replace(old, new, count))
    refused(run, out, "cvat", "cvat.xml", words)


def archive(run: Path, **files: bytes) -> Path:
    out = run.parent / "masks.zip"
    with zipfile.ZipFile(out, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    return out


def test_archives_that_are_none_or_lead_out(run, tmp_path):
    refused(run, archive(run, **{"../SegmentationClass/a.png": b"x"}), "voc", "leads out")
    refused(run, archive(run, **{"/etc/a.png": b"x"}), "cvat", "leads out")
    refused(run, archive(run, **{"else/a.png": b"x"}), "voc", "no folder SegmentationClass")
    found = archive(run, **{"SegmentationClass/a b.png": b"no image"})
    refused(run, found, "voc", f"{found}: SegmentationClass/a b.png", "not an image")
    whole = tmp_path / "whole.zip"
    export_masks(run, whole, to="cvat")
    whole.write_bytes(whole.read_bytes()[:-400])
    refused(run, whole, "cvat", "whole.zip", "not a whole ZIP file")
    refused(run, tmp_path / "nowhere.zip", "voc", "nowhere.zip", "cannot be read")


def test_masks_of_a_folder_are_looked_at(run, tmp_path):
    folder = tmp_path / "folder"
    masks = folder / "SegmentationClass"
    save_mask(np.full((29, 41), 9, np.uint8), masks / "a b.png")
    refused(run, folder, "voc", "a b.jpg", "value 9 is not a class")
    save_mask(np.zeros((2, 3), np.uint8), masks / "a b.png")
    refused(run, folder, "voc", "a b.png", "3 x 2 pixels")
    save_mask(np.zeros((29, 41), np.uint8), masks / "a b.png")
    (folder / "labelmap.txt").write_text("dog:1,2::\n")
    refused(run, folder, "voc", "labelmap.txt: line 1", "damaged")
    (folder / "labelmap.txt").write_text("dog:1,2,3::\n")
    refused(run, folder, "voc", "a b.png", "colour (0, 0, 0)")
    (folder / "labelmap.txt").unlink()
    save_mask(np.zeros((29, 41), np.uint8), masks / "images" / "a b.png")
    refused(run, folder, "voc", "a b.jpg", "twice")


def test_files_without_anything(run, tmp_path):
    for tool, text in (("labelstudio", "[]"), ("coco", "{"), ("coco", "[]"), ("labelstudio", "{}")):
        path = tmp_path / "file.json"
        path.write_text(text)
        refused(run, path, tool, "file.json")
    refused(run, tmp_path / "nowhere.json", "coco", "nowhere.json", "cannot be read")


def test_where_there_is_no_run_or_no_mask(run, tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        import_masks(tmp_path / "x.json", tmp_path, source="coco")
    with pytest.raises(InputError, match="run the stage seeds"):
        export_masks(run, tmp_path / "x.json", to="coco", what="seeds")
    with pytest.raises(InputError, match="no such list"):
        export_masks(run, tmp_path / "x.json", to="coco", split="val")
    for tool, name in (("coco", "x.xml"), ("labelstudio", "x"), ("cvat", "x.json")):
        with pytest.raises(InputError, match="name it NAME"):
            export_masks(run, tmp_path / name, to=tool)
    with pytest.raises(InputError, match="name another place"):
        export_masks(run, run.parent / "data", to="voc")
    (run / "07-masks" / "a b.png").unlink()
    with pytest.raises(InputError, match=r"a b.png: no such mask \(1 of 4\)"):
        export_masks(run, tmp_path / "x.json", to="coco")
    assert not (tmp_path / "x.json").exists()


def test_moved_data_is_asked_for(run, tmp_path):
    moved = (run.parent / "data").rename(tmp_path / "moved")
    with pytest.raises(InputError, match="--data"):
        export_masks(run, tmp_path / "x.json", to="coco")
    export_masks(run, tmp_path / "x.json", to="coco", data=moved)
    blank(run)
    found = import_masks(tmp_path / "x.json", run, source="coco", data=moved)
    assert found["corrected"] == 4


def test_two_imports_add_up_and_the_later_one_wins(run):
    out, content = as_json(run, "labelstudio")
    tasks = {task["data"]["photo"]: task["annotations"][0] for task in content}
    whole = tasks["a b"]["result"]
    tasks["a b"]["result"] = []
    tasks["turned"]["result"] = tasks["turned"]["result"][1:]
    out.write_text(json.dumps(content))
    digest = sha256(out.read_bytes()).hexdigest()
    found = import_masks(out, run, source="labelstudio")
    assert found == {"photos": 4, "changed": 2, "corrected": 2, "untouched": 0}
    assert masks_of_some(run, "a b").max() == 0
    corrections = read_corrections(run)
    assert set(corrections.files()) == {"a b", "turned"}
    assert corrections.sources == {
        digest: {"file": "labelstudio.json", "format": "labelstudio", "photos": 4, "changed": 2}
    }
    assert corrections.of(NAMES)["photos"] == 2
    assert corrections.of(["cat/0001"]) == {}

    # Taken back; neither a task without annotation nor a cancelled one says anything.
    tasks["a b"]["result"] = whole
    tasks["cat/0001"]["result"] = []
    tasks["turned"]["was_cancelled"] = True
    content[0]["annotations"] = []
    out.write_text(json.dumps(content))
    found = import_masks(out, run, source="labelstudio")
    assert found == {"photos": 2, "changed": 1, "corrected": 2, "untouched": 2}
    assert set(read_corrections(run).files()) == {"cat/0001", "turned"}
    assert not (run / "corrected" / "a b.png").exists()
    assert len(read_corrections(run).sources) == 2
    read_corrections(run).check(read_corrections(run).classes)


def masks_of_some(run: Path, name: str) -> np.ndarray:
    return load_mask(run / "corrected" / f"{name}.png")


def test_uploaded_photos_are_known_by_their_names(run):
    out, content = as_json(run, "labelstudio")
    for task in content:
        del task["data"]["photo"]
        if "a%20b" in task["data"]["image"]:
            task["data"]["image"] = "/data/upload/3/0a1b2c3d-a%20b.jpg"
    out.write_text(json.dumps(content))
    before = blank(run)
    import_masks(out, run, source="labelstudio")
    for name, mask in before.items():
        np.testing.assert_array_equal(masks_of(run / "corrected")[name], mask)


def test_names_as_label_studio_stores_uploads(run):
    """Spaces became lines, and what is no letter went."""
    out, content = as_json(run, "labelstudio")
    task = next(task for task in content if task["data"]["photo"] == "a b")
    task["data"] = {"image": "/data/upload/3/0a1b2c3d-a_b.jpg"}
    out.write_text(json.dumps([task]))
    before = blank(run)
    import_masks(out, run, source="labelstudio")
    np.testing.assert_array_equal(masks_of_some(run, "a b"), before["a b"])


def test_results_of_other_controls_are_passed_over(run):
    out, content = as_json(run, "labelstudio")
    others = [
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
        {"type": "rating", "value": {"rating": 4}},
        {"type": "number", "value": {"number": 4}},
        {"type": "textarea", "value": {"text": ["x"]}},
        {"type": "choices", "value": {"choices": ["dog"]}},
    ]
    content[0]["annotations"][0]["result"] += others
    content[1]["annotations"][0]["result"] = others
    out.write_text(json.dumps(content))
    found = import_masks(out, run, source="labelstudio")
    assert found == {"photos": 3, "changed": 0, "corrected": 0, "untouched": 1}


def test_a_region_without_a_label_is_told(run):
    out, content = as_json(run, "labelstudio")
    edited(content, *RESULT, "type", value="brush")
    out.write_text(json.dumps(content))
    refused(run, out, "labelstudio", "type brush")


UNTOUCHED = {
    "labelstudio": '[{"data": {"image": "a b.jpg"}, "annotations": []}]',
    "cvat": '<annotations><image id="0" name="a b.jpg" width="41" height="29"/></annotations>',
    "coco": '{"images": [{"id": 1, "file_name": "a b.jpg", "width": 41, "height": 29}],'
    ' "annotations": [], "categories": []}',
}
EMPTY = {
    "labelstudio": UNTOUCHED["labelstudio"].replace("[]}", '[{"result": []}]}'),
    "cvat": UNTOUCHED["cvat"].replace("/></a", '><tag label="background"/></image></a'),
}


@pytest.mark.parametrize("tool", UNTOUCHED)
def test_a_photo_without_a_shape_is_no_correction(run, tool):
    file = run.parent / f"export{'.xml' if tool == 'cvat' else '.json'}"
    file.write_text(UNTOUCHED[tool])
    found = import_masks(file, run, source=tool)
    assert found == {"photos": 0, "changed": 0, "corrected": 0, "untouched": 1}
    assert not (run / "corrected").exists()


@pytest.mark.parametrize("tool", EMPTY)
def test_a_photo_that_is_finished_and_empty_is_background(run, tool):
    file = run.parent / f"export{'.xml' if tool == 'cvat' else '.json'}"
    file.write_text(EMPTY[tool])
    assert import_masks(file, run, source=tool)["changed"] == 1
    assert not masks_of_some(run, "a b").any()
    # The tool says nothing of it any more: what was said stays.
    file.write_text(UNTOUCHED[tool])
    assert import_masks(file, run, source=tool)["corrected"] == 1


def test_label_studios_tasks_as_esol_wrote_them_hold_no_correction(run):
    out = run.parent / "masks.json"
    export_masks(run, out, to="labelstudio")
    blank(run)
    found = import_masks(out, run, source="labelstudio")
    assert found == {"photos": 0, "changed": 0, "corrected": 0, "untouched": 4}


def test_what_was_passed_over_is_counted(run, capsys):
    file = run.parent / "export.xml"
    image = UNTOUCHED["cvat"]
    file.write_text(image)
    assert main(["import", str(file), str(run), "--from", "cvat"]) == 0
    out = capsys.readouterr().out
    assert "1 photo is passed over, without a shape" in out
    assert "no mask differs" in out
    second = image.replace("a b.jpg", "turned.jpg").removeprefix("<annotations>")
    file.write_text(image.removesuffix("</annotations>") + second)
    assert main(["import", str(file), str(run), "--from", "cvat"]) == 0
    assert "2 photos are passed over, without a shape" in capsys.readouterr().out


FORMS = {"labelstudio": "x.json", "cvat": "x.xml", "coco": "y.json", "voc": "folder"}


@pytest.mark.parametrize("tool", FORMS)
@pytest.mark.parametrize("given", FORMS)
def test_a_file_given_to_the_wrong_tool_names_the_right_one(run, tool, given):
    out = run.parent / FORMS[tool]
    export_masks(run, out, to=tool)
    if tool == "labelstudio":
        content = json.loads(out.read_text())
        out.write_text(json.dumps([{"annotations": [], **task} for task in content]))
    if tool == given or (tool, given) == ("voc", "cvat"):
        assert import_masks(out, run, source=given)["changed"] == 0
    else:
        refused(run, out, given, out.name, f"not a file of {given}: give --from {tool}")


def test_an_archive_around_a_file_names_the_file(run):
    path = run.parent / "cvat.xml"
    export_masks(run, path, to="cvat")
    found = archive(run, **{"annotations.xml": path.read_bytes()})
    refused(run, found, "cvat", "take annotations.xml out, and give that --from cvat")


def test_cvat_for_video_names_the_other_format(run):
    file = run.parent / "video.xml"
    file.write_text('<annotations><track id="0" label="dog"/></annotations>')
    refused(run, file, "cvat", "CVAT for video", "CVAT for images 1.1")


def test_names_and_labels_in_either_form_of_unicode(run):
    out, content = as_json(run, "coco")
    before = blank(run)
    decomposed = unicodedata.normalize("NFD", json.dumps(content, ensure_ascii=False))
    assert decomposed != json.dumps(content, ensure_ascii=False)
    out.write_text(decomposed, encoding="utf-8")
    assert import_masks(out, run, source="coco")["changed"] == 4
    np.testing.assert_array_equal(masks_of_some(run, "K\u00e4fer/0001"), before["K\u00e4fer/0001"])


def test_smaller_annotations_of_coco_lie_on_top(run):
    out, content = as_json(run, "coco")
    polygon = {"iscrowd": 0, "image_id": 2, "area": 1}
    small = {"segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]], "category_id": 1}
    large = {"segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]], "category_id": 2}
    for annotations in ([small, large], [large, small]):
        content["annotations"] = [
            {**a, **polygon, "id": i} for i, a in enumerate(annotations, start=1)
        ]
        out.write_text(json.dumps(content))
        import_masks(out, run, source="coco")
        mask = masks_of_some(run, "a b")
        assert (mask[1:4, 1:4] == 1).all()
        assert (mask == 2).sum() == 81 - 9


def test_a_correction_of_polygons_is_told_from_their_tolerance(run):
    out, content = as_json(run, "coco", tolerance=1.0)
    speck = {"segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]], "category_id": 3, "id": 999}
    content["annotations"].append({**speck, "image_id": 2, "iscrowd": 0, "area": 16})
    mask = np.zeros((29, 41), np.uint8)
    save_mask(mask, run / "07-masks" / "a b.png")
    content["annotations"] = [
        a for a in content["annotations"] if a["image_id"] != 2 or a["id"] == 999
    ]
    out.write_text(json.dumps(content))
    found = import_masks(out, run, source="coco", tolerance=1.0)
    assert found == {"photos": 4, "changed": 1, "corrected": 1, "untouched": 0}
    assert (masks_of_some(run, "a b") == 3).sum() == 16


def test_corrections_can_be_exported_and_are_guarded(run, tmp_path):
    out, content = as_json(run, "coco")
    # What a tool says of a photo in which nothing is: a region of background.
    content["categories"].append({"id": 99, "name": "background"})
    ring = {"segmentation": [[0, 0, 9, 0, 9, 9]], "iscrowd": 0, "area": 41}
    content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 99, **ring}]
    content["images"] = content["images"][:1]
    out.write_text(json.dumps(content))
    import_masks(out, run, source="coco")
    export_masks(run, tmp_path / "again", to="voc", what="corrected")
    found = masks_of(tmp_path / "again" / "SegmentationClass")
    assert not found[NAMES[0]].any()
    np.testing.assert_array_equal(found["a b"], pseudo(run)["a b"])
    corrections = read_corrections(run)
    with pytest.raises(InputError, match="other classes"):
        corrections.check(("cat", "dog"))
    save_mask(np.ones((29, 41), np.uint8), run / "corrected" / f"{NAMES[0]}.png")
    with pytest.raises(InputError, match="not what was imported"):
        corrections.check(corrections.classes)
    import_masks(out, run, source="coco")
    read_corrections(run).check(corrections.classes)
    (run / "corrected" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        read_corrections(run)


def test_an_import_waits_for_no_run_and_disturbs_none(run, tmp_path):
    """A run that began meanwhile removed what the import had laid down."""
    file = tmp_path / "coco.json"
    export_masks(run, file, to="coco")
    lock = FolderLock(run)
    lock.acquire()
    refused(run, file, "coco", f"process {os.getpid()} on", "is working on it")
    lock.release()
    assert not (run / "corrected").exists()
