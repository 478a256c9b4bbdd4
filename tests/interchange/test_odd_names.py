"""Classes and photos with odd names, out and in through every format."""

import json

import numpy as np
import pytest
import yaml
from small_run import blank, make_coco_run, masks_of

from esol.errors import InputError
from esol.label_tools.exports import export_masks
from esol.label_tools.imports import import_masks

EASY = ("yes", "1", "Ähre né", "~", "null", "it's")
"""Classes that YAML, or a program that guesses, may take for something else."""

HARD = ("#x", "a, b", "k: v")
"""Classes that a table of VOC's layout cannot hold."""

PHOTOS = ("0001.jpg", "x/0001.jpg", "y/images/0001.png", "a.b.c.jpg", "sp ace.png", "Käfer 1.jpg")

FORMS = {
    "labelstudio": "tasks.json",
    "cvat": "annotations.xml",
    "cvat zip": "masks.zip",
    "coco": "instances.json",
    "yolo": "labels",
    "voc": "folder",
    "png": "masks",
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_come_back(tmp_path, form):
    tool = form.split()[0]
    run = make_coco_run(
        tmp_path, EASY if "zip" in form or form == "voc" else EASY + HARD, train=PHOTOS
    )
    out = tmp_path / FORMS[form]
    export_masks(run, out, to=tool, tolerance=0.0 if form == "yolo" else None)
    if form == "labelstudio":
        out.write_text(out.read_text().replace('"predictions"', '"annotations"'))
    before = blank(run)
    found = import_masks(out, run, source=tool)
    assert found["changed"] == len(before) == len(PHOTOS)
    for name, mask in masks_of(run / "corrected").items():
        expected = (
            np.where(before[name] == 255, 0, before[name]) if form == "yolo" else before[name]
        )
        np.testing.assert_array_equal(mask, expected)


def test_names_are_texts_in_each_file(tmp_path):
    run = make_coco_run(tmp_path, EASY + HARD, train=PHOTOS)
    names = list(EASY + HARD)
    export_masks(run, tmp_path / "yolo", to="yolo")
    text = (tmp_path / "yolo" / "data.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load(text)["names"].values()) == names
    export_masks(run, tmp_path / "coco.json", to="coco")
    categories = json.loads((tmp_path / "coco.json").read_text())["categories"]
    assert [category["name"] for category in categories][:-1] == names


@pytest.mark.parametrize("name", HARD)
def test_what_a_layout_cannot_hold_is_told(tmp_path, name):
    run = make_coco_run(tmp_path, ("dog", name), train=PHOTOS)
    with pytest.raises(InputError, match="rename the class"):
        export_masks(run, tmp_path / "voc", to="voc")
    assert not (tmp_path / "voc").exists()


def test_a_value_for_a_name_with_a_comma_is_in_a_table(tmp_path):
    run = make_coco_run(tmp_path, ("a, b", "c=d"), train=PHOTOS)
    with pytest.raises(InputError, match="names with commas in a table"):
        export_masks(run, tmp_path / "x", to="png", values="a, b=1,c=d=2,background=0,ignore=3")
    table = tmp_path / "mine.csv"
    table.write_text('value,name\n1,"a, b"\n2,c=d\n0,background\n3,ignore\n')
    export_masks(run, tmp_path / "x", to="png", values=str(table))
    before = blank(run)
    import_masks(tmp_path / "x", run, source="png")
    for name, mask in masks_of(run / "corrected").items():
        np.testing.assert_array_equal(mask, before[name])
