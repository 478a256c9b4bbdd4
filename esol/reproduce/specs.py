"""What each table and figure shows: which row's maps or masks under which label."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MASKS = ("masks", "segmentation")
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
    """

    label: str
    row: str
    kind: str


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
    """

    title: str
    lines: tuple[Line, ...]
    measures: Mapping[str, str]
    columns: Mapping[str, str] = field(default_factory=dict)
    printed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_MIOU = {"miou": "mIoU"}
_PRF = {"precision": "P", "recall": "R", "f1_of_means": "F1"}
_JOINED = (
    "with saliency: the pseudo masks of seeds and saliency maps, seeds cut at 0.1;"
    " undecided pixels (255) count as background"
)

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
            Line("CAM, saliency (extra)", "cam-saliency", "masks"),
            Line("CAM (extra)", "esol", "cam"),
            Line("EPS, saliency (extra)", "eps-saliency", "masks"),
            Line("EPS (extra)", "eps", "eps"),
        ),
        _MIOU,
        _MIOU,
        ("table4",),
        (_JOINED, "EPS learns from saliency maps in both of its lines"),
    ),
    "figure3": Spec(
        "Figure 3: mIoU of the maps by alpha",
        tuple(
            Line(f"{label}, {kind.capitalize()}", row, kind)
            for row, label in ALPHAS.items()
            for kind in ("expansion", "shrinkage")
        ),
        _MIOU,
        notes=("the paper shows pictures alone, and chooses 0.01",),
    ),
}
"""Tables of the paper; figure3 also has numbers."""

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


def rows_of(target: str) -> tuple[str, ...]:
    """Rows of a table or figure."""
    if target in FIGURES:
        return FIGURES[target]
    return tuple(dict.fromkeys(line.row for line in TABLES[target].lines))
