"""Job: what every stage is given."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.config import dump_settings
from esol.data import Dataset
from esol.features import weights_digest
from esol.runfolder import Stage, output_of, work_on
from esol.settings import Settings


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

    def enter(
        self,
        stage: str,
        *groups: str,
        after: tuple[str, ...],
        lists: tuple[str, ...],
        reads: Mapping[str, Any] | None = None,
        grows: bool = False,
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
        )
