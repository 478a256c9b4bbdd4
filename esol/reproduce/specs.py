"""What is run and what is shown: rows, each a run per seed, and the tables and figures of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from esol.report.summary import COLUMNS
from esol.settings import RefineMethod


@dataclass(frozen=True)
class Row:
    """One row of a comparison: a run per seed.

    Attributes:
        source: the row from which finished stages are copied, "" for none.
        shared: names of these stages.
        flags: settings that differ from the configuration.
        until: the last stage before evaluate.
        saliency: whether it needs a folder of saliency maps.
        refined: the refinement that the configuration must have; "" for none.
    """

    source: str = ""
    shared: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    until: Literal["cams", "masks", "segment"] = "cams"
    saliency: bool = False
    refined: RefineMethod | Literal[""] = ""


_MAPS = ("classify", "expand", "shrink", "cams")
_PEER_MAPS = ("peer", "cams")
_UNTIL_REFINE = (*_MAPS, "seeds", "refine")
_NO_SAMPLER, _NO_CLIP = "--expand.learn=nothing", "--expand.clip=1"
_SEEDS = ("--refine.methods=[]", "--masks.source=seeds")
_JOINED = (*_SEEDS, "--masks.threshold=auto")
_NO_TRUTH, TRUTH = "--segment.truth=false", "--segment.truth=true"
_DRS, _EPS, _LPCAM = "--method=drs", "--method=eps", "--method=lpcam"
_CAM = "--seeds.kind=cam"
# IRN's own thresholds for its own seeds: the configuration's are for Shrinkage maps.
_CAM_IRN = (_CAM, "--refine.affinity.foreground=0.3", "--refine.affinity.background=0.05")


def _expansion(*flags: str) -> Row:
    return Row("esol", ("classify",), flags)


def _shrinkage(*flags: str) -> Row:
    return Row("esol", ("classify", "expand"), flags)


def _joint_masks(source: str, shared: tuple[str, ...], *flags: str) -> Row:
    """Pseudo masks from seeds and saliency maps."""
    return Row(source, shared, (*flags, *_JOINED), "masks", saliency=True)


def _network(source: str, shared: tuple[str, ...], *flags: str) -> Row:
    """A segmentation network trained on the masks of seeds and saliency maps."""
    return Row(source, (*shared, "masks"), (*flags, *_JOINED, _NO_TRUTH), "segment", saliency=True)


def _on_crf(source: str, *flags: str) -> Row:
    """A segmentation network trained on the CRF's masks of the seeds."""
    flags = (*flags, "--masks.source=crf", "--masks.threshold=0.3", _NO_TRUTH)
    return Row(source, _UNTIL_REFINE, flags, "segment", refined="crf")


def _joint_irn_masks(source: str, *flags: str) -> Row:
    """Pseudo masks from IRN's maps and saliency maps."""
    flags = (*flags, "--masks.source=irn", "--masks.threshold=auto")
    return Row(source, _UNTIL_REFINE, flags, "masks", saliency=True, refined="irn")


def _distilled(source: str, *flags: str) -> Row:
    """Pseudo masks of IRN's maps that a head has corrected, after a CRF."""
    methods = ("--refine.methods=[crf,irn,distil]", "--masks.source=distil+crf")
    flags = (*flags, *methods, "--masks.threshold=auto")
    # IRN is trained again: a stage is copied with the settings that it was made with.
    return Row(source, (*_MAPS, "seeds"), flags, "masks", refined="irn")


