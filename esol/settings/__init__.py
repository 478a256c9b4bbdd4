"""Every knob of the program: one frozen dataclass per group. Imports no torch.

A value is found in this order: the defaults here, then a YAML file, then the command line.
Defaults are the paper's setting (Expansion and Shrinkage of Localization, NeurIPS 2022) where the
paper states one; docs/method.md lists which values are the paper's and which are ours.
"""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from esol.settings.checks import SEED, check, check_ranges
from esol.settings.inputs import BackboneSettings as BackboneSettings
from esol.settings.inputs import Data as Data
from esol.settings.inputs import Fit as Fit
from esol.settings.inputs import Input as Input
from esol.settings.inputs import Machine as Machine
from esol.settings.localize import Cams as Cams
from esol.settings.localize import Classify as Classify
from esol.settings.localize import Expand as Expand
from esol.settings.localize import HeadSettings as HeadSettings
from esol.settings.localize import Sampler as Sampler
from esol.settings.localize import Seeds as Seeds
from esol.settings.localize import Shrink as Shrink
from esol.settings.masks import AUTO_STRIDE as AUTO_STRIDE
from esol.settings.masks import HEAD as HEAD
from esol.settings.masks import REFINED_MAPS as REFINED_MAPS
from esol.settings.masks import Affinity as Affinity
from esol.settings.masks import Crf as Crf
from esol.settings.masks import Masks as Masks
from esol.settings.masks import Refine as Refine
from esol.settings.masks import RefineMethod as RefineMethod
from esol.settings.masks import Segment as Segment
from esol.settings.masks import Similarity as Similarity
from esol.settings.masks import Walk as Walk
from esol.settings.masks import source_parts as source_parts
from esol.settings.methods import KINDS as KINDS
from esol.settings.methods import LEARNS as LEARNS
from esol.settings.methods import MAKES as MAKES
from esol.settings.methods import MAP_KINDS as MAP_KINDS
from esol.settings.methods import Drs as Drs
from esol.settings.methods import Eps as Eps
from esol.settings.methods import Lpcam as Lpcam
from esol.settings.methods import MapKind as MapKind
from esol.settings.methods import Method as Method
from esol.settings.methods import Sccam as Sccam


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    seed: Annotated[int, SEED] = 0
    """Seed of every random choice."""

    method: Method = "esol"
    """What makes the maps: esol, plain cam, or a compared method."""

    data: Data = Data()
    """Photos, tags, masks."""

    input: Input = Input()
    """From photo to network input."""

    backbone: BackboneSettings = BackboneSettings()
    """Feature extractor."""

    head: HeadSettings = HeadSettings()
    """Classifier head."""

    classify: Classify = Classify()
    """Stage 1, and the classifiers of the compared methods."""

    sccam: Sccam = Sccam()
    """Method sccam."""

    drs: Drs = Drs()
    """Method drs."""

    eps: Eps = Eps()
    """Method eps."""

    lpcam: Lpcam = Lpcam()
    """Method lpcam."""

    expand: Expand = Expand()
    """Stage 2."""

    shrink: Shrink = Shrink()
    """Stage 3."""

    cams: Cams = Cams()
    """Stage 4."""

    seeds: Seeds = Seeds()
    """Stage 5."""

    refine: Refine = Refine()
    """Stage 6."""

    masks: Masks = Masks()
    """Stage 7."""

    segment: Segment = Segment()
    """Stage 8."""

    machine: Machine = Machine()
    """This computer."""

    def __post_init__(self) -> None:
        check_ranges(self)
        affinity = self.refine.affinity
        check(
            0 <= affinity.background <= affinity.foreground < 1,
            "refine.affinity.background",
            affinity.background,
            "in [0, refine.affinity.foreground], and that below 1",
        )
        batch = self.segment.fit.batch
        check(batch >= 2, "segment.fit.batch", batch, "2 or more")
        check(
            not (self.backbone.cache and self.input.resize != "squash"),
            "input.resize",
            self.input.resize,
            "squash while backbone.cache is on",
        )
        maps, _ = source_parts(self.masks.source)
        made = [kind for kind in REFINED_MAPS if kind in self.refine.methods]
        check(
            maps not in REFINED_MAPS or maps in made,
            "masks.source",
            self.masks.source,
            f"{' or '.join(['seeds', 'crf', *made])}; {maps} needs refine.methods: [{maps}]",
        )
        check(
            self.segment.network != HEAD or ":" not in self.backbone.name,
            "segment.network",
            HEAD,
            "another network where backbone.name is hf-hub: or local-dir:, which no model file may"
            " name",
        )
        kinds = ("auto", *self.map_kinds)
        of_method = f"{', '.join(kinds)} (method {self.method})"
        check(self.seeds.kind in kinds, "seeds.kind", self.seeds.kind, of_method)
        start = self.refine.walk.start
        check(start in kinds, "refine.walk.start", start, of_method)
        check(
            self.method != "eps" or bool(self.masks.saliency),
            "masks.saliency",
            self.masks.saliency,
            "a folder of saliency maps, from which the method eps learns",
        )
        check(
            not self.classify.init or "classify" in self.learns,
            "classify.init",
            self.classify.init,
            f"empty with the method {self.method}, which has no stage classify",
        )
        in_backbone = "drs" in self.map_kinds and self.drs.everywhere
        check(
            not (in_backbone and not self.backbone.learn),
            "drs.everywhere",
            self.drs.everywhere,
            "false while the backbone is frozen (backbone.learn: [])",
        )

    @property
    def map_kinds(self) -> tuple[MapKind, ...]:
        """Kinds of maps that the method makes; the last one becomes seeds."""
        kinds = KINDS[self.method]
        return kinds[-1:] if self.given_maps else kinds

    @property
    def learns(self) -> tuple[str, ...]:
        """The stages that train what makes the method's maps, in their order."""
        return (*MAKES[self.given_maps], "peer") if self.given_maps else LEARNS[self.method]

    @property
    def given_maps(self) -> MapKind | None:
        """Kind of another method's maps that the stage peer reads, None if none."""
        if self.method == "lpcam":
            return self.lpcam.maps
        if self.method == "drs" and self.drs.maps != "drs":
            return self.drs.maps
        return None

    @property
    def seed_kind(self) -> MapKind:
        """Kind of maps that becomes seeds."""
        return self.map_kinds[-1] if self.seeds.kind == "auto" else self.seeds.kind

    @property
    def walk_kind(self) -> MapKind:
        """Kind of maps that IRN's walk starts from."""
        start = self.refine.walk.start
        return self.seed_kind if start == "auto" else start

    @property
    def distilled_kind(self) -> str:
        """Kind of maps that the head of distil learns."""
        made = (kind for kind in ("irn", "affinity") if kind in self.refine.methods)
        return next(made, self.seed_kind)

    @property
    def segmenter(self) -> Segment:
        """Settings of the last network, those of the backbone where it is a head on that."""
        if self.segment.network != HEAD:
            return self.segment
        backbone = self.backbone
        return replace(
            self.segment,
            encoder=backbone.name,
            weights=backbone.weights,
            stride=backbone.stride,
            mean=backbone.mean,
            std=backbone.std,
            norm="frozen",
            input=self.input,
        )

    @property
    def key_of_segment_input(self) -> str:
        """Key of the inputs that the last network learns from."""
        return "input" if self.segment.network == HEAD else "segment.input"

    def resolved(self) -> "Settings":
        """The same with what "auto" stands for, as far as that is known before a run."""
        segment = self.segmenter
        if segment.network != HEAD:
            segment = replace(segment, stride=requested_stride(segment))
        return replace(self, seeds=replace(self.seeds, kind=self.seed_kind), segment=segment)

    def group(self, name: str) -> Any:
        """One group as plain values, as identities have it."""
        value = getattr(self, name)
        plain: Any = value if isinstance(value, int | str) else asdict(value)
        for method, key in (("affinity", "similarity"), ("distil", "distil")):
            if name == "refine" and method not in self.refine.methods:
                # Read by nothing then, and versions up to 0.1.0 did not have it.
                del plain[key]
        if name == "refine" and "distil" in plain and "%" in str(self.masks.threshold):
            # How much of a photo its head's masks fill.
            plain["distil"]["masks.threshold"] = self.masks.threshold
        if name == "classify":
            # A path; identities say what lies there.
            del plain["init"]
        if name == "machine":
            plain = {"precision": self.machine.precision}
        for (owner, *inner, key), value in _LATER.items():
            holder = plain if owner == name else {}
            for part in inner:
                holder = holder.get(part, {})
            if holder.get(key) == value:
                del holder[key]
        return plain


_LATER = {
    ("head", "decay"): 1,
    ("refine", "similarity", "common"): 0,
    ("refine", "walk", "start"): "auto",
}
"""Settings that came later, with the values of what earlier versions did. Identities lack them, so
that earlier runs stay valid. Those of networks are in :mod:`esol.networks.identity`."""


def requested_stride(segment: Segment) -> int:
    """Stride that a segmentation network is asked for, where it can be chosen."""
    return AUTO_STRIDE if segment.stride == "auto" else segment.stride
