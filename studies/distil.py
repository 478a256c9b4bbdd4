"""What the head of refine's distil may learn from, and with which loss.

    OMP_NUM_THREADS=1 python studies/distil.py RUN OUT [--lists train] [--only NAME ..]

RUN has finished the stage refine with distil, with a head that reads the classifier's cached
features. A head is trained for each variation of `VARIATIONS` by the run's settings. The maps that
it learns, its own, and their geometric means are measured on each list: mIoU in percent at the
threshold that the mean score gives without ground truth, as the stage masks chooses it, and at the
best one of the ground truth it is measured on; after a CRF at the first, on some photos.
Writes OUT/distil.csv after each variation and goes on where it stopped; prints Markdown.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from affinity import Row, after_crf, as_stored, best, maps_of, opened
from numpy.typing import NDArray
from rows import Rows
from torch import Tensor
from torch.nn import functional as F

from esol.data.batch import Batch, Losses, Mean
from esol.data.sample import IGNORE, Sample
from esol.data.selection import evenly_spaced
from esol.maps.files import Maps, load_maps
from esol.maps.localize import Reader, SizedSample
from esol.masks.background import Background
from esol.masks.threshold import choose_threshold
from esol.networks.segmenter import Segmenter
from esol.settings import HEAD
from esol.stages.distil import CutMaps, head_maps
from esol.stages.fitting import trained_backbone, training_inputs
from esol.stages.job import Job
from esol.stages.masks import estimated_background
from esol.stages.photo_maps import feature_cache
from esol.stages.reads import of_classifier
from esol.stages.segment import weights_of_labels
from esol.training.fit import TrainingRun, fit
from esol.training.inputs import MaskFolder

Loss = Callable[[Tensor, Tensor], Tensor]
"""(N, L, h, w) log probabilities and targets, which add up to 1 -> (N, h, w) losses."""


def cross_entropy(log_p: Tensor, target: Tensor) -> Tensor:
    """As in the product where the targets are 0 and 1."""
    return -(target * log_p).sum(1)


def collision(log_p: Tensor, target: Tensor) -> Tensor:
    """Minus the logarithm of the probability that label and answer are the same when drawn: it
    lets go of a place whose label is uncertain.
    """
    return -(target * log_p.exp()).sum(1).clamp_min(1e-6).log()


def symmetric(log_p: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy both ways; the logarithm of a target of 0 is -4, as in its paper."""
    return cross_entropy(log_p, target) - (log_p.exp() * target.log().clamp_min(-4)).sum(1)


def generalised(log_p: Tensor, target: Tensor) -> Tensor:
    """(1 - p^q) / q with its paper's q = 0.7: between cross-entropy and the absolute error."""
    return (1 - (target * log_p.exp()).sum(1).clamp_min(1e-6) ** 0.7) / 0.7


@dataclass(frozen=True)
class Variation:
    """What the head learns.

    Attributes:
        loss: of every cell.
        labels: the maps that the run's distil learned, cut ("maps"), those that it made, cut
            ("distil"), or the run's pseudo masks ("masks").
        power: of maps and threshold, whose shares in their sum are soft targets; 0: labels of 0
            and 1.
        margin: cells whose best map is nearer than this to the threshold are not learned from.
        balance: whether labels of rare classes have more weight.
    """

    loss: Loss = cross_entropy
    labels: str = "maps"
    power: float = 0.0
    margin: float = 0.0
    balance: bool = True


VARIATIONS = {
    "cross-entropy": Variation(),
    "soft, power 1": Variation(power=1),
    "soft, power 4": Variation(power=4),
    "collision, power 1": Variation(collision, power=1),
    "collision, power 4": Variation(collision, power=4),
    "symmetric": Variation(symmetric),
    "generalised": Variation(generalised),
    "margin 0.1": Variation(margin=0.1),
    "not balanced": Variation(balance=False),
    "learned again": Variation(labels="distil"),
    "pseudo masks": Variation(labels="masks"),
}


@dataclass(frozen=True)
class Planes:
    """Maps of a photo's tagged classes as planes."""

    folder: Path

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """(K', h, w), 0 .. 255."""
        return np.rint(load_maps(self.folder / f"{sample.name}.npz").maps * 255).astype(np.uint8)


