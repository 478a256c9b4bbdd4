"""Seeds: which rows are run with which, and what a table says while some are not there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import esol.reproduce.runs
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.reproduce import plan_for, reproduce
from esol.reproduce.runs import Plan, run_rows
from esol.reproduce.specs import ROWS
from esol.reproduce.tables import Cell, cells, markdown


def plan(tmp_path: Path, *repeat: str) -> Plan:
    if not (tmp_path / "data").is_dir():
        write_synthetic(tmp_path / "data", photos=4, size=32, seed=0, val_fraction=0.5, hard=True)
        (tmp_path / "data" / "saliency").mkdir(exist_ok=True)
    data, out = tmp_path / "data", tmp_path / "out"
    return plan_for(data, out, config="demo", seeds=(0, 1, 2), repeat=repeat or None)


def finish(monkeypatch: pytest.MonkeyPatch, runs: Iterable[tuple[str, int]]) -> None:
    """Have these runs measured: 10 % mIoU and as many per cent more as their seed says."""
    done = set(runs)

    def metrics(_: Plan, row: str, seed: int) -> dict[str, Any] | None:
        point = {"threshold": 0.3, "miou": 0.1 + seed / 100, "per_class": {}}
        found = {"fixed": point, "best_on_ground_truth": point}
        kinds = dict.fromkeys(("cam", "expansion", "shrinkage"), found)
        lists = {name: {"photos": 2, **kinds} for name in ("train", "val")}
        return {"mask_set": "masks", "lists": lists} if (row, seed) in done else None

    monkeypatch.setattr(Plan, "metrics", metrics)
    monkeypatch.setattr(Plan, "commit", lambda self, row, seed: "commit")


def fixed(chosen: Plan, label: str) -> Cell:
    [found] = [
        cell
        for cell in cells(chosen, "table1")
        if (cell.row, cell.list, cell.protocol) == (label, "val", "fixed")
    ]
    return found


def test_without_repeat_every_row_has_every_seed(tmp_path):
    chosen = plan(tmp_path)
    assert {chosen.seeds_of(row) for row in ROWS} == {(0, 1, 2)}
    assert not any("alone" in cell.row for cell in cells(chosen, "table2"))


def test_other_rows_have_the_first_seed_alone(tmp_path, monkeypatch):
    runs: list[tuple[str, int]] = []
    monkeypatch.setattr(
        esol.reproduce.runs, "_run_row", lambda plan, row, seed: runs.append((row, seed))
    )
    run_rows(plan(tmp_path, "esol-without-dt-e"), ["esol-without-fl", "esol-without-dt-e"])
    three = [(row, seed) for row in ("esol", "esol-without-dt-e") for seed in (0, 1, 2)]
    assert runs == [*three, ("esol-without-fl", 0)]


def test_what_a_repeated_row_copies_from_is_repeated(tmp_path):
    chosen = plan(tmp_path, "eps-network")
    repeated = {row for row in ROWS if chosen.seeds_of(row) == (0, 1, 2)}
    assert repeated == {"eps", "eps-saliency", "eps-network"}
    assert chosen.seeds_of("esol") == (0,)


def test_settings_that_rows_have_themselves_are_refused(tmp_path):
    data = plan(tmp_path).data
    for flag, why in (
        ("method=drs", "own"),
        ("seed=3", "--seeds"),
        ("masks.saliency=x", "--saliency"),
    ):
        with pytest.raises(InputError, match=f"--set {flag}: .*{why}"):
            plan_for(data, tmp_path / "out", config="demo", flags=(flag,))


def test_a_repeated_row_that_the_target_has_not(tmp_path):
    with pytest.raises(InputError, match="--repeat eps: figure5 has no such row; it has esol"):
        reproduce("figure5", plan(tmp_path, "esol", "eps"))
    assert not (tmp_path / "out").exists()


def test_no_such_row(tmp_path):
    with pytest.raises(InputError, match=r"--repeat drz: no such row; there are esol, .*eps"):
        plan(tmp_path, "esol", "drz")


def test_a_mean_of_fewer_seeds_than_planned_says_so(tmp_path, monkeypatch):
    finish(monkeypatch, [("esol", 0), ("esol", 2)])
    found = fixed(plan(tmp_path), "Expansion + Shrinkage")
    assert found.ours == pytest.approx(11)
    assert (found.seeds, found.missing) == (2, "2 of 3 seeds")
    assert fixed(plan(tmp_path), "Expansion w/o DT_e + Shrinkage").missing == "not run"
    text = markdown(plan(tmp_path), "table1", cells(plan(tmp_path), "table1"))
    assert "| 11.0 ± 1.4 | 0.30 | 2 | 2 of 3 seeds |" in text


def test_one_seed_is_complete_where_one_is_planned(tmp_path, monkeypatch):
    finish(monkeypatch, [*((row, 0) for row in ROWS), ("esol", 1), ("esol", 2)])
    chosen = plan(tmp_path, "esol")
    repeated = fixed(chosen, "Expansion + Shrinkage")
    assert (repeated.seeds, repeated.missing) == (3, "")
    assert repeated.ours == pytest.approx(11)
    alone = fixed(chosen, "Expansion + Shrinkage, seed 0 alone")
    assert (alone.ours, alone.seeds, alone.paper) == (pytest.approx(10), 1, None)
    assert "| Expansion + Shrinkage, seed 0 alone |  | 10.0 |" in markdown(
        chosen, "table1", cells(chosen, "table1")
    )
    other = fixed(chosen, "Expansion w/o DT_e + Shrinkage")
    assert (other.ours, other.deviation) == (pytest.approx(10), None)
    assert (other.seeds, other.missing) == (1, "")


@pytest.mark.parametrize(
    ("repeat", "told"),
    [
        ((), "seeds: 0, 1, 2; commit"),
        (("w1-learns", "esol"), "seeds: 0, 1, 2 of esol, w1-learns; 0 of the other rows; commit"),
        (("eps",), "seeds: 0; commit"),
    ],
)
def test_the_note_says_which_rows_have_which_seeds(tmp_path, repeat, told):
    chosen = plan(tmp_path, *repeat)
    assert f"- {told}" in markdown(chosen, "table1", cells(chosen, "table1"))
