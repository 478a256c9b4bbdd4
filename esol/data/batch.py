"""Batch of training inputs; how many photos are held at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

T = TypeVar("T")

TOGETHER = 100_000_000
"""Pixels that the photos of one batch hold at most, unless it is a single photo: 400 MB."""


def together(members: Iterable[tuple[T, int]], most: int) -> Iterator[list[T]]:
    """Groups of at most ``most`` photos and ``TOGETHER`` pixels, of photos with their pixels."""
    group: list[T] = []
    total = 0
    for photo, pixels in members:
        if group and (len(group) == most or total + pixels > TOGETHER):
            yield group
            group, total = [], 0
        group.append(photo)
        total += pixels
    if group:
        yield group


class Batch(NamedTuple):
    """Training batch.

    Attributes:
        inputs: (N, 3, H, W) normalised images, or (N, C, h, w) features if ``cached``.
        tags: (N, K) float, 1 where the photo has the tag.
        names: the photos' names, for error messages.
        cached: whether ``inputs`` are the frozen backbone's features.
        masks: (N, H, W) int64 labels of the inputs' pixels, 0 background, 255 ignored; None where
            the stage learns from tags.
        targets: (N, P, h', w') float planes in 0 .. 1 over the inputs, at any resolution; 0 outside
            the photo. None where the stage needs none.
    """

    inputs: Tensor
    tags: Tensor
    names: tuple[str, ...]
    cached: bool
    masks: Tensor | None = None
    targets: Tensor | None = None

    def labels(self, output: Tensor) -> Tensor:
        """(N, h, w) labels at an output's resolution: of the pixels at its cells' centres."""
        if self.masks is None:
            raise ValueError("a batch without masks")
        size = output.shape[-2:]
        if self.masks.shape[-2:] == size:
            return self.masks
        # interpolate does not take int64; floats hold 0 .. 255 exactly.
        small = F.interpolate(self.masks[:, None].float(), size, mode="nearest-exact")
        return small[:, 0].long()


@dataclass(frozen=True)
class Term:
    """Term of a :class:`Mean`: factor * total / count (at least 1), as ``dtype``."""

    factor: float
    total: Tensor
    count: Tensor
    dtype: torch.dtype


@dataclass(frozen=True)
class Mean:
    """Mean over a whole batch, of which this process has a part; or a weighted sum of such means.

    ``terms`` are of this process's part; the mean is over totals and counts of all processes.
    """

    terms: tuple[Term, ...]

    @classmethod
    def of(cls, total: Tensor, count: Tensor, dtype: torch.dtype | None = None) -> Self:
        """Mean with this sum and this count in this process."""
        return cls((Term(1.0, total, count, dtype or total.dtype),))

    @classmethod
    def weighted(cls, *losses: "tuple[float, Tensor | Mean]") -> Self:
        """Sum of factor * loss; a tensor is already a mean over equal parts of the batch."""
        terms: list[Term] = []
        for factor, loss in losses:
            mean = loss if isinstance(loss, Mean) else Mean.of(loss, torch.ones_like(loss))
            terms += [replace(term, factor=factor * term.factor) for term in mean.terms]
        return cls(tuple(terms))

    def detach(self) -> "Mean":
        """The same without gradients."""
        return Mean(tuple(replace(term, total=term.total.detach()) for term in self.terms))

    def value(self, divisors: Sequence[Tensor] | None = None) -> Tensor:
        """Scalar; ``divisors``, one a term, default to this process's own counts."""
        if divisors is None:
            divisors = [term.count.clamp_min(1) for term in self.terms]
        first, *others = (
            term.factor * (term.total / divisor).to(term.dtype)
            for term, divisor in zip(self.terms, divisors, strict=True)
        )
        return sum(others, start=first)


Losses = dict[str, Tensor | Mean]
"""Name -> scalar or Mean; "loss" is minimised."""
