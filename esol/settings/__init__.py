"""Every knob of the program: one frozen dataclass per group. Imports no torch.

A value is found in this order: the defaults here, then a YAML file, then the command line.
Defaults are the paper's setting (Expansion and Shrinkage of Localization, NeurIPS 2022) where the
paper states one; docs/method.md lists which values are the paper's and which are ours.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from esol.settings.checks import check
from esol.settings.inputs import BackboneSettings, Data, Fit, Input, Machine
from esol.settings.localize import (
    Cams,
    Classify,
    Expand,
    HeadSettings,
    Sampler,
    Seeds,
    Shrink,
)
from esol.settings.masks import (
    AUTO_STRIDE,
    Affinity,
    Crf,
    Masks,
    Refine,
    RefineMethod,
    Segment,
    Walk,
)
from esol.settings.methods import (
    KINDS,
    LEARNS,
    MAP_KINDS,
    Drs,
    Eps,
    MapKind,
    Method,
    Sccam,
)

__all__ = [
    "AUTO_STRIDE",
    "KINDS",
    "LEARNS",
    "MAP_KINDS",
    "Affinity",
    "BackboneSettings",
    "Cams",
    "Classify",
    "Crf",
    "Data",
    "Drs",
    "Eps",
    "Expand",
    "Fit",
    "HeadSettings",
    "Input",
    "Machine",
    "MapKind",
    "Masks",
    "Method",
    "Refine",
    "RefineMethod",
    "Sampler",
    "Sccam",
    "Seeds",
    "Segment",
    "Settings",
    "Shrink",
    "Walk",
]


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    seed: int = 0
    """Seed of every random choice."""

    method: Method = "esol"
    """What makes the maps: esol, plain cam, or a compared method."""

    data: Data = field(default_factory=Data)
    """Photos, tags, masks."""

    input: Input = field(default_factory=Input)
    """From photo to network input."""

    backbone: BackboneSettings = field(default_factory=BackboneSettings)
    """Feature extractor."""

    head: HeadSettings = field(default_factory=HeadSettings)
    """Classifier head."""

    classify: Classify = field(default_factory=Classify)
    """Stage 1, and the classifiers of the compared methods."""

    sccam: Sccam = field(default_factory=Sccam)
    """Method sccam."""

    drs: Drs = field(default_factory=Drs)
    """Method drs."""

    eps: Eps = field(default_factory=Eps)
    """Method eps."""

    expand: Expand = field(default_factory=Expand)
    """Stage 2."""

    shrink: Shrink = field(default_factory=Shrink)
    """Stage 3."""

    cams: Cams = field(default_factory=Cams)
    """Stage 4."""

    seeds: Seeds = field(default_factory=Seeds)
    """Stage 5."""

    refine: Refine = field(default_factory=Refine)
    """Stage 6."""

    masks: Masks = field(default_factory=Masks)
    """Stage 7."""

    segment: Segment = field(default_factory=Segment)
    """Stage 8."""

    machine: Machine = field(default_factory=Machine)
    """This computer."""

    def __post_init__(self) -> None:
        self.input.check("input")
        check(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")
        check(
            not (self.backbone.cache and self.input.resize != "squash"),
            "input.resize",
            self.input.resize,
            "squash while backbone.cache is on",
        )
        source = self.masks.source
        check(
            source == "seeds" or source in self.refine.methods,
            "masks.source",
            source,
            f"seeds, or one of refine.methods ({', '.join(self.refine.methods) or 'none'})",
        )

        kinds = ("auto", *self.map_kinds)
        check(
            self.seeds.kind in kinds,
            "seeds.kind",
            self.seeds.kind,
            f"{', '.join(kinds)} (method {self.method})",
        )
        check(
            self.method != "eps" or bool(self.masks.saliency),
            "masks.saliency",
            self.masks.saliency,
            "a folder of saliency maps, from which the method eps learns",
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
        return kinds[-1:] if self._is_control else kinds

    @property
    def learns(self) -> tuple[str, ...]:
        """The stages that train what makes the method's maps, in their order."""
        if not self._is_control:
            return LEARNS[self.method]
        return (*LEARNS["cam" if self.drs.maps == "cam" else "esol"], "peer")

    @property
    def _is_control(self) -> bool:
        """Whether the second network of drs learns another method's maps."""
        return self.method == "drs" and self.drs.maps != "drs"

    @property
    def seed_kind(self) -> MapKind:
        """Kind of maps that becomes seeds."""
        return self.map_kinds[-1] if self.seeds.kind == "auto" else self.seeds.kind

    def resolved(self) -> "Settings":
        """The same with what "auto" stands for, as far as that is known before a run."""
        return replace(
            self,
            seeds=replace(self.seeds, kind=self.seed_kind),
            segment=replace(self.segment, stride=self.segment.encoder_stride),
        )

    def group(self, name: str) -> Any:
        """One group as plain values."""
        value = getattr(self, name)
        return value if isinstance(value, int | str) else asdict(value)
