"""The published choice of a checkpoint on the ground truth (quirks.checkpoint)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from esol.data.sample import Sample
from esol.maps.files import Maps
from esol.maps.localize import Network
from esol.metrics.curves import curves
from esol.metrics.histogram import Histogram
from esol.networks.weights import load_weights, save_weights
from esol.runs.outputs import CHECKPOINT
from esol.stages.job import Job
from esol.stages.photo_maps import map_samples
from esol.system.distributed import barrier, main_process
from esol.system.files import make_folder, read_json, write_json
from esol.system.progress import log


@dataclass(frozen=True)
class BestOnTruth:
    """Keeps the weights of the epoch whose maps have the best mIoU on the training list's masks.

    DRS's published code does so: a label leak, as the masks are what the method does without.

    Attributes:
        job: settings and data; the training list has masks.
        network: the one being trained; a module.
        kind: of its maps.
        folder: the stage's, where the best weights wait until :meth:`restore`.
    """

    job: Job
    network: Network
    kind: str
    folder: Path

    def look(self, step: int) -> None:
        """Measure the network as it is after a step, and keep it if none was better."""
        found = self._miou()
        if main_process():
            self._keep(found, step)
        barrier()

    def _keep(self, found: float, step: int) -> None:
        path = self._kept / "score.json"
        before = read_json(path)["miou"] if path.exists() else -1.0
        log.info("%s: mIoU %.4f on the ground truth after step %d", self.kind, found, step)
        if found > before:
            make_folder(self._kept)
            save_weights(self._module, self._kept / "weights.safetensors")
            write_json(path, {"miou": found, "step": step})

    def restore(self) -> dict[str, float]:
        """Load the best weights; returns their step and mIoU."""
        load_weights(self._module, self._kept / "weights.safetensors")
        score = read_json(self._kept / "score.json")
        return {"checkpoint_step": score["step"], "checkpoint_miou": score["miou"]}

    def _miou(self) -> float:
        truth = self.job.data.truth
        assert truth is not None
        histogram = Histogram(self.job.classes)
        for sample, size, maps in map_samples(self.job, [self.network], self._samples):
            tags = np.asarray(sample.tags, np.int64)
            histogram.add(Maps(tags, maps[self.kind], size).full(), tags, truth(sample))
        found = curves(histogram)
        return float(found.seeds.miou[found.best()])

    @cached_property
    def _samples(self) -> tuple[Sample, ...]:
        samples = self.job.data.samples(self.job.settings.data.train)
        return tuple(sample for sample in samples if sample.mask is not None)

    @property
    def _kept(self) -> Path:
        # Named like a checkpoint: no output of the stage, and forgotten with the others.
        return self.folder / f"best-{CHECKPOINT}{self.kind}"

    @property
    def _module(self) -> nn.Module:
        assert isinstance(self.network, nn.Module)
        return self.network
