"""Lines of tables: which row's maps or masks under which label."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from esol.settings import RefineMethod

MASKS = ("crf", "masks", "segmentation")
"""Kinds of finished masks in metrics.json; they have no threshold."""

ALPHAS = {
    "alpha-0.0001": "alpha 0.0001",
    "alpha-0.001": "alpha 0.001",
    "esol": "alpha as configured",
    "alpha-0.1": "alpha 0.1",
    "alpha-1": "alpha 1",
}
"""Rows of the sweep -> label; every configuration that comes with esol has the paper's 0.01."""


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        label: as in paper.json where the paper has this line.
        row: name in :data:`esol.reproduce.rows.ROWS`.
        kind: what of the row is measured, a key of its metrics.json.
        refined: what it shows of the configuration's refinement, "" for nothing.
    """

    label: str
    row: str
    kind: str
    refined: RefineMethod | Literal[""] = ""


@dataclass(frozen=True)
class Spec:
    """One table.

    Attributes:
        title: its heading.
        lines: its lines in order.
        measures: key in metrics.json -> head of our column.
        columns: key in paper.json -> head of the paper's column.
        printed: keys of paper.json in which the lines are looked up.
        notes: what a reader must know besides the settings.
        apart: each protocol has a block of its own, as there are too many columns for one.
    """

    title: str
    lines: tuple[Line, ...]
    measures: Mapping[str, str]
    columns: Mapping[str, str] = field(default_factory=dict)
    printed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    apart: bool = False


def changed(label: str, row: str, *kinds: str) -> tuple[Line, ...]:
    """Lines of the kinds of maps that a row changes."""
    return tuple(Line(f"{label}, {kind.capitalize()}", row, kind) for kind in kinds)


BOTH = ("expansion", "shrinkage")

ABLATIONS = (
    Line("CAM, common to all", "esol", "cam"),
    *changed("ESOL", "esol", *BOTH),
    *changed("w/o DT_e and FL", "esol-without-dt-e-fl", *BOTH),
    *changed("w/o DT_e", "esol-without-dt-e", *BOTH),
    *changed("w/o FL", "esol-without-fl", *BOTH),
    *changed("w/o DT_s and L_area", "esol-without-dt-s-area", "shrinkage"),
    *changed("w/o DT_s", "esol-without-dt-s", "shrinkage"),
    *changed("w/o L_area", "esol-without-area", "shrinkage"),
    *changed("no deformable layer (A.1.1)", "no-deformable-layer", *BOTH),
    *changed("W1 learns (A.1.3)", "w1-learns", *BOTH),
    *changed("loss minimised", "loss-minimised", *BOTH),
    *(
        line
        for row, label in ALPHAS.items()
        if row != "esol"
        for line in changed(label, row, *BOTH)
    ),
)


def to_model(label: str, seeds: str, prefix: str) -> tuple[Line, ...]:
    """Lines from one kind of seeds to the networks trained on what is made of them."""
    whole = f"{prefix}-whole"
    return (
        Line(f"{label}: seeds", "esol", seeds),
        Line(f"{label} + CRF", whole, "crf", "crf"),
        Line(f"{label} + IRN", whole, "irn", "irn"),
        Line(f"{label}: seeds + saliency", f"{prefix}-saliency", "masks"),
        Line(f"{label} + IRN + saliency", f"{prefix}-irn-saliency", "masks"),
        Line(f"{label}: network on the CRF's masks", f"{prefix}-crf-network", "segmentation"),
        Line(f"{label}: network on IRN's masks", whole, "segmentation", "irn"),
    )
