"""The stages of a run: names, folders, versions, and what each of them trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esol.settings import HEAD, Fit, RefineMethod, Settings, source_parts

Fits = Mapping[str, Fit]
"""Key of the settings -> the optimisation of a training."""

Keys = Callable[[Settings], tuple[str, ...]]
"""Some settings -> the keys of those that a stage then reads."""


def _no_training(settings: Settings) -> Fits:
    return {}


def _always(*keys: str) -> Keys:
    return lambda settings: keys


def _on(settings: Settings) -> bool:
    return True


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: also its command, and its file in ``esol.stages``.
        folder: name of its folder in a run.
        purpose: what it does, for its help text.
        reads: keys of the settings that it reads with some settings, besides ``data`` and
            ``machine``: groups ("expand"), which enter its identity as they are, and settings of
            other groups ("seeds.threshold"), which ``reads`` of ``Job.enter`` names.
        weights: file of the network it trains; "{}" stands for a kind of maps; "" for none.
        fits: the trainings it does with some settings.
        measured: whether ``esol evaluate`` measures what it makes, as far as it is finished.
        renewed: whether its work is replaced unasked where what it was made from has changed, as
            it takes no settings of its own and little time.
        is_on: whether it has anything to do with some settings.
        version: raised when its numbers change for the same settings: old results are not reused.
    """

    name: str
    folder: str
    purpose: str
    reads: Keys
    weights: str = ""
    fits: Callable[[Settings], Fits] = _no_training
    measured: bool = False
    renewed: bool = False
    is_on: Callable[[Settings], bool] = _on
    version: int = 1


def _reads_of_peer(settings: Settings) -> tuple[str, ...]:
    method = settings.method
    peers = ("sccam", "drs", "eps", "lpcam")
    own = (method,) if method in peers else peers
    groups = ("seed", "method", "input", "backbone", "head", "classify", *own)
    if "drs" in own or "lpcam" in own:
        groups += ("cams",)
    if "peer" in settings.learns:
        groups += tuple(stage for stage in ("expand", "shrink") if stage in settings.learns)
    return (*groups, "masks.saliency") if "eps" in own else groups


def _reads_of_cams(settings: Settings) -> tuple[str, ...]:
    groups = ("input", "backbone", "head", "cams")
    return (*groups, *(("expand", "shrink") if settings.method == "esol" else ("method",)))


def _reads_of_refine(settings: Settings) -> tuple[str, ...]:
    groups: tuple[str, ...] = ("seed", "backbone", "head", "seeds", "refine")
    if not {"affinity", "distil"}.isdisjoint(settings.refine.methods):
        groups += ("input",)
    return (*groups, "masks.threshold") if "distil" in settings.refine.methods else groups


_OF_ONE_METHOD: Mapping[RefineMethod, tuple[str, ...]] = {
    "irn": ("refine.affinity", "refine.walk", "refine.instances"),
    "affinity": ("refine.similarity",),
    "distil": ("refine.distil",),
}
"""Refinement -> settings of the group refine, and groups of them, that no other one reads."""


def unused(settings: Settings) -> tuple[str, ...]:
    """Settings of the group refine, and groups of them, of methods that are off alone."""
    methods = settings.refine.methods
    return tuple(
        key for name, keys in _OF_ONE_METHOD.items() if name not in methods for key in keys
    )


def _reads_of_masks(settings: Settings) -> tuple[str, ...]:
    of_crf = ("refine.crf", "refine.confidence", "refine.longest")
    _, crf = source_parts(settings.masks.source)
    return ("masks", "seeds.kind", *(of_crf if crf else ()))


def _reads_of_segment(settings: Settings) -> tuple[str, ...]:
    groups = ("seed", "segment")
    return (*groups, "backbone") if settings.segment.network == HEAD else groups


def _fits_of_peer(settings: Settings) -> Fits:
    if settings.method == "lpcam":
        return {}
    fits = {"classify.fit": settings.classify.fit}
    return fits | ({"drs.fit": settings.drs.fit} if settings.method == "drs" else {})


def _fits_of_refine(settings: Settings) -> Fits:
    refine = settings.refine
    fits = {"refine.affinity.fit": refine.affinity.fit} if "irn" in refine.methods else {}
    return fits | ({"refine.distil": refine.distil.fit} if "distil" in refine.methods else {})


def _fits_of_segment(settings: Settings) -> Fits:
    return {"segment.fit": settings.segment.fit} if settings.segment.network != "none" else {}


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "classify",
            "01-classify",
            "train the classifier on the tags",
            _always("seed", "input", "backbone", "head", "classify"),
            weights="classifier.safetensors",
            fits=lambda settings: {"classify.fit": settings.classify.fit},
        ),
        Stage(
            "expand",
            "02-expand",
            "train Expansion",
            _always("seed", "input", "backbone", "head", "expand"),
            weights="expansion.safetensors",
            fits=lambda settings: {"expand.fit": settings.expand.fit},
        ),
        Stage(
            "shrink",
            "03-shrink",
            "train Shrinkage",
            _always("seed", "input", "backbone", "head", "expand", "shrink"),
            weights="shrinkage.safetensors",
            fits=lambda settings: {"shrink.fit": settings.shrink.fit},
        ),
        # Beside 03-shrink and after it: the control of DRS learns from Shrinkage's maps.
        Stage(
            "peer",
            "03-peer",
            "train the networks of a compared method",
            _reads_of_peer,
            weights="{}.safetensors",
            fits=_fits_of_peer,
        ),
        Stage("cams", "04-cams", "make localization maps", _reads_of_cams),
        Stage("seeds", "05-seeds", "cut maps into seed masks", _always("seeds")),
        Stage(
            "refine",
            "06-refine",
            "refine masks and maps",
            _reads_of_refine,
            weights="irn.safetensors",
            fits=_fits_of_refine,
            measured=True,
            is_on=lambda settings: bool(settings.refine.methods),
            version=2,
        ),
        Stage("masks", "07-masks", "make pseudo masks", _reads_of_masks, measured=True),
        Stage(
            "segment",
            "08-segment",
            "train the segmentation network",
            _reads_of_segment,
            weights="model.safetensors",
            fits=_fits_of_segment,
            measured=True,
            is_on=lambda settings: settings.segment.network != "none",
            version=2,
        ),
        Stage(
            "evaluate",
            "09-evaluate",
            "measure maps and masks",
            _always("seeds.threshold", "refine.threshold"),
            renewed=True,
        ),
    )
}
"""Name -> stage, in the order in which they run. This is the only table of stages; their functions
are in :mod:`esol.stages`."""
