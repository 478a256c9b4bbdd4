"""Rows of the paper's comparisons: in which settings they differ, and what they share."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from esol.settings import RefineMethod


@dataclass(frozen=True)
class Row:
    """One row of a comparison: a run per seed.

    Attributes:
        source: the row from which finished stages are copied, "" for none.
        shared: these stages.
        flags: settings in which it differs from the configuration.
        until: its last stage before evaluate.
        saliency: it also needs a folder of saliency maps.
        refined: what it also needs of the configuration's refinement; "" for nothing.
    """

    source: str = ""
    shared: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    until: Literal["cams", "masks", "segment"] = "cams"
    saliency: bool = False
    refined: RefineMethod | Literal[""] = ""


_MAPS = ("classify", "expand", "shrink", "cams")
_PEER_MAPS = ("peer", "cams")
_REFINED = (*_MAPS, "seeds", "refine")
_NO_SAMPLER, _NO_CLIP = "--expand.learn=nothing", "--expand.clip=1"
_SEEDS = ("--refine.methods=[]", "--masks.source=seeds")
_JOINED = (*_SEEDS, "--masks.threshold=auto")
_NO_TRUTH, TRUTH = "--segment.truth=false", "--segment.truth=true"
_DRS, _EPS, _CAM = "--method=drs", "--method=eps", "--seeds.kind=cam"
# IRN's own thresholds for its own seeds: the configuration's are for Shrinkage maps.
_CAM_IRN = (_CAM, "--refine.affinity.foreground=0.3", "--refine.affinity.background=0.05")


def _expansion(*flags: str) -> Row:
    """A row with another Expansion."""
    return Row("esol", ("classify",), flags)


def _shrinkage(*flags: str) -> Row:
    """A row with another Shrinkage."""
    return Row("esol", ("classify", "expand"), flags)


def _joined(source: str, shared: tuple[str, ...], *flags: str) -> Row:
    """The pseudo masks of seeds and saliency maps."""
    return Row(source, shared, (*flags, *_JOINED), "masks", saliency=True)


def _network(source: str, shared: tuple[str, ...], *flags: str) -> Row:
    """A segmentation network trained on the masks of seeds and saliency maps."""
    return Row(source, (*shared, "masks"), (*flags, *_JOINED, _NO_TRUTH), "segment", saliency=True)


def _on_crf(source: str, *flags: str) -> Row:
    """A segmentation network trained on the CRF's masks of the seeds."""
    flags = (*flags, "--masks.source=crf", _NO_TRUTH)
    return Row(source, _REFINED, flags, "segment", refined="crf")


def _irn_joined(source: str, *flags: str) -> Row:
    """The pseudo masks of IRN's maps and saliency maps."""
    flags = (*flags, "--masks.source=irn", "--masks.threshold=auto")
    return Row(source, _REFINED, flags, "masks", saliency=True, refined="irn")


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
    "alpha-0.0001": _expansion("--expand.alpha=0.0001"),
    "alpha-0.001": _expansion("--expand.alpha=0.001"),
    "alpha-0.1": _expansion("--expand.alpha=0.1"),
    "alpha-1": _expansion("--expand.alpha=1"),
    "sccam": Row("esol", ("classify",), ("--method=sccam",)),
    "drs": Row(flags=(_DRS,)),
    "drs-on-cam": Row("esol", ("classify",), (_DRS, "--drs.maps=cam")),
    "drs-on-shrinkage": Row(
        "esol", ("classify", "expand", "shrink"), (_DRS, "--drs.maps=shrinkage")
    ),
    "eps": Row(flags=(_EPS,), saliency=True),
    "cam-saliency": _joined("esol", _MAPS, _CAM),
    "drs-saliency": _joined("drs", _PEER_MAPS, _DRS),
    "eps-saliency": _joined("eps", _PEER_MAPS, _EPS),
    "esol-saliency": _joined("esol", _MAPS),
    "drs-network": _network("drs-saliency", _PEER_MAPS, _DRS),
    "eps-network": _network("eps-saliency", _PEER_MAPS, _EPS),
    "esol-network": _network("esol-saliency", _MAPS),
    "esol-whole": Row("esol", _MAPS, (_NO_TRUTH,), "segment"),
    "cam-whole": Row("esol", _MAPS, (*_CAM_IRN, _NO_TRUTH), "segment", refined="irn"),
    "esol-crf-network": _on_crf("esol-whole"),
    "cam-crf-network": _on_crf("cam-whole", *_CAM_IRN),
    "esol-irn-saliency": _irn_joined("esol-whole"),
    "cam-irn-saliency": _irn_joined("cam-whole", *_CAM_IRN),
    # Nothing learns from its masks, so their threshold must only be one.
    "truth-network": Row("esol", _MAPS, (*_SEEDS, "--masks.threshold=0.3", TRUTH), "segment"),
}
"""Name, which is that of its folder, -> row; every source comes before what copies from it.

CAM has no row for its maps: those of kind "cam" in the row esol are the same classifier's.
"""


def with_sources(names: Iterable[str]) -> tuple[str, ...]:
    """The rows, and all that they copy from, in the order in which they can be run."""
    wanted: set[str] = set()
    for name in names:
        while name and name not in wanted:
            wanted.add(name)
            name = ROWS[name].source
    return tuple(name for name in ROWS if name in wanted)
