"""Masks as PNG files with values of one's own, and as a data set's masks."""

import csv

import numpy as np
import pytest
from PIL import Image
from small_run import blank, make_coco_run, make_run, masks_of, pseudo

from esol.data import open_dataset
from esol.errors import InputError
from esol.label_tools.exports import export_masks
from esol.label_tools.imports import import_masks
from esol.settings import Data

VALUES = "dog=7,traffic light=3,Ährenfeld=9,background=1,ignore=0"


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.mark.parametrize(("dog", "mode"), [(7, "L"), (300, "I;16")])
def test_own_values_are_written_with_a_table_and_come_back(run, dog, mode):
    out = run.parent / "out"
    export_masks(run, out, to="png", values=VALUES.replace("7", str(dog)))
    with (out / "values.csv").open(encoding="utf-8", newline="") as file:
        table = {row["name"]: int(row["value"]) for row in csv.DictReader(file)}
    assert table == {"dog": dog, "traffic light": 3, "Ährenfeld": 9, "background": 1, "ignore": 0}
    names = {0: "background", 1: "dog", 2: "traffic light", 3: "Ährenfeld", 255: "ignore"}
    for name, mask in pseudo(run).items():
        with Image.open(out / f"{name}.png") as image:
            assert image.mode == mode
            found = np.asarray(image)
        for value, label in names.items():
            np.testing.assert_array_equal(found == table[label], mask == value)
    before = blank(run)
    import_masks(out, run, source="png")
    for name, mask in before.items():
        np.testing.assert_array_equal(masks_of(run / "corrected")[name], mask)


def test_the_table_that_is_written_can_be_given(run):
    first, second = run.parent / "first", run.parent / "second"
    export_masks(run, first, to="png", values=VALUES)
    export_masks(run, second, to="png", values=str(first / "values.csv"))
    for file in first.rglob("*.*"):
        assert (second / file.relative_to(first)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (VALUES.replace("dog=7,", ""), "no value for 'dog'"),
        (VALUES.replace(",ignore=0", ""), "no value for 'ignore'"),
        (VALUES.replace("=7", "=3"), "'dog' and 'traffic light' are both 3"),
        (f"{VALUES},dog=8", "'dog' comes twice"),
        (f"{VALUES},wolf=8", "no class 'wolf'"),
        (VALUES.replace("7", "65536"), "give 0 .. 65535"),
        (VALUES.replace("7", "-7"), "give 0 .. 65535"),
        (VALUES.replace("7", "x"), "give 0 .. 65535"),
        (f"a, {VALUES}", "write NAME=VALUE"),
        ("nowhere.csv", "nowhere.csv: cannot be read"),
    ],
)
def test_values_that_are_not_clear_are_refused(run, values, words):
    with pytest.raises(InputError, match=words):
        export_masks(run, run.parent / "out", to="png", values=values)
    assert not (run.parent / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,value\ndog,1\n", "line 1: the header"),
        ("", "line 1: the header"),
        ("value,name\n1\n", "line 2: 1 cells"),
        ("value,name\n1,dog\n\n1,background\n", "line 4: 'dog' and 'background' are both 1"),
        ('value,name\n1,"dog\n', "not CSV"),
        ("value,name\n1,dog\n", "a value that is not in values.csv"),
    ],
)
def test_damaged_tables_are_refused(run, text, words):
    out = run.parent / "out"
    export_masks(run, out, to="png")
    (out / "values.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        import_masks(out, run, source="png")


def test_in_the_data_folder_they_are_its_masks(run):
    data = run.parent / "data"
    export_masks(run, data / "mine", to="png")
    dataset, masks = open_dataset(data, Data(masks="mine")), pseudo(run)
    for sample in dataset.samples("train"):
        np.testing.assert_array_equal(dataset.truth(sample), masks[sample.name])


def test_a_photo_that_is_called_like_a_mask_keeps_its_mask(tmp_path):
    run = make_coco_run(tmp_path, ["dog"], train=["face.jpg", "face_mask.jpg"])
    export_masks(run, tmp_path / "out", to="png")
    (tmp_path / "out" / "face.png").unlink()
    before = blank(run)
    import_masks(tmp_path / "out", run, source="png")
    corrected = masks_of(run / "corrected")
    assert corrected.keys() == {"face_mask"}
    np.testing.assert_array_equal(corrected["face_mask"], before["face_mask"])
