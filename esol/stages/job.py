"""Job: what every stage is given."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from esol.data import Dataset, Sample
from esol.data.images import image_size
from esol.data.saliency import find_saliency, load_saliency, saliency_folder
from esol.networks.weights import weights_digest
from esol.runs.folder import Part, Stage, finished, output_of, work_on
from esol.settings import Settings
from esol.settings.load import dump_settings
from esol.system.files import sha256
from esol.training.steps import METRICS, read_steps


@dataclass(frozen=True)
class Job:
    """What every stage is given.

    Attributes:
        settings: all settings.
        data: the opened data set.
        run: run folder.
        overwrite: replace stages that were made with other settings.
    """

    settings: Settings
    data: Dataset
    run: Path
    overwrite: bool = False

    @property
    def classes(self) -> int:
        """K."""
        return len(self.data.classes)

    def lists(self) -> tuple[str, ...]:
        """Photo lists that get maps and seeds."""
        data = self.settings.data
        return self.settings.cams.lists or tuple(dict.fromkeys((data.train, *data.evaluate)))

    def saliency(self, sample: Sample) -> Path:
        """File of a photo's saliency map.

        Raises:
            InputError: there is no such folder, no such file, or several.
        """
        return find_saliency(self._saliency_folder, sample.name)

    @cached_property
    def _saliency_folder(self) -> Path:
        return saliency_folder(self.data.root, self.settings.masks.saliency)

    @cached_property
    def saliency_digest(self) -> str:
        """That of the saliency maps of all lists; each is read once per job."""
        return self.digest_saliency(*self.lists())

    def digest_saliency(self, *lists: str) -> str:
        """SHA-256 over the saliency maps of some lists, "none" without.

        As long as there are no masks, each map is looked at on the way.

        Raises:
            InputError: one is missing, unreadable or of another shape than its photo.
        """
        if not self.settings.masks.saliency:
            return "none"
        digest, look = hashlib.sha256(), not finished(self.run, "masks")
        for sample in self.data.samples(*lists):
            path = self.saliency(sample)
            if look:
                load_saliency(path, image_size(sample.image))
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def cache_key(self, *, plain: bool) -> str | None:
        """Of which weights cached features are: "" for the initial ones; None: no cache.

        Args:
            plain: they are of the plain classifier's backbone, which no longer learns.
        """
        backbone = self.settings.backbone
        if not backbone.cache or not (plain or backbone.frozen):
            return None
        return "" if backbone.frozen else str(output_of(self.run, "classify")["sha256"])

    def contents(self, stage: str, files: Iterable[Path]) -> str:
        """SHA-256 over some files of an earlier stage, in this order.

        Raises:
            InputError: the stage is not finished, or a file is missing.
        """
        output_of(self.run, stage)
        digest = hashlib.sha256()
        for path in files:
            digest.update(bytes.fromhex(sha256(path)))
        return digest.hexdigest()

    def enter(
        self,
        stage: str,
        *groups: str,
        after: tuple[str, ...],
        lists: tuple[str, ...],
        reads: Mapping[str, Any] | None = None,
        grows: bool = False,
        parts: Sequence[Part] = (),
    ) -> AbstractContextManager[Stage | None]:
        """The stage's folder, with its identity: all that is read."""
        identity: dict[str, Any] = {group: self.settings.group(group) for group in groups}
        identity |= reads or {}
        if "backbone" in identity:
            identity["backbone"]["weights"] = weights_digest(self.settings.backbone.weights)
        if "segment" in identity:
            weights = self.settings.segment.weights
            identity["segment"]["weights"] = weights_digest(weights, "segment.weights")
        identity["after"] = {earlier: output_of(self.run, earlier) for earlier in after}
        identity["data"] = self.data.fingerprint(*lists)
        return work_on(
            self.run,
            stage,
            identity,
            overwrite=self.overwrite,
            settings=dump_settings(self.settings),
            grows=grows,
            parts=parts,
        )


def learned(folder: Path) -> dict[str, float]:
    """What ``esol.training.fit.fit`` returned, from its metrics.jsonl: now, or earlier."""
    path = folder / METRICS
    steps = read_steps(path) if path.exists() else []
    last = steps[-1] if steps else {}
    return {
        "steps" if name == "step" else name: value for name, value in last.items() if name != "rate"
    }