ROWS: dict[str, Row] = {
    "esol": Row(),
    "esol-without-dt-e-fl": _expansion(_NO_SAMPLER, _NO_CLIP),
    "esol-without-dt-e": _expansion(_NO_SAMPLER),
    "esol-without-fl": _expansion(_NO_CLIP),
    "esol-without-dt-s-area": _shrinkage("--shrink.learn=v", "--shrink.area=0"),
    "esol-without-dt-s": _shrinkage("--shrink.learn=v"),
    "esol-without-area": _shrinkage("--shrink.area=0"),
    "no-deformable-layer": _expansion("--expand.learn=w1", _NO_CLIP),
    "w1-learns": _expansion("--expand.learn=offsets+w1"),
    "loss-minimised": _expansion("--expand.objective=minimise"),
    **{f"alpha-{a}": _expansion(f"--expand.alpha={a}") for a in ("0.0001", "0.001", "0.1", "1")},
    "sccam": Row("esol", ("classify",), ("--method=sccam",)),
    "drs": Row(flags=(_DRS,)),
    "drs-on-cam": Row("esol", ("classify",), (_DRS, "--drs.maps=cam")),
    "drs-on-shrinkage": Row("esol", _MAPS[:3], (_DRS, "--drs.maps=shrinkage")),
    "eps": Row(flags=(_EPS,), saliency=True),
    "lpcam": Row("esol", ("classify",), (_LPCAM,)),
    "lpcam-on-expansion": Row("esol", _MAPS[:2], (_LPCAM, "--lpcam.maps=expansion")),
    "lpcam-on-shrinkage": Row("esol", _MAPS[:3], (_LPCAM, "--lpcam.maps=shrinkage")),
    "cam-saliency": _joint_masks("esol", _MAPS, _CAM),
    "drs-saliency": _joint_masks("drs", _PEER_MAPS, _DRS),
    "eps-saliency": _joint_masks("eps", _PEER_MAPS, _EPS),
    "esol-saliency": _joint_masks("esol", _MAPS),
    "drs-network": _network("drs-saliency", _PEER_MAPS, _DRS),
    "eps-network": _network("eps-saliency", _PEER_MAPS, _EPS),
    "esol-network": _network("esol-saliency", _MAPS),
    "esol-whole": Row("esol", _MAPS, (_NO_TRUTH,), "segment"),
    "cam-whole": Row("esol", _MAPS, (*_CAM_IRN, _NO_TRUTH), "segment", refined="irn"),
    "esol-crf-network": _on_crf("esol-whole"),
    "cam-crf-network": _on_crf("cam-whole", *_CAM_IRN),
    "esol-distil": _distilled("esol-whole"),
    "cam-distil": _distilled("cam-whole", *_CAM_IRN),
    "esol-irn-saliency": _joint_irn_masks("esol-whole"),
    "cam-irn-saliency": _joint_irn_masks("cam-whole", *_CAM_IRN),
    # No network learns from its masks, so any threshold will do.
    "truth-network": Row("esol", _MAPS, (*_SEEDS, "--masks.threshold=0.3", TRUTH), "segment"),
}
"""Name, also of the folder -> row; a source comes before the rows that copy from it.

CAM's maps need no row: those of kind "cam" in the row esol come from the same classifier.
"""


