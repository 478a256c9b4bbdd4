"""What else the samplers could do: layers that learn behind them, further reach, other starts.

    OMP_NUM_THREADS=1 python studies/samplers.py RUN OUT [--lists train] [--only NAME ..]

RUN has finished the stage classify, with cached features; its classifier gets Expansion and
Shrinkage anew, once for each variation of `VARIATIONS`, trained as the run's settings say but for
what is varied. The maps of each list are measured: precision, recall, F1 of the means and mIoU at
seeds.threshold, and the best mIoU of any threshold on the ground truth that it is measured on.
Writes OUT/samplers.csv after each variation and goes on where it stopped; prints Markdown.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affinity import as_stored
from rows import Rows
from torch import Tensor, nn
from torch.nn import functional as F

import esol
from esol.data.batch import Batch, Losses, Mean
from esol.maps.files import Maps
from esol.maps.localize import batches_of_one_size, localize
from esol.method.classifier import Classifier, Head
from esol.method.expansion import Expansion
from esol.method.losses import area_loss, classification_loss
from esol.method.sampling import OffsetBranch, keep_on_map
from esol.method.shrinkage import Shrinkage
from esol.metrics.curves import curves, summary
from esol.metrics.histogram import Histogram, thresholds
from esol.runs.folder import RunFolder
from esol.settings import Sampler
from esol.stages.fitting import trained_classifier, training_inputs
from esol.stages.job import Job
from esol.stages.photo_maps import feature_cache
from esol.training.fit import TrainingRun, fit

KINDS = ("expansion", "shrinkage")
COLUMNS = ("precision", "recall", "f1_of_means", "miou")
Branch = Callable[[int, int, Sampler, int], OffsetBranch]
"""Channels, taps, settings, steps of the training -> an offset branch."""


class TwoHops(OffsetBranch):
    """The second hop starts where the first one ends: o(p) + o(p + o(p)), for each tap."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 2 * taps, h, w) offsets in cells, (y, x) per tap."""
        first = super().forward(x)
        n, channels, h, w = first.shape
        moves = first.reshape(n * channels // 2, 2, h, w)
        y = torch.arange(h, dtype=x.dtype)[:, None] + moves[:, 0]
        x_ = torch.arange(w, dtype=x.dtype) + moves[:, 1]
        # grid_sample counts from -1, the centre of the first cell, to 1, that of the last.
        places = torch.stack([2 * x_ / max(w - 1, 1) - 1, 2 * y / max(h - 1, 1) - 1], dim=3)
        second = F.grid_sample(moves, places, padding_mode="border", align_corners=True)
        return keep_on_map(first + second.view(n, channels, h, w))


class Growing(OffsetBranch):
    """The bound grows from a quarter to the whole during training."""

    def __init__(self, channels: int, taps: int, settings: Sampler, steps: int) -> None:
        super().__init__(channels, taps, settings)
        self.whole, self.steps, self.done = settings, steps, 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 2 * taps, h, w) offsets in cells, (y, x) per tap."""
        share = min(1.0, 0.25 + 0.75 * self.done / self.steps) if self.training else 1.0
        self.settings = replace(self.whole, bound=share * self.whole.bound)
        self.done += self.training
        return super().forward(x)


class Wide(OffsetBranch):
    """Two layers, the second one dilated: an offset depends on 9 x 9 cells."""

    def __init__(self, channels: int, taps: int, settings: Sampler) -> None:
        super().__init__(channels, taps, settings)
        first = nn.Conv2d(channels, 64, 3, padding=1)
        last = nn.Conv2d(64, 2 * taps, 3, padding=3, dilation=3)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.predict = nn.Sequential(first, nn.ReLU(), last)  # type: ignore[assignment]


def plain(channels: int, taps: int, settings: Sampler, steps: int) -> OffsetBranch:
    """The branch of the method."""
    return OffsetBranch(channels, taps, settings)


def scattered(channels: int, taps: int, settings: Sampler, steps: int) -> OffsetBranch:
    """The branch of the method, from random weights: it begins with offsets of half a cell."""
    branch = OffsetBranch(channels, taps, settings)
    fan_in = branch.predict.weight[0].numel()
    nn.init.normal_(branch.predict.weight, std=0.5 / fan_in**0.5)
    return branch


@dataclass(frozen=True)
class Variation:
    """What differs from the run.

    Attributes:
        flags: settings.
        branch: of Expansion.
        opposed: layers behind Expansion that minimise the loss which its offsets maximise, of
            ("w2", "v"); their rate is `rate`, as a multiple of expand.fit.lr.
        behind: layers of Shrinkage that learn with its offsets, at `rate` times shrink.fit.lr.
        offsets: whether Shrinkage has a sampler.
    """

    flags: tuple[str, ...] = ()
    branch: Branch = plain
    opposed: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    rate: float = 0.0
    offsets: bool = True


_V, _BOTH = ("v",), ("w2", "v")
VARIATIONS = {
    "full chain": Variation(),
    "identity + Shrinkage": Variation(("expand.learn=nothing", "expand.clip=1")),
    "V against Expansion, rate 0.01": Variation(opposed=_V, rate=0.01),
    "V against Expansion, rate 0.1": Variation(opposed=_V, rate=0.1),
    "W2, V against Expansion, rate 0.01": Variation(opposed=_BOTH, rate=0.01),
    "W2, V against Expansion, rate 0.1": Variation(opposed=_BOTH, rate=0.1),
    "V with Shrinkage, rate 0.1": Variation(behind=_V, rate=0.1),
    "W2, V with Shrinkage, rate 0.1": Variation(behind=_BOTH, rate=0.1),
    "W2, V with Shrinkage, rate 0.01": Variation(behind=_BOTH, rate=0.01),
    "W2, V in the place of DT_s, rate 1": Variation(behind=_BOTH, rate=1.0, offsets=False),
    "W2, V in the place of DT_s, rate 1, no area": Variation(
        ("shrink.area=0",), behind=_BOTH, rate=1.0, offsets=False
    ),
    "two hops": Variation(branch=lambda c, t, s, _: TwoHops(c, t, s)),
    "bound 2, growing": Variation(("expand.sampler.bound=2",), Growing),
    "bound 4, growing": Variation(("expand.sampler.bound=4",), Growing),
    "branch of two layers, 9 x 9": Variation(branch=lambda c, t, s, _: Wide(c, t, s)),
    "scattered start": Variation(branch=scattered),
    "scattered start, bound 2": Variation(("expand.sampler.bound=2",), scattered),
}


class Varied(nn.Module):
    """The localizer, whose layers behind Expansion may be others than the classifier's."""

    def __init__(self, job: Job, classifier: Classifier, varied: Variation) -> None:
        super().__init__()
        settings, head = job.settings, classifier.head
        self.classifier = classifier.requires_grad_(False)
        self.expansion = Expansion(head.w1.weight, settings.expand)
        if self.expansion.sampler is not None:
            shape = head.w1.weight.shape
            arguments = (shape[1], shape[2] * shape[3], settings.expand.sampler)
            self.expansion.sampler = varied.branch(*arguments, settings.expand.fit.steps)
        self.behind = Head(head.w1.weight.shape[1], job.classes, settings.head)
        self.behind.load_state_dict(head.state_dict())
        self.behind.requires_grad_(False)
        self.opposed = varied.opposed
        self.shrinkage: Shrinkage | None = None

    @property
    def backbone(self) -> Any:
        """The classifier's."""
        return self.classifier.backbone

    def expanded(self, x1: Tensor, alpha: float) -> Tensor:
        """Maps of X1; the layers of `opposed` get -1 / alpha of the gradient."""
        w2, v = (
            against(getattr(self.behind, name).weight, 1 / alpha)
            if name in self.opposed
            else getattr(self.behind, name).weight
            for name in _BOTH
        )
        return F.conv2d(F.relu(F.conv2d(x1, w2, padding=w2.shape[-1] // 2)), v)

    @torch.no_grad()
    def maps(self, features: Tensor) -> Mapping[str, Tensor]:
        """(N, C, h, w) features -> the (N, K, h, w) maps by their kind, before ReLU."""
        assert self.shrinkage is not None
        x1 = self.expansion(features)
        return {"expansion": self.behind.after_w1(x1), "shrinkage": self.shrinkage(x1)}


def against(weight: Tensor, times: float) -> Tensor:
    """The weight itself, whose gradient is turned round and multiplied."""
    return weight.detach() * (1 + times) - times * weight


def expand_losses(model: Varied, batch: Batch, *, alpha: float) -> Losses:
    """As :func:`esol.method.losses.expand_losses`, with the layers that are opposed."""
    x1 = model.expansion(batch.inputs.float())
    scores = model.behind.scores(model.expanded(x1, alpha))
    return {"loss": -alpha * classification_loss(scores, batch.tags)}


def shrink_losses(model: Varied, batch: Batch, *, area: float) -> Losses:
    """As :func:`esol.method.losses.shrink_losses`."""
    assert model.shrinkage is not None
    with torch.no_grad():
        x1 = model.expansion(batch.inputs.float())
    maps = model.shrinkage(x1)
    classification = classification_loss(model.behind.scores(maps), batch.tags)
    return {"loss": Mean.weighted((1, classification), (area, area_loss(maps, batch.tags)))}


def trained(job: Job, varied: Variation, folder: Path) -> Varied:
    """Expansion and Shrinkage of a variation."""
    settings, seed = job.settings, job.settings.seed
    torch.manual_seed(seed)
    model = Varied(job, trained_classifier(job), varied)
    inputs = training_inputs(job, model.backbone, of_classifier=True)
    expand, shrink = settings.expand, settings.shrink
    if expand.learn != "nothing":
        learning = [getattr(model.behind, name).weight for name in varied.opposed]
        for weight in learning:
            weight.requires_grad_(True)
        groups = [(model.expansion.parameters(), 1.0), (learning, varied.rate)]
        losses = partial(expand_losses, alpha=expand.alpha)
        run = TrainingRun(folder / "expand", "expand", seed, settings.machine)
        fit(model, losses, inputs, groups[: 1 + bool(learning)], expand.fit, run)
    model.requires_grad_(False)
    head = model.behind
    changed = replace(shrink, learn="offsets" if varied.offsets else "nothing")
    model.shrinkage = Shrinkage(head.w2.weight, head.v.weight, changed)
    learning = [getattr(model.shrinkage, name).requires_grad_(True) for name in varied.behind]
    sampler = model.shrinkage.sampler
    groups = [(sampler.parameters(), 1.0)] if sampler is not None else []
    groups += [(learning, varied.rate)] if learning else []
    run = TrainingRun(folder / "shrink", "shrink", seed, settings.machine)
    fit(model, partial(shrink_losses, area=shrink.area), inputs, groups, shrink.fit, run)
    return model.eval()


def measured(job: Job, model: Varied, split: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Of every kind of maps of a list's labelled photos: percent by the names of columns."""
    assert job.data.truth is not None
    settings = job.settings
    samples = tuple(s for s in job.data.samples(split) if s.mask is not None and s.tags)
    cache = feature_cache(job, model.backbone, samples, of_classifier=True)
    at = settings.seeds.threshold
    counts = {kind: Histogram(job.classes, thresholds(at)) for kind in KINDS}
    for batch in batches_of_one_size(samples, same=True):
        for sample, size, maps in localize([model], batch, settings.cams, settings.input, cache):
            truth, tags = job.data.truth(sample), np.asarray(sample.tags, np.int64)
            for kind, histogram in counts.items():
                histogram.add(Maps(tags, as_stored(maps[kind]), size).full(), tags, truth)
    for kind, histogram in counts.items():
        found = summary(curves(histogram), job.data.classes, at)
        values = {key: found["fixed"][key] for key in COLUMNS}
        values["best"] = found["best_on_ground_truth"]["miou"]
        yield kind, {key: round(100 * float(value), 1) for key, value in values.items()}


def main() -> None:
    """Train and measure what is missing; print a table of everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--lists", nargs="+", default=["train"])
    parser.add_argument("--only", nargs="+", default=list(VARIATIONS), choices=VARIATIONS)
    given = parser.parse_args()
    rows = Rows(given.out / "samplers.csv")
    for name in given.only:
        if rows.have(given.run.name, name):
            continue
        varied, folder = VARIATIONS[name], RunFolder(given.run)
        flags = [f"--{flag}" for flag in varied.flags]
        settings = esol.load_settings(str(given.run / "settings.yaml"), *flags)
        job = Job(settings, esol.open_dataset(folder.data_root(), settings.data), folder)
        work = given.out / given.run.name / name.replace(" ", "-").replace(",", "")
        model = trained(job, varied, work)
        for split in given.lists:
            for kind, values in measured(job, model, split):
                key = {"run": given.run.name, "variation": name, "list": split, "maps": kind}
                rows.add({**key, **values})
        rows.save()


if __name__ == "__main__":
    main()
