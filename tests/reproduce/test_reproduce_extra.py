"""The tables ablations and masks from made-up metrics, and why their cells stay empty."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esol.data.synthetic import write_synthetic
from esol.reproduce.runs import Plan
from esol.reproduce.specs import ROWS, TABLES, rows_of
from esol.reproduce.tables import Cell, cells, markdown

MEASURES = ("precision", "recall", "f1_of_means", "miou", "foreground_precision")
MAPS = ("cam", "expansion", "shrinkage", "irn")


def numbers(start: float) -> dict[str, float]:
    found = {name: start + place / 100 for place, name in enumerate(MEASURES)}
    return found | {"foreground_recall": start + 0.05}


def measured(row: str) -> dict[str, Any]:
    """Another number for each row and kind; the best threshold brings 20 points."""
    place = list(ROWS).index(row) / 1000
    found: dict[str, Any] = {"photos": 3}
    for number, kind in enumerate(MAPS):
        start = 0.1 * number + place
        found[kind] = {
            "fixed": {"threshold": 0.3, "per_class": {}, **numbers(start)},
            "best_on_ground_truth": {"threshold": 0.2, "per_class": {}, **numbers(start + 0.2)},
        }
    for number, kind in enumerate(("crf", "masks", "segmentation")):
        found[kind] = {"fixed": {"per_class": {}, **numbers(0.1 * number + 0.5 + place)}}
    return found


@pytest.fixture
def finished(tmp_path, monkeypatch) -> Path:
    """A data folder; every row that is not missing is run."""
    write_synthetic(tmp_path / "data", photos=8, size=32, seed=0, val_fraction=0.5, hard=True)
    (tmp_path / "data" / "maps").mkdir()

    def metrics(self: Plan, row: str, _: int) -> dict[str, Any] | None:
        lists = {"train": measured(row), "val": measured(row)}
        return None if self.missing(row) else {"mask_set": "masks", "lists": lists}

    monkeypatch.setattr(Plan, "metrics", metrics)
    monkeypatch.setattr(Plan, "commit", lambda self, row, seed: "commit")
    return tmp_path / "data"


def plan(data: Path, *flags: str, config: str = "demo") -> Plan:
    """The demo, with the lists and the refinement of a configuration for real photos."""
    whole = ("--data.evaluate=[train,val]", "--refine.methods=[crf,irn]", "--masks.source=irn")
    return Plan(config, data, data.parent / "out", (0,), (*whole, *flags), "maps")


def reasons(found: list[Cell]) -> dict[str, str]:
    for cell in found:
        assert (cell.ours is None) == bool(cell.missing)
    return {cell.row: cell.missing for cell in found}


def test_ablations_show_each_map_that_a_row_changes_once(finished):
    lines = [(line.row, line.kind) for line in TABLES["ablations"].lines]
    assert len(set(lines)) == len(lines)
    assert [row for row, kind in lines if kind == "cam"] == ["esol"]
    for row in rows_of("ablations"):
        changes = [kind for other, kind in lines if other == row and kind != "cam"]
        shares_expansion = "expand" in ROWS[row].shared
        assert changes == ["shrinkage"] if shares_expansion else ["expansion", "shrinkage"], row


def test_ablations_have_a_block_for_each_list_and_protocol(finished):
    chosen = plan(finished)
    found = cells(chosen, "ablations")
    assert set(reasons(found).values()) == {""}
    text = markdown(chosen, "ablations", found)
    blocks = text.split("\n## ")[1:]
    heads = ["train, best threshold", "train, fixed threshold"]
    heads += ["val, best threshold", "val, fixed threshold"]
    assert [block.splitlines()[0] for block in blocks] == heads
    for block in blocks:
        table = [line for line in block.splitlines() if line.startswith("|")]
        assert table[0] == "| row | P | R | F1 | mIoU | fg P | fg R | at | seeds | missing |"
        assert len(table) == 2 + len(TABLES["ablations"].lines)
    at = f"{list(ROWS).index('w1-learns') / 10:.1f}"
    assert at == "0.8"
    row = "| W1 learns (A.1.3), Shrinkage |"
    assert f"{row} 20.8 | 21.8 | 22.8 | 23.8 | 24.8 | 25.8 | 0.30 | 1 |  |" in blocks[1]
    assert f"{row} 40.8 | 41.8 | 42.8 | 43.8 | 44.8 | 45.8 | 0.20 | 1 |  |" in blocks[2]


def test_masks_lead_from_seeds_to_networks(finished):
    chosen = plan(finished)
    found = cells(chosen, "masks")
    assert set(reasons(found).values()) == {""}
    text = markdown(chosen, "masks", found)
    blocks = {block.splitlines()[0]: block for block in text.split("\n## ")[1:]}
    heads = ("best threshold", "fixed threshold", "masks as they are")
    assert list(blocks) == [f"{split}, {head}" for split in ("train", "val") for head in heads]

    def rows(title: str) -> list[str]:
        table = [line for line in blocks[title].splitlines() if line.startswith("| ")]
        return [line.split(" | ")[0].removeprefix("| ") for line in table[1:]]

    maps = ["CAM: seeds", "CAM + IRN", "ESOL: seeds", "ESOL + IRN"]
    assert rows("val, best threshold") == rows("val, fixed threshold") == maps
    names = [
        f"{kind}{what}"
        for kind in ("CAM", "ESOL")
        for what in (
            *(" + CRF", " + IRN + distil + CRF", ": seeds + saliency", " + IRN + saliency"),
            *(": network on the CRF's masks", ": network on IRN's masks"),
        )
    ]
    assert rows("val, masks as they are") == [*names, "network on the ground truth"]
    where = {line.label: line for line in TABLES["masks"].lines}
    for cell in found:
        line = where[cell.row]
        point = measured(line.row)[line.kind][cell.protocol or "fixed"]
        assert cell.ours == pytest.approx(100 * point[cell.measure])
    assert "test_resnet" in text.split("networks: ")[1]


def test_rows_of_masks_differ_where_they_say(finished):
    chosen = plan(finished, config="voc-animals-masks-cpu")
    esol, cam = chosen.settings("esol-whole", 0), chosen.settings("cam-whole", 0)
    assert (esol.refine.affinity.foreground, esol.refine.affinity.background) == (
        0.4,
        0.15,
    )
    assert (cam.refine.affinity.foreground, cam.refine.affinity.background) == (0.3, 0.05)
    assert (esol.seed_kind, cam.seed_kind) == ("shrinkage", "cam")
    for prefix, whole in (("esol", esol), ("cam", cam)):
        for row in (f"{prefix}-crf-network", f"{prefix}-irn-saliency"):
            assert chosen.settings(row, 0).refine == whole.refine
        assert chosen.settings(f"{prefix}-crf-network", 0).masks.source == "crf"
        joined = chosen.settings(f"{prefix}-irn-saliency", 0).masks
        assert (joined.source, joined.threshold, joined.saliency) == ("irn", "auto", "maps")
        distilled = chosen.settings(f"{prefix}-distil", 0)
        assert distilled.refine.methods == (*whole.refine.methods, "distil")
        assert replace(distilled.refine, methods=whole.refine.methods) == whole.refine
        assert (distilled.masks.source, distilled.masks.threshold) == ("distil+crf", "auto")
    assert {row for row in rows_of("masks") if chosen.settings(row, 0).segment.truth} == {
        "truth-network"
    }


def test_without_a_network_seeds_and_saliency_are_left(finished):
    missing = reasons(cells(plan(finished, "--segment.network=none"), "masks"))
    left = {row for row, why in missing.items() if not why}
    assert left == {
        f"{kind}: seeds{more}" for kind in ("CAM", "ESOL") for more in ("", " + saliency")
    }
    assert set(missing.values()) == {"", "the configuration has no segmentation network"}


def test_without_a_method_of_refinement_its_lines_say_so(finished):
    no_irn = reasons(cells(plan(finished, "--refine.methods=[crf]", "--masks.source=crf"), "masks"))
    why = "the configuration's refine.methods leave out irn"
    for row in (
        *("CAM + IRN", "ESOL + IRN", "ESOL + IRN + distil + CRF", "ESOL + IRN + saliency"),
        "ESOL: network on IRN's masks",
    ):
        assert no_irn[row] == why
    assert not no_irn["ESOL + CRF"]
    assert not no_irn["ESOL: network on the CRF's masks"]
    no_crf = reasons(cells(plan(finished, "--refine.methods=[irn]"), "masks"))
    why = "the configuration's refine.methods leave out crf"
    for kind in ("CAM", "ESOL"):
        assert no_crf[f"{kind} + CRF"] == no_crf[f"{kind}: network on the CRF's masks"] == why
        assert not no_crf[f"{kind} + IRN"]
        assert not no_crf[f"{kind}: network on IRN's masks"]


def test_networks_on_other_masks_are_not_called_irns(finished):
    chosen = plan(finished, "--masks.source=seeds")
    missing = reasons(cells(chosen, "masks"))
    assert missing["ESOL: network on IRN's masks"] == "the configuration's masks.source is not irn"
    assert not missing["ESOL + CRF"]
    assert not chosen.missing("esol-whole")


def test_ground_truth_must_be_there_to_be_learned_from(finished):
    lists = plan(finished, "--cams.lists=[val]")
    assert not lists.missing("truth-network")
    assert "cams.lists leaves out train" in lists.missing("esol-crf-network")
    shutil.rmtree(finished / "masks")
    assert plan(finished).missing("truth-network") == "train has no masks to learn from"
