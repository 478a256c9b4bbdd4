"""Every knob of the program: one frozen dataclass per group. Imports no torch.

A value is found in this order: the defaults here, then a YAML file, then the command line.
Defaults are the paper's setting (Expansion and Shrinkage of Localization, NeurIPS 2022) where the
paper states one; docs/method.md lists which values are the paper's and which are ours.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from esol.settings.checks import check
from esol.settings.inputs import Backbone, Data, Fit, Input, Machine
from esol.settings.localize import (
    MAP_KINDS,
    Cams,
    Classify,
    Expand,
    Head,
    MapKind,
    Sampler,
    Seeds,
    Shrink,
)
from esol.settings.masks import Affinity, Crf, Masks, Refine, RefineMethod, Segment, Walk

__all__ = [
    "MAP_KINDS",
    "Affinity",
    "Backbone",
    "Cams",
    "Classify",
    "Crf",
    "Data",
    "Expand",
    "Fit",
    "Head",
    "Input",
    "Machine",
    "MapKind",
    "Masks",
    "Refine",
    "RefineMethod",
    "Sampler",
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

    data: Data = field(default_factory=Data)
    """Photos, tags, masks."""

    input: Input = field(default_factory=Input)
    """From photo to network input."""

    backbone: Backbone = field(default_factory=Backbone)
    """Feature extractor."""

    head: Head = field(default_factory=Head)
    """Classifier head."""

    classify: Classify = field(default_factory=Classify)
    """Stage 1."""

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

    def group(self, name: str) -> Any:
        """One group as plain values, for identities and manifests."""
        value = getattr(self, name)
        return value if isinstance(value, int) else asdict(value)
