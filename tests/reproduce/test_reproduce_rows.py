"""Rows: every set of flags loads, changes what it says, and is sourced from rows before it."""

from dataclasses import asdict
from pathlib import Path

import pytest

from esol.reproduce.runs import Plan
from esol.reproduce.specs import ALL, FIGURES, ROWS, TABLES, TARGETS, rows_of, with_sources
from esol.runs.stages import STAGES
from esol.settings import LEARNS

CONFIGS = ("voc12", "voc-animals-masks-cpu")


def plan(config: str, *flags: str) -> Plan:
    return Plan(config, Path("data"), Path("out"), (0,), flags, "maps")


@pytest.mark.parametrize("config", CONFIGS)
def test_every_row_loads_and_differs_where_it_says(config):
    chosen = plan(config)
    for name, row in ROWS.items():
        found = chosen.settings(name, 0)
        assert found.seed == 0
        assert bool(row.saliency) == (found.masks.saliency == "maps"), name
        same = asdict(found) == asdict(chosen.base)
        assert same == (name in ("esol", "esol-whole")), name


def test_drs_suppresses_in_a_backbone_only_where_that_learns():
    assert plan("demo").settings("drs", 0).drs.everywhere
    assert not plan("voc-animals-cpu").settings("drs", 0).drs.everywhere
    assert not plan("demo", "--backbone.learn=[]").settings("drs-saliency", 0).drs.everywhere


def test_rows_own_flags_win_over_those_for_all():
    chosen = plan("demo", "--expand.alpha=0.5", "--shrink.area=3")
    assert chosen.settings("esol", 0).expand.alpha == 0.5
    assert chosen.settings("alpha-1", 0).expand.alpha == 1
    assert chosen.settings("alpha-1", 0).shrink.area == 3
    strange = plan("demo", "--method=drs", "--seeds.kind=drs", "--segment.truth=true")
    assert strange.base.method == "esol"
    assert strange.settings("drs", 0).seeds.kind == "auto"
    assert not strange.settings("esol-whole", 0).segment.truth


def test_what_is_shared_is_made_from_the_same_settings():
    """A copied stage depends on no setting in which the two rows differ."""
    reads = {
        "classify": ("seed", "input", "backbone", "head", "classify", "data"),
        "expand": ("expand",),
        "shrink": ("shrink",),
        "cams": ("cams",),
        "peer": ("method", "drs", "eps"),
        "seeds": ("seeds",),
        "refine": ("seed", "seeds", "refine", "backbone", "head"),
        "masks": ("masks",),
    }
    chosen = plan("voc-animals-masks-cpu")
    for name, row in ROWS.items():
        if not row.source:
            assert not row.shared
            continue
        one, other = chosen.settings(name, 0), chosen.settings(row.source, 0)
        assert list(ROWS).index(row.source) < list(ROWS).index(name)
        assert list(row.shared) == [stage for stage in STAGES if stage in row.shared]
        for stage in row.shared:
            for group in reads[stage]:
                assert getattr(one, group) == getattr(other, group), (name, stage, group)
            stages = list(STAGES)
            ran = {*LEARNS[other.method], *stages[stages.index("cams") :]}
            last = stages.index(ROWS[row.source].until)
            assert stage in ran & {*stages[: last + 1]}, (name, stage)
            # Without methods, or without a network, a stage leaves no folder to copy.
            assert stage != "refine" or other.refine.methods, name
        # Nothing to learn is left where the maps are copied.
        if "cams" in row.shared:
            assert set(LEARNS[one.method]) <= set(row.shared)


def test_sources_come_with_a_row_and_before_it():
    assert with_sources(["drs-network"]) == ("drs", "drs-saliency", "drs-network")
    assert with_sources(["sccam", "esol-without-dt-s"]) == ("esol", "esol-without-dt-s", "sccam")
    assert with_sources(["cam-irn-saliency"]) == ("esol", "cam-whole", "cam-irn-saliency")
    assert with_sources([]) == ()
    assert with_sources(ROWS) == tuple(ROWS)


def test_every_row_is_shown_somewhere_and_every_shown_row_exists():
    used = with_sources(row for target in TARGETS for row in rows_of(target))
    assert used == tuple(ROWS)
    lines = [line for spec in TABLES.values() for line in spec.lines]
    for line in lines:
        method = plan("voc-animals-masks-cpu").settings(line.row, 0)
        until = ROWS[line.row].until.replace("segment", "segmentation")
        assert line.kind in (*method.map_kinds, until, line.refined), line
    extra = {"ablations", "masks"}
    assert set(TARGETS) == {"table1", "table2", "table3", "table4", *extra, *FIGURES}
    assert set(TARGETS) - set(ALL) == {"masks"}


def test_ablations_cost_nothing_more():
    run = with_sources((*rows_of("table1"), *rows_of("figure3")))
    assert set(rows_of("ablations")) == set(run)
