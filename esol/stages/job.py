"""Job: the argument of every stage."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from esol.data import Dataset, Sample
from esol.data.images import image_size
from esol.data.saliency import find_saliency, load_saliency, saliency_folder
from esol.networks.identity import network_identity
from esol.runs.earlier import earlier_run
from esol.runs.folder import RunFolder
from esol.runs.manifest import UNSAID
from esol.runs.plan import PENDING, Plan
from esol.runs.stages import STAGES
from esol.runs.work import OpenStage, Part, work_on
from esol.settings import Input, Settings
from esol.settings.load import dump_settings
from esol.system.distributed import device_of
from esol.system.files import sha256_once
from esol.system.precision import resolved

INIT = "classify.init"
"""Key among the results of classify of the earlier run's folder."""


class Reads(NamedTuple):
    """What a stage reads besides the settings that :data:`STAGES` names."""

    after: tuple[str, ...] = ()
    """Earlier stages whose outputs it reads."""

    lists: tuple[str, ...] = ()
    """Photo lists."""

    more: Mapping[str, Any] = {}
    """Whatever else, by a name for messages."""

    parts: Sequence[Part] = ()
    """Of its outputs; see :func:`esol.runs.work.work_on`."""


def computes(identity: Mapping[str, Any]) -> bool:
    """Whether the stage of an identity computes with a network, in some precision."""
    return "backbone" in identity or "segment" in identity


