"""What each stage reads, of which its identity is made; known without PyTorch.

So a finished run is recognised at once, and the module of a stage is imported when it works.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from esol.data import Sample
from esol.runs.manifest import CHECKPOINT
from esol.runs.stages import STAGES
from esol.runs.work import Part
from esol.settings import HEAD, REFINED_MAPS, source_parts
from esol.stages.job import Job, Reads
from esol.training.steps import METRICS


def _classify(job: Job) -> Reads:
    return Reads(lists=(job.settings.data.train,))


def _peer(job: Job) -> Reads:
    settings = job.settings
    if settings.method != "eps":
        more: dict[str, Any] = job.longest_side(settings.input, job.training_samples())
    else:
        more = {"saliency files": job.saliency_digest(settings.data.train)}
    return Reads(after=settings.learns[:-1], lists=(settings.data.train,), more=more)


def _expand(job: Job) -> Reads:
    return Reads(after=("classify",), lists=(job.settings.data.train,))


def _shrink(job: Job) -> Reads:
    return Reads(after=("classify", "expand"), lists=(job.settings.data.train,))


def _cams(job: Job) -> Reads:
    more = job.longest_side(job.settings.input, job.samples())
    return Reads(after=job.settings.learns, lists=job.lists(), more=more)


def _seeds(job: Job) -> Reads:
    return Reads(after=("cams",), lists=job.lists())


_CRF = Part(
    ("crf",),
    reads=("seeds", "refine.crf", "refine.confidence", "refine.longest", "after.cams", "data"),
)
_AFFINITY = Part(
    ("affinity",),
    reads=(
        *("seeds.kind", "refine.similarity", "seed", "backbone", "input", "machine"),
        *("after.classify", "after.peer", "after.cams", "data"),
    ),
)
_LABELS = (
    *("seeds.kind", "refine.crf", "refine.confidence", "refine.longest", "refine.affinity"),
    *("train", "train maps"),
)
"""What the confident labels are made of."""
_IRNET = (
    *_LABELS,
    *("seed", "backbone", "head", "refine.instances", "after.classify", "after.peer"),
    *("longest side", "machine"),
)
"""What IRNet is made of: it learns from the labels, on a backbone of an earlier stage."""
_IRN = (
    Part(("labels", STAGES["refine"].weights, METRICS, f"{CHECKPOINT}*"), reads=_IRNET),
    Part(("irn",), reads=(*_IRNET, "refine.walk", "after.cams", "data")),
    Part(
        ("instances",),
        reads=(*_IRNET, "refine.walk", "refine.threshold", "after.cams", "data"),
    ),
)


_DISTIL = Part(
    ("network", "distil"),
    # Whatever makes the maps before it, too.
    reads=("refine.distil", "distilled", *_AFFINITY.reads, *_IRNET, "refine.walk"),
)


def backbone_stage(job: Job) -> str:
    """The stage whose backbone later stages read: the classifier's, where the method has one."""
    return job.settings.learns[0]


def of_classifier(job: Job) -> bool:
    """Whether that backbone is the trained classifier's."""
    return backbone_stage(job) == "classify"


def _refine(job: Job) -> Reads:
    methods = job.settings.refine.methods
    named = ("crf", "irn", "affinity", "distil")
    crf, irn, affinity, distil = (name in methods for name in named)
    more = _of_irnet(job) if irn or distil else {}
    return Reads(
        after=(backbone_stage(job), "cams"),
        lists=job.lists(),
        more=more | ({"distilled": job.settings.distilled_kind} if distil else {}),
        # Those of a method that is off are not kept.
        parts=((_CRF,) * crf + (_AFFINITY,) * affinity + _IRN * irn + (_DISTIL,) * distil),
    )


def _of_irnet(job: Job) -> dict[str, Any]:
    """What IRNet's training reads."""
    settings, folder = job.settings.refine, job.run.maps(job.settings.seed_kind)
    maps = (folder / f"{sample.name}.npz" for sample in job.training_samples())
    train = job.data.fingerprint(job.settings.data.train)
    shown = job.longest_side(settings.affinity.input, job.samples(), settings.longest)
    return {"train": train, "train maps": job.contents("cams", maps), **shown}


def mask_maps(job: Job) -> str:
    """Kind of the maps that become the mask."""
    maps, _ = source_parts(job.settings.masks.source)
    return job.settings.seed_kind if maps == "seeds" else maps


