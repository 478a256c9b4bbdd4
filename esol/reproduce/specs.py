"""What each table and figure shows: which row's maps or masks under which label."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from esol.report.summary import COLUMNS
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
        row: name in ``rows.ROWS``.
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


_MIOU = {"miou": "mIoU"}
_PRF = {"precision": "P", "recall": "R", "f1_of_means": "F1"}
_JOINED = (
    "with saliency: the pseudo masks of seeds and saliency maps, seeds cut at 0.1;"
    " undecided pixels (255) count as background"
)
_CONTROLS = (
    Line("DRS's second network on CAM (extra)", "drs-on-cam", "drs_refined"),
    Line("DRS's second network on ESOL (extra)", "drs-on-shrinkage", "drs_refined"),
)
_CONTROL = "on CAM, on ESOL: the second network learns these maps instead of those of DRS's first"

TABLES: dict[str, Spec] = {
    "table1": Spec(
        "Table 1: ablation, mIoU of the seeds",
        (
            Line("Baseline", "esol", "cam"),
            Line("Expansion w/o (DT_e + FL) + Shrinkage", "esol-without-dt-e-fl", "shrinkage"),
            Line("Expansion w/o DT_e + Shrinkage", "esol-without-dt-e", "shrinkage"),
            Line("Expansion w/o FL + Shrinkage", "esol-without-fl", "shrinkage"),
            Line(
                "Expansion + Shrinkage w/o (DT_s + L_area)", "esol-without-dt-s-area", "shrinkage"
            ),
            Line("Expansion + Shrinkage w/o DT_s", "esol-without-dt-s", "shrinkage"),
            Line("Expansion + Shrinkage w/o L_area", "esol-without-area", "shrinkage"),
            Line("Expansion + Shrinkage", "esol", "shrinkage"),
            Line("Expansion alone (extra)", "esol", "expansion"),
            Line("Expansion without deformable layer (A.1.1)", "no-deformable-layer", "expansion"),
            Line("Expansion, W1 learns (A.1.3)", "w1-learns", "expansion"),
            Line("Expansion, loss minimised (extra)", "loss-minimised", "expansion"),
        ),
        _MIOU,
        _MIOU,
        ("table1", "a11"),
        (
            "the last four lines are maps before Shrinkage; of A.1.3 the paper only says that it"
            " comes out like A.1.1",
        ),
    ),
    "table2": Spec(
        "Table 2: precision, recall and F1 of the seeds",
        (
            Line("IRN", "esol", "cam"),
            Line("Chang et al.", "sccam", "sccam"),
            Line("Expansion", "esol", "expansion"),
            Line("Shrinkage", "esol", "shrinkage"),
            Line("DRS (extra)", "drs", "drs_refined"),
            *_CONTROLS,
            Line("EPS (extra)", "eps", "eps"),
        ),
        _PRF,
        _PRF,
        ("table2",),
        (
            "IRN's seeds are its classifier's CAM, here that of the classifier under Expansion;"
            " Chang et al. is SC-CAM",
            "P and R are means over classes with background, F1 is their harmonic mean",
            "EPS learns from saliency maps, the others do not",
            _CONTROL,
        ),
    ),
    "table3": Spec(
        "Table 3: mIoU of the segmentation network",
        (
            Line("DRS, saliency", "drs-network", "segmentation"),
            Line("EPS, saliency", "eps-network", "segmentation"),
            Line("ESOL, saliency", "esol-network", "segmentation"),
            Line("ESOL, no saliency (extra)", "esol-whole", "segmentation"),
        ),
        _MIOU,
        {"val": "val", "test": "test"},
        ("table3",),
        (
            "networks learn from the pseudo masks of seeds and saliency maps, seeds cut at 0.1;"
            " the extra line from those of the configuration",
        ),
    ),
    "table4": Spec(
        "Table 4: mIoU of the seeds with and without saliency",
        (
            Line("DRS, saliency", "drs-saliency", "masks"),
            Line("DRS", "drs", "drs_refined"),
            Line("ESOL, saliency", "esol-saliency", "masks"),
            Line("ESOL", "esol", "shrinkage"),
            *_CONTROLS,
            Line("CAM, saliency (extra)", "cam-saliency", "masks"),
            Line("CAM (extra)", "esol", "cam"),
            Line("EPS, saliency (extra)", "eps-saliency", "masks"),
            Line("EPS (extra)", "eps", "eps"),
        ),
        _MIOU,
        _MIOU,
        ("table4",),
        (_JOINED, "EPS learns from saliency maps in both of its lines", _CONTROL),
    ),
    "ablations": Spec(
        "Ablations (extra): every row of Expansion and Shrinkage in all measures",
        ABLATIONS,
        COLUMNS,
        notes=("Expansion stands only where a row changes it: otherwise it is ESOL's",),
        apart=True,
    ),
    "masks": Spec(
        "Masks (extra): from seeds to a segmentation model",
        (
            *to_model("CAM", "cam", "cam"),
            *to_model("ESOL", "shrinkage", "esol"),
            Line("network on the ground truth", "truth-network", "segmentation"),
        ),
        COLUMNS,
        notes=(
            _JOINED.replace("seeds cut", "seeds and IRN's maps cut"),
            "IRN's maps have the threshold of the masks made of them in the place of the fixed one",
            "IRN learns from CAM with its own thresholds, foreground 0.3 and background 0.05, from"
            " ESOL's seeds with those of the configuration (refine.affinity)",
            "networks predict without tags; the last one learns from the masks of the photos whose"
            " tags the others learn from: a bound, not a weakly supervised row",
        ),
        apart=True,
    ),
    "figure3": Spec(
        "Figure 3: mIoU of the maps by alpha",
        tuple(line for row, label in ALPHAS.items() for line in changed(label, row, *BOTH)),
        _MIOU,
        notes=("the paper shows pictures alone, and chooses 0.01",),
    ),
}
"""The paper's tables, two of ours, and figure3, which also has numbers."""

FIGURES: dict[str, tuple[str, ...]] = {
    "figure1": ("esol", "sccam", "drs", "eps"),
    "figure2": ("esol", "esol-without-fl", "no-deformable-layer"),
    "figure3": tuple(ALPHAS),
    "figure4": ("esol", "esol-without-fl"),
    "figure5": ("esol",),
    "figure6": ("esol-whole",),
}
"""Figure -> its rows."""

TARGETS = (*(name for name in TABLES if name not in FIGURES), *FIGURES)

ALL = tuple(name for name in TARGETS if name != "masks")
"""What "all" means: masks trains four more segmentation networks and an IRNet, which takes long."""


def rows_of(target: str) -> tuple[str, ...]:
    """Rows of a table or figure."""
    if target in FIGURES:
        return FIGURES[target]
    return tuple(dict.fromkeys(line.row for line in TABLES[target].lines))