@dataclass(frozen=True)
class Job:
    """Settings, data and run folder of a command.

    Attributes:
        settings: all settings.
        data: the opened data set.
        run: the run's folder.
        overwrite: replace stages of other settings.
        plan: if given, stages are looked at for it, and none is entered.
        truths: list -> digest of its ground truth, as far as it was asked for.
    """

    settings: Settings
    data: Dataset
    run: RunFolder
    overwrite: bool = False
    plan: Plan | None = None
    truths: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.data.classes)

    def lists(self) -> tuple[str, ...]:
        """Photo lists that get maps and seeds."""
        data = self.settings.data
        return self.settings.cams.lists or tuple(dict.fromkeys((data.train, *data.evaluate)))

    def samples(self) -> tuple[Sample, ...]:
        """Photos of these lists."""
        return self.data.samples(*self.lists())

    def training_samples(self) -> tuple[Sample, ...]:
        """Photos of the training list."""
        return self.data.samples(self.settings.data.train)

    def longest_side(
        self, inputs: Input, samples: Iterable[Sample], limit: int = 0
    ) -> dict[str, int]:
        """For the identity: to which longest side, pixels, a network is shown reduced photos.

        Empty where all are shown at their own size, so that results from before photos were
        reduced stay valid.

        Args:
            inputs: what the network learned from.
            samples: the photos.
            limit: longest side to which they are reduced first; 0: none.
        """
        if inputs.resize == "squash":
            return {}
        sides = (max(image_size(sample.image)) for sample in samples)
        limited = (min(side, limit) if limit else side for side in sides)
        shown = next((inputs.shown(side) for side in limited if inputs.shown(side) < side), 0)
        return {"longest side": shown} if shown else {}

    def saliency(self, sample: Sample) -> Path:
        """File of a photo's saliency map.

        Raises:
            InputError: there is no such folder, no such file, or several.
        """
        return find_saliency(self._saliency_folder, sample.name)

    @cached_property
    def _saliency_folder(self) -> Path:
        return saliency_folder(self.data.root, self.settings.masks.saliency)

    def check_saliency(self, *lists: str) -> None:
        """Read the saliency maps of some lists; photos of background need none.

        Raises:
            InputError: one is missing, unreadable or of another shape than its photo.
        """
        for sample in self._with_saliency(lists):
            load_saliency(self.saliency(sample), image_size(sample.image))

    def saliency_digest(self, *lists: str) -> str:
        """SHA-256 over the saliency maps of some lists, "none" without.

        Raises:
            InputError: one is missing.
        """
        if not self.settings.masks.saliency:
            return "none"
        digest = hashlib.sha256()
        for sample in self._with_saliency(lists):
            digest.update(self.saliency(sample).read_bytes())
        return digest.hexdigest()

    def _with_saliency(self, lists: Iterable[str]) -> Iterator[Sample]:
        """Photos of some lists whose saliency maps are read: what is salient may be of a class."""
        return (sample for sample in self.data.samples(*lists) if sample.tags)

    def cache_key(self, *, of_classifier: bool) -> str | None:
        """Name of the backbone's weights in the feature cache.

        Args:
            of_classifier: the backbone is that of the trained classifier, which no longer learns.

        Returns:
            Digest of the weights, "" for the initial ones; None: features are not cached.
        """
        backbone = self.settings.backbone
        if not backbone.cache or not (of_classifier or backbone.frozen):
            return None
        return "" if backbone.frozen else str(self.run.outputs_of("classify")["sha256"])

    def contents(self, stage: str, files: Iterable[Path]) -> str:
        """SHA-256 over some files of an earlier stage, in this order; PENDING before it is made.

        Raises:
            InputError: the stage is not finished, or a file is missing.
        """
        if self._outputs_of(stage) == PENDING:
            return PENDING
        digest = hashlib.sha256()
        for path in files:
            digest.update(bytes.fromhex(sha256_once(path)))
        return digest.hexdigest()

    def truth_fingerprint(self, split: str) -> str:
        """SHA-256 over the ground truth of a list, read once by this command."""
        if split not in self.truths:
            self.truths[split] = self.data.truth_fingerprint(split)
        return self.truths[split]

    def _outputs_of(self, stage: str) -> Any:
        """What an identity says of an earlier stage."""
        if self.plan is not None and stage in self.plan.to_do:
            return PENDING
        return self.run.outputs_of(stage)

    @cached_property
    def init(self) -> dict[str, Any]:
        """What identities have in the group classify of an earlier run; empty without one.

        Raises:
            InputError: there is no such run, and no classifier here that started from it.
        """
        path = self.settings.classify.init
        if not path:
            return {}
        if not Path(path).exists() and self.run.is_finished("classify"):
            # A finished stage needs it no more.
            match self.run.manifest("classify"):
                case {"identity": {"classify": {"init": earlier}}, "results": {**results}} if (
                    results.get(INIT) == str(Path(path).resolve())
                ):
                    return {"init": earlier}
        return {"init": earlier_run(path).identity}

    @cached_property
    def _machine(self) -> dict[str, Any]:
        """The group of settings machine as identities have it."""
        machine = self.settings.machine
        if machine.precision != "auto":
            return {"precision": machine.precision}
        # Of a new run alone, as PyTorch has to be imported to know it.
        return {"precision": resolved("auto", device_of(machine.device))}

    def enter(
        self,
        stage: str,
        reads: Reads,
    ) -> AbstractContextManager[OpenStage | None]:
        """Open a stage's folder; see :func:`esol.runs.work.work_on`.

        The groups of settings that it reads, as :data:`STAGES` says, enter its identity.

        Args:
            stage: its name.
            reads: what it reads.
        """
        settings = self.settings.resolved()
        groups = (key for key in STAGES[stage].reads(self.settings) if "." not in key)
        identity: dict[str, Any] = {group: settings.group(group) for group in groups}
        for group in ("backbone", "segment"):
            if group in identity:
                identity[group] = network_identity(
                    getattr(settings, group), group, settings.input.one_side
                )
        if "classify" in identity:
            identity["classify"] |= self.init
        if computes(identity) and (machine := self._machine) != UNSAID["machine"]:
            identity["machine"] = machine
        identity |= reads.more
        identity["after"] = {earlier: self._outputs_of(earlier) for earlier in reads.after}
        identity["data"] = self.data.fingerprint(*reads.lists)
        if self.plan is not None:
            self.plan.look(stage, identity, reads.parts)
            return nullcontext()
        return work_on(
            self.run,
            stage,
            identity,
            overwrite=self.overwrite,
            settings=dump_settings(self.settings),
            parts=reads.parts,
        )