def _masks(job: Job) -> Reads:
    settings, lists = job.settings, job.lists()
    more: dict[str, Any] = {
        "train": settings.data.train,
        "kind": settings.seed_kind,
        "saliency files": job.saliency_digest(*lists),
    }
    if source_parts(settings.masks.source)[1]:
        group = settings.group("refine")
        more["crf"] = {name: group[name] for name in ("crf", "confidence", "longest")}
    # The rule that chooses; a number needs none, so masks at a number stay valid.
    if not isinstance(settings.masks.threshold, float):
        more["threshold rule"] = 2
    after = ("cams", "refine") if mask_maps(job) in REFINED_MAPS else ("cams",)
    return Reads(after=after, lists=lists, more=more)


_NETWORK = (
    *(f"segment.{key}" for key in ("network", "encoder", "weights", "stride", "norm")),
    *(f"segment.{key}" for key in ("mean", "std", "input", "fit", "head_lr", "balance", "truth")),
    *("seed", "train", "truth", "train masks", "corrected", "machine"),
    *("backbone", "after.classify", "after.peer"),
)
"""What the segmentation network is made of: masks of the training list, not of others."""
_TESTING = tuple(f"segment.{key}" for key in ("longest", "scales", "flip", "crf"))
_SEGMENT = (
    Part((STAGES["segment"].weights, METRICS, f"{CHECKPOINT}*"), reads=_NETWORK),
    Part(("predictions",), reads=(*_NETWORK, *_TESTING, "data")),
)


def segment_photos(job: Job) -> tuple[Sample, ...]:
    """What the segmentation network learns from."""
    samples = job.training_samples()
    if job.settings.segment.truth:
        return tuple(sample for sample in samples if sample.mask is not None)
    return samples


def segment_corrected(job: Job) -> dict[str, Any]:
    """What is corrected of the masks learned from; empty if nothing is."""
    if job.settings.segment.truth:
        return {}
    return job.run.corrections.of(photo.name for photo in segment_photos(job))


def _segment(job: Job) -> Reads:
    train, evaluated = job.settings.data.train, job.settings.data.evaluate
    more: dict[str, Any] = {"train": job.data.fingerprint(train)}
    under = (backbone_stage(job),) if job.settings.segment.network == HEAD else ()
    if job.settings.segment.truth:
        more["truth"] = job.data.truth_fingerprint(train)
        return Reads(after=under, lists=evaluated, more=more, parts=_SEGMENT)
    folder = job.run.masks("masks")
    files = (folder / f"{photo.name}.png" for photo in segment_photos(job))
    more["train masks"] = job.contents("masks", files)
    if corrected := segment_corrected(job):
        more["corrected"] = corrected
    return Reads(after=("masks", *under), lists=evaluated, more=more, parts=_SEGMENT)


def measured_masks(job: Job) -> dict[str, Path]:
    """Kind of masks to measure -> their folder."""
    folders = job.run.mask_folders(job.settings)
    if not _measured_corrected(job):
        folders.pop("corrected", None)
    return folders


def measured_maps(job: Job) -> dict[str, float]:
    """Kind of maps to measure -> its fixed threshold."""
    threshold = job.settings.seeds.threshold
    return {
        kind: _refined_threshold(job, kind) if kind in REFINED_MAPS else threshold
        for kind in job.run.map_folders(job.settings)
    }


def _measured_corrected(job: Job) -> dict[str, Any]:
    samples = job.data.samples(*job.settings.data.evaluate)
    return job.run.corrections.of(sample.name for sample in samples)


def _refined_threshold(job: Job, kind: str) -> float:
    """Where pseudo masks without saliency cut maps of this kind; otherwise refine.threshold."""
    if job.run.is_current("masks"):
        match job.run.manifest("masks"):
            case {
                "identity": {"masks": {"source": str(source), "saliency": ""}},
                "results": {"threshold": float(threshold)},
            } if source_parts(source)[0] == kind:
                return threshold
    return job.settings.refine.threshold


def _evaluate(job: Job) -> Reads:
    lists = job.settings.data.evaluate
    more: dict[str, Any] = {
        "threshold": job.settings.seeds.threshold,
        "irn threshold": job.settings.refine.threshold,
        "measured": [*measured_maps(job), *measured_masks(job)],
        "truth": {split: job.truth_fingerprint(split) for split in lists},
    }
    if corrected := _measured_corrected(job):
        more["corrected"] = corrected
    measured = (name for name, stage in STAGES.items() if stage.measured)
    after = ("cams", *(name for name in measured if job.run.is_current(name)))
    return Reads(after=after, lists=lists, more=more)


READS: dict[str, Callable[[Job], Reads]] = {
    "classify": _classify,
    "peer": _peer,
    "expand": _expand,
    "shrink": _shrink,
    "cams": _cams,
    "seeds": _seeds,
    "refine": _refine,
    "masks": _masks,
    "segment": _segment,
    "evaluate": _evaluate,
}
"""Stage -> what it reads; its work is the function of its name in the module of its name."""