def losses(
    model: Segmenter, batch: Batch, *, varied: Variation, threshold: float, weights: Tensor
) -> Losses:
    """Mean over cells, each weighted by its targets' weights."""
    (logits,) = model.all_logits(batch)
    log_p, labels = F.log_softmax(logits, 1), batch.labels(logits)
    known = labels != IGNORE
    target = F.one_hot(labels.where(known, 0), logits.shape[1]).permute(0, 3, 1, 2).float()
    if varied.power or varied.margin:
        assert batch.targets is not None
        maps = F.interpolate(batch.targets, logits.shape[-2:], mode="nearest-exact")
        if varied.power:
            scores = torch.cat([torch.full_like(maps[:, :1], threshold), maps], 1) ** varied.power
            target = scores / scores.sum(1, keepdim=True)
        known = known & ((maps.amax(1) - threshold).abs() >= varied.margin)
    weight = (target * weights[:, None, None]).sum(1) * known
    return {"loss": Mean.of((weight * varied.loss(log_p, target)).sum(), weight.sum())}


def trained(job: Job, varied: Variation, background: Background, folder: Path) -> Segmenter:
    """The head of a variation; ``background`` of the training list."""
    settings, photos = job.settings, job.training_samples()
    backbone = trained_backbone(job, fold=False)
    torch.manual_seed(settings.seed)
    head = Segmenter(replace(settings.segment, network=HEAD), job.classes + 1, backbone)
    kind = "distil" if varied.labels == "distil" else settings.distilled_kind
    maps, threshold = job.run.maps(kind), choose_threshold(maps_of(job, photos, kind), background)
    masks = (
        MaskFolder(job.run.masks("masks")) if varied.labels == "masks" else CutMaps(maps, threshold)
    )
    weights = torch.ones(job.classes + 1)
    if varied.balance:
        weights = weights_of_labels(job, photos, masks)
    inputs = training_inputs(
        *(job, head.body.encoder, masks, Planes(maps)),
        by_tag=True,
        of_classifier=of_classifier(job),
    )
    fit(
        head,
        partial(losses, varied=varied, threshold=threshold, weights=weights),
        inputs,
        [(head.head_parameters(), 1.0)],
        settings.refine.distil.fit,
        TrainingRun(folder, "distil", settings.seed, settings.machine),
    )
    return head.eval()


def rows_of(job: Job, head: Segmenter, samples: tuple[Sample, ...]) -> tuple[Row, Row]:
    """The head's maps, and their geometric means with those that it learned."""
    settings = job.settings
    cache = feature_cache(job, head.body.encoder, samples, of_classifier=of_classifier(job))
    own: list[Maps] = []
    both: list[Maps] = []
    for sample, maps in zip(samples, maps_of(job, samples, settings.distilled_kind), strict=True):
        reader = Reader([SizedSample(sample, maps.size)], settings.input, cache)
        found = head_maps(head, reader, maps, flip=settings.cams.flip)
        own.append(replace(maps, maps=as_stored(found)))
        both.append(replace(maps, maps=as_stored(np.sqrt(found * maps.maps))))
    return Row("head", own, ""), Row("both", both, "")


def main() -> None:
    """Train and measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--lists", nargs="+", default=["train"])
    parser.add_argument("--only", nargs="+", default=list(VARIATIONS), choices=VARIATIONS)
    parser.add_argument("--crf", type=int, default=100, help="photos of a list for a CRF; 0: none")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="other settings")
    given = parser.parse_args()
    job = opened(given.run, given.set)
    rows = Rows(given.out / "distil.csv")
    lists = {
        split: tuple(s for s in job.data.samples(split) if s.mask is not None and s.tags)
        for split in given.lists
    }
    # What a CRF on 200 photos says, once for all variations.
    learned = estimated_background(job, job.training_samples(), "background")
    backgrounds = {
        s: estimated_background(job, photos, "background") for s, photos in lists.items()
    }
    for name in ("before", *given.only):
        if rows.have(given.run.name, name):
            continue
        folder = given.out / given.run.name / name.replace(" ", "-").replace(",", "")
        head = trained(job, VARIATIONS[name], learned, folder) if name in VARIATIONS else None
        for split, samples in lists.items():
            before = Row("learned", maps_of(job, samples, job.settings.distilled_kind), "")
            for row in (before,) if head is None else rows_of(job, head, samples):
                at = choose_threshold(row.maps, backgrounds[split])
                top, miou = best(job, samples, row)
                found = {
                    **{"run": given.run.name, "variation": name, "list": split, "maps": row.name},
                    **{"mean score": f"{at:.2f}: {miou(at):.1f}"},
                    **{"best": f"{top:.2f}: {miou(top):.1f}", "crf": ""},
                }
                if given.crf:
                    some = evenly_spaced(samples, given.crf)
                    of_photo = dict(zip(samples, row.maps, strict=True))
                    part = Row(row.name, [of_photo[sample] for sample in some], "")
                    (value,), _ = after_crf(job, some, part, (at,))
                    found["crf"] = f"{value:.1f}"
                rows.add(found)
        rows.save()


if __name__ == "__main__":
    main()
