"""Everything end to end on a tiny synthetic set: run, measure, write; nothing the second time."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

import esol.reproduce.runs
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.reproduce import command, plan_for, reproduce
from esol.reproduce.runs import Plan, _copy
from esol.reproduce.specs import ALPHAS, ROWS, TABLES

SMOKE = Path(__file__).parents[1] / "smoke.yaml"
FLAGS = (
    *("classify.fit.steps=2", "expand.fit.steps=1", "shrink.fit.steps=1", "segment.fit.steps=1"),
    *("drs.fit.steps=1", "sccam.rounds=1", "sccam.clusters=2", "refine.affinity.fit.steps=1"),
    *("segment.flip=false", "cams.flip=false"),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> Plan:
    root = tmp_path_factory.mktemp("reproduce")
    write_synthetic(root / "data", photos=24, size=64, seed=0, val_fraction=0.5, hard=True)
    return plan_for(root / "data", root / "out", config=str(SMOKE), flags=FLAGS)


@pytest.fixture(scope="module")
def shown(plan) -> str:
    text = "\n".join(reproduce("all", plan))
    assert not (plan.out / "masks.md").exists()
    return "\n".join([text, *reproduce("masks", plan)])


def lines(plan: Plan, name: str) -> list[dict[str, str]]:
    with (plan.out / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_all_fills_every_cell(plan, shown):
    for name in TABLES:
        found = lines(plan, name)
        assert {(line["row"], line["list"]) for line in found} == {
            (line.label, split) for line in TABLES[name].lines for split in ("train", "val")
        }
        # A network of one step may call everything background, or know few classes.
        empty = {line["missing"] for line in found if not line["ours"]}
        assert empty <= {"fg P: nothing predicted"}, name
        other = {line["missing"] for line in found if line["ours"]} - {""}
        assert all(told.endswith("classes never predicted, left out") for told in other), name
        assert (plan.out / f"{name}.md").read_text(encoding="utf-8") in shown
    assert "missing:" not in shown


def test_numbers_are_those_of_the_runs(plan, shown):
    for name, spec in TABLES.items():
        where = {line.label: (line.row, line.kind) for line in spec.lines}
        for line in lines(plan, name):
            row, kind = where[line["row"]]
            path = plan.folder(row, 0).stage("evaluate") / "metrics.json"
            found = json.loads(path.read_text())["lists"][line["list"]][kind]
            point = found[line["protocol"] or "fixed"]
            value = point[line["measure"]]
            assert (line["ours"] == "") == (value is None)
            if value is not None:
                assert float(line["ours"]) == pytest.approx(100 * value, abs=1e-3)
            if line["protocol"]:
                assert float(line["at"]) == pytest.approx(point["threshold"], abs=1e-3)


def test_rows_share_what_they_say(plan, shown):
    for name, row in ROWS.items():
        for stage in row.shared:
            folder = plan.folder(name, 0).stage(stage)
            there = plan.folder(row.source, 0).stage(stage)
            assert (folder / "manifest.json").read_bytes() == (
                there / "manifest.json"
            ).read_bytes(), (name, stage)


def test_figures(plan, shown):
    for split in ("train", "val"):
        page = ElementTree.parse(plan.out / f"figure1-{split}.svg")
        texts = [
            (node.text or "").strip() for node in page.iter("{http://www.w3.org/2000/svg}text")
        ]
        assert {"CAM (IRN)", "Expansion", "Shrinkage", "DRS", "precision"} <= set(texts)
        sweep = ElementTree.parse(plan.out / f"figure3-{split}.svg")
        curves = [
            node
            for node in sweep.iter("{http://www.w3.org/2000/svg}polyline")
            if len(node.attrib["points"].split()) == len(ALPHAS)
        ]
        assert len(curves) == 4
    columns = {"figure2": 5, "figure3": 7, "figure4": 6, "figure5": 5, "figure6": 3}
    for name, count in columns.items():
        with Image.open(plan.out / f"{name}.png") as sheet:
            assert sheet.size == (4 + 164 * count, 22 + 164 * 8), name
    # Another set of photos: not the same pictures under other captions.
    with Image.open(plan.out / "figure4.png") as one, Image.open(plan.out / "figure5.png") as two:
        box = (4, 22, 168, one.height)
        assert one.crop(box).tobytes() != two.crop(box).tobytes()


def test_a_second_call_runs_nothing(plan, shown, monkeypatch):
    # A row made before a setting existed, whose default is what was done then, counts too.
    path = plan.folder("drs", 0).path / "settings.yaml"
    older = yaml.safe_load(path.read_text())
    del older["drs"]["maps"]
    path.write_text(yaml.safe_dump(older))
    monkeypatch.setattr(esol.reproduce.runs, "run", None)
    assert "\n".join([*reproduce("all", plan), *reproduce("masks", plan)]) == shown


def test_other_settings_are_refused_by_name(plan, shown):
    other = replace(plan, flags=(*plan.flags, "--head.width=8"))
    with pytest.raises(InputError, match=r"head\.width = \d+, not 8; use another --out$"):
        reproduce("table2", other)


def test_what_was_left_out_is_said(plan, shown, monkeypatch):
    monkeypatch.setattr(esol.reproduce.runs, "run", None)
    without = replace(plan, saliency="nowhere")
    text = "\n".join(reproduce("figure1", without))
    assert "row eps missing: no folder nowhere of saliency maps" in text
    assert "EPS" not in (plan.out / "figure1-val.svg").read_text()
    assert "| EPS (extra) |" in "\n".join(reproduce("table2", without))
    assert "no folder nowhere of saliency maps" in (plan.out / "table2.md").read_text()
    # As it was, for the tests beside this one.
    reproduce("figure1", plan)
    reproduce("table2", plan)


def test_command_prints_and_refuses(plan, shown, capsys):
    flags = ["--data", str(plan.data), "--out", str(plan.out), "--config", str(SMOKE)]
    assert command(["table2", *flags, "--set", *FLAGS]) == 0
    assert "Table 2" in capsys.readouterr().out
    for wrong, named in (
        (["table5", *flags], "table5"),
        (["table2", *flags, "--seeds", "1", "1"], "--seeds 1 1"),
        (["table2", *flags, "--repeat", "drs", "drz"], "--repeat drz: no such row; .* drs, "),
        (["table2", *flags, "--set", "head.width"], "group.name=value"),
        (["table2", *flags, "--set", "head.widht=3"], "head.width"),
        (["table2", *flags, "--saliency", "nowhere"], "nowhere"),
        (["table2", "--data", str(plan.data / "none")], "no such folder"),
    ):
        with pytest.raises(InputError, match=named):
            command(wrong)


def test_a_copy_is_whole_or_absent(tmp_path):
    there = tmp_path / "there"
    (there / "sub").mkdir(parents=True)
    (there / "sub" / "file").write_text("whole")
    killed = tmp_path / "run" / ".tmp-04-cams"
    killed.mkdir(parents=True)
    (killed / "half").write_text("")
    here = tmp_path / "run" / "04-cams"
    _copy(there, here)
    assert [str(path.relative_to(here)) for path in here.rglob("*")] == ["sub", "sub/file"]
    assert not killed.exists()
    (there / "sub" / "file").write_text("changed")
    _copy(there, here)
    assert (here / "sub" / "file").read_text() == "whole"