def with_sources(names: Iterable[str]) -> tuple[str, ...]:
    """The rows and those that they copy from, in the order in which they can be run."""
    needed: set[str] = set()
    for name in names:
        while name and name not in needed:
            needed.add(name)
            name = ROWS[name].source
    return tuple(name for name in ROWS if name in needed)


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
        row: key of ``ROWS``.
        kind: which maps or masks of the row, a key of its metrics.json.
        refined: the refinement of the configuration that it shows, "" for none.
    """

    label: str
    row: str
    kind: str
    refined: RefineMethod | Literal[""] = ""


@dataclass(frozen=True)
class Spec:
    """One table.

    Attributes:
        measures: key in metrics.json -> head of our column.
        columns: key in paper.json -> head of the paper's column.
        printed: keys of paper.json in which the lines are looked up.
        notes: what a reader must know besides the settings.
        apart: whether each protocol has its own block, where one would have too many columns.
    """

    title: str
    lines: tuple[Line, ...]
    measures: Mapping[str, str]
    columns: Mapping[str, str] = field(default_factory=dict)
    printed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    apart: bool = False


def _changed(label: str, row: str, *kinds: str) -> tuple[Line, ...]:
    """One line for each kind of maps that a row changes."""
    return tuple(Line(f"{label}, {kind.capitalize()}", row, kind) for kind in kinds)


_BOTH = ("expansion", "shrinkage")

_ABLATIONS = (
    Line("CAM, common to all", "esol", "cam"),
    *_changed("ESOL", "esol", *_BOTH),
    *_changed("w/o DT_e and FL", "esol-without-dt-e-fl", *_BOTH),
    *_changed("w/o DT_e", "esol-without-dt-e", *_BOTH),
    *_changed("w/o FL", "esol-without-fl", *_BOTH),
    *_changed("w/o DT_s and L_area", "esol-without-dt-s-area", "shrinkage"),
    *_changed("w/o DT_s", "esol-without-dt-s", "shrinkage"),
    *_changed("w/o L_area", "esol-without-area", "shrinkage"),
    *_changed("no deformable layer (A.1.1)", "no-deformable-layer", *_BOTH),
    *_changed("W1 learns (A.1.3)", "w1-learns", *_BOTH),
    *_changed("loss minimised", "loss-minimised", *_BOTH),
    *(line for row in ALPHAS if row != "esol" for line in _changed(ALPHAS[row], row, *_BOTH)),
)


def _to_model(label: str, seeds: str, prefix: str) -> tuple[Line, ...]:
    """Lines from one kind of seeds to the networks trained on their masks."""
    whole = f"{prefix}-whole"
    return (
        Line(f"{label}: seeds", "esol", seeds),
        Line(f"{label} + CRF", whole, "crf", "crf"),
        Line(f"{label} + IRN", whole, "irn", "irn"),
        Line(f"{label} + IRN + distil + CRF", f"{prefix}-distil", "masks"),
        Line(f"{label}: seeds + saliency", f"{prefix}-saliency", "masks"),
        Line(f"{label} + IRN + saliency", f"{prefix}-irn-saliency", "masks"),
        Line(f"{label}: network on the CRF's masks", f"{prefix}-crf-network", "segmentation"),
        Line(f"{label}: network on IRN's masks", whole, "segmentation", "irn"),
    )


_MIOU = {"miou": "mIoU"}
_PRF = {"precision": "P", "recall": "R", "f1_of_means": "F1"}
_JOINT_NOTE = (
    "with saliency: the pseudo masks of seeds and saliency maps, seeds cut at 0.1;"
    " undecided pixels (255) count as background"
)
_CONTROLS = (
    Line("DRS's second network on CAM (extra)", "drs-on-cam", "drs_refined"),
    Line("DRS's second network on ESOL (extra)", "drs-on-shrinkage", "drs_refined"),
)
_CONTROL_NOTE = (
    "on CAM, on ESOL: the second network learns these maps instead of those of DRS's first"
)
_LPCAM_LINES = (
    Line("LPCAM (extra)", "lpcam", "lpcam"),
    Line("LPCAM on Expansion (extra)", "lpcam-on-expansion", "lpcam"),
    Line("LPCAM on ESOL (extra)", "lpcam-on-shrinkage", "lpcam"),
)
_LPCAM_NOTE = (
    "LPCAM's prototypes are of places where CAM is high, as published; on Expansion, on ESOL: where"
    " these maps are"
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
            *_CONTROLS,
            *_LPCAM_LINES,
            Line("EPS (extra)", "eps", "eps"),
        ),
        _PRF,
        _PRF,
        ("table2", "lpcam"),
        (
            "IRN's seeds are its classifier's CAM, here that of the classifier under Expansion;"
            " Chang et al. is SC-CAM",
            "P and R are means over classes with background, F1 is their harmonic mean",
            "EPS learns from saliency maps, the others do not",
            _CONTROL_NOTE,
            _LPCAM_NOTE,
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
            *_LPCAM_LINES,
            Line("CAM, saliency (extra)", "cam-saliency", "masks"),
            Line("CAM (extra)", "esol", "cam"),
            Line("EPS, saliency (extra)", "eps-saliency", "masks"),
            Line("EPS (extra)", "eps", "eps"),
        ),
        _MIOU,
        _MIOU,
        ("table4", "lpcam"),
        (
            _JOINT_NOTE,
            "EPS learns from saliency maps in both of its lines",
            _CONTROL_NOTE,
            _LPCAM_NOTE,
        ),
    ),
    "ablations": Spec(
        "Ablations (extra): every row of Expansion and Shrinkage in all measures",
        _ABLATIONS,
        COLUMNS,
        notes=("Expansion stands only where a row changes it: otherwise it is ESOL's",),
        apart=True,
    ),
    "masks": Spec(
        "Masks (extra): from seeds to a segmentation model",
        (
            *_to_model("CAM", "cam", "cam"),
            *_to_model("ESOL", "shrinkage", "esol"),
            Line("network on the ground truth", "truth-network", "segmentation"),
        ),
        COLUMNS,
        notes=(
            _JOINT_NOTE.replace("seeds cut", "seeds and IRN's maps cut"),
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
        tuple(line for row in ALPHAS for line in _changed(ALPHAS[row], row, *_BOTH)),
        _MIOU,
        notes=("the paper shows pictures alone, and chooses 0.01",),
    ),
}
"""The paper's tables, two of ours, and figure3, which also has numbers."""

FIGURES: dict[str, tuple[str, ...]] = {
    "figure1": ("esol", "sccam", "drs", "eps", "lpcam"),
    "figure2": ("esol", "esol-without-fl", "no-deformable-layer"),
    "figure3": tuple(ALPHAS),
    "figure4": ("esol", "esol-without-fl"),
    "figure5": ("esol",),
    "figure6": ("esol-whole",),
}
"""Figure -> its rows."""

TARGETS = (*(name for name in TABLES if name not in FIGURES), *FIGURES)

ALL = tuple(name for name in TARGETS if name != "masks")
"""Targets of "all": masks trains four more segmentation networks and three IRNets: that is long."""


def rows_of(target: str) -> tuple[str, ...]:
    """Rows of a table or figure."""
    if target in FIGURES:
        return FIGURES[target]
    return tuple(dict.fromkeys(line.row for line in TABLES[target].lines))
