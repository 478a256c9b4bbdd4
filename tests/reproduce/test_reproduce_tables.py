"""Tables from made-up metrics: means, deviations, thresholds, and what is missing."""

import copy
import statistics
from dataclasses import replace
from typing import Any

import pytest

from esol.report.summary import COLUMNS
from esol.reproduce import tables
from esol.reproduce.runs import Plan
from esol.reproduce.specs import TABLES
from esol.reproduce.tables import Cell, cells


def measured(value: float, at: float) -> dict[str, Any]:
    point = {**dict.fromkeys(COLUMNS, 0.5), "threshold": at, "miou": value, "precision": value}
    point["per_class"] = {"dog": {"precision": 0.5, "recall": 0.5}}
    return {"fixed": point | {"miou": value / 2}, "best_on_ground_truth": point}


MADE: dict[tuple[str, int], dict[str, Any]] = {
    ("esol", seed): {
        "mask_set": "made up",
        "lists": {
            "train": {
                "photos": 7,
                **{kind: measured(value, 0.1 + seed / 10) for kind in ("expansion", "shrinkage")},
                "cam": measured(0.4, 0.2),
            }
        },
    }
    for seed, value in ((0, 0.5), (1, 0.6), (2, 0.7))
}


@pytest.fixture
def plan(tmp_path, monkeypatch) -> Plan:
    (tmp_path / "data" / "maps").mkdir(parents=True)
    monkeypatch.setattr(Plan, "metrics", lambda self, row, seed: MADE.get((row, seed)))
    monkeypatch.setattr(Plan, "commit", lambda self, row, seed: f"commit{seed}")
    monkeypatch.setattr(Plan, "labelled", True)
    return Plan(
        "demo",
        tmp_path / "data",
        tmp_path,
        (0, 1, 2),
        ("--head.width=32", "--data.evaluate=[train,val]"),
        "maps",
    )


def cell(found: list[Cell], row: str, split: str, **wanted: str) -> Cell:
    chosen = [
        one
        for one in found
        if (one.row, one.list) == (row, split)
        and all(getattr(one, key) == value for key, value in wanted.items())
    ]
    assert len(chosen) == 1
    return chosen[0]


def test_classes_left_out_of_a_mean_are_counted(plan, monkeypatch):
    """A mask of nothing but background would otherwise show a high precision."""
    made = copy.deepcopy(MADE)
    points = made["esol", 1]["lists"]["train"]["expansion"].values()
    for point in points:
        point["per_class"] |= {
            "cat": {"precision": None, "recall": 0.0},
            "cow": {"precision": None, "recall": None},
        }
    monkeypatch.setattr(Plan, "metrics", lambda self, row, seed: made.get((row, seed)))
    found = [one for one in cells(plan, "table2") if (one.row, one.list) == ("Expansion", "train")]
    told = {one.measure: one.missing for one in found}
    assert told == {
        "precision": "P: 1 classes never predicted, left out",
        "recall": "",
        "f1_of_means": "F1: 1 classes never predicted, left out",
    }


def test_mean_and_deviation_over_seeds(plan):
    found = cells(plan, "table1")
    best = cell(found, "Expansion + Shrinkage", "train", protocol="best_on_ground_truth")
    assert best.ours == pytest.approx(60)
    assert best.deviation == pytest.approx(statistics.stdev([50, 60, 70]))
    assert best.at == pytest.approx(0.2)
    assert (best.seeds, best.paper, best.missing) == (3, 53.6, "")
    assert best.source == "Table 1, PASCAL VOC 2012 train"
    fixed = cell(found, "Expansion + Shrinkage", "train", protocol="fixed")
    assert fixed.ours == pytest.approx(30)
    extra = cell(found, "Expansion alone (extra)", "train", protocol="fixed")
    assert (extra.paper, extra.source) == (None, "")


def test_missing_cells_say_why(plan):
    found = cells(plan, "table1")
    for split in ("train", "val"):
        one = cell(found, "Expansion w/o DT_e + Shrinkage", split, protocol="fixed")
        assert (one.ours, one.seeds, one.missing) == (None, 0, "not run")
        assert one.paper == 49.1
    assert cell(found, "Baseline", "val", protocol="fixed").missing == "no masks for val"
    text = tables.markdown(plan, "table1", found)
    assert "| Expansion w/o DT_e + Shrinkage | 49.1 |  |  |  |  | 0 | not run |" in text
    assert (
        "| Expansion + Shrinkage | 53.6 | 60.0 ± 10.0 | 0.20 | 30.0 ± 5.0 | 0.20 | 3 |  |" in text
    )


def test_precision_of_nothing_is_named(plan, monkeypatch):
    nothing = measured(0.5, 0.2)
    nothing["fixed"]["precision"] = None
    lists = {"train": {**MADE["esol", 1]["lists"]["train"], "cam": nothing}}
    monkeypatch.setitem(MADE, ("esol", 1), {"mask_set": "made up", "lists": lists})
    one = replace(plan, seeds=(1,))
    found = [c for c in cells(one, "table2") if (c.row, c.list) == ("IRN", "train")]
    empty = {(c.measure, c.protocol): c.missing for c in found if c.ours is None}
    assert empty == {("precision", "fixed"): "P: nothing predicted"}
    few = replace(plan, seeds=(1, 7))
    assert "| 1 | 1 of 2 seeds; P: nothing predicted |" in tables.markdown(
        few, "table2", [c for c in cells(few, "table2") if c.row == "IRN"]
    )


def test_no_saliency_maps_and_no_network_are_named(plan):
    (plan.data / "maps").rmdir()
    missing = {one.row: one.missing for one in cells(plan, "table4")}
    assert missing["ESOL, saliency"] == missing["EPS (extra)"] == "no folder maps of saliency maps"
    assert missing["DRS"] == "not run"
    without = Plan("voc-animals-cpu", plan.data, plan.out, (0,), (), "maps")
    assert without.missing("esol-whole") == "the configuration has no segmentation network"
    some = Plan(
        "demo",
        plan.data,
        plan.out,
        (0,),
        ("--cams.lists=[val]", "--data.evaluate=[train,val]"),
        "maps",
    )
    assert "cams.lists leaves out train" in some.missing("esol-whole")
    assert not some.missing("drs")


def test_settings_that_matter_stand_below(plan):
    text = "\n".join(tables.notes(plan, "table1"))
    for part in ("demo, with head.width=32", "seeds: 0, 1, 2", "commit0, commit1, commit2"):
        assert part in text
    for part in ("test_resnet, initial weights none", "train 7, val 0", "mask set: made up"):
        assert part in text
    assert "drs.everywhere" not in "\n".join(tables.notes(plan, "table2"))
    frozen = Plan("voc-animals-cpu", plan.data, plan.out, (0,), (), "maps")
    assert "drs.everywhere: false" in "\n".join(tables.notes(frozen, "table2"))


def test_printed_numbers_of_the_networks_stand_by_list(plan):
    found = cells(plan, "table3")
    assert cell(found, "ESOL, saliency", "val").paper == 71.4
    assert cell(found, "ESOL, saliency", "train").paper is None
    assert "| ESOL, saliency | 71.4 | 71.8 |" in tables.markdown(plan, "table3", found)


def test_every_line_of_every_table_is_there_in_every_list(plan):
    for name, spec in TABLES.items():
        rows = [(one.list, one.row) for one in cells(plan, name)]
        wanted = [(split, line.label) for split in ("train", "val") for line in spec.lines]
        assert list(dict.fromkeys(rows)) == wanted
