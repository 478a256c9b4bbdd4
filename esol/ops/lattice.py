"""Vertices of the permutohedral lattice around points, as integers that sort and look up fast.

Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", 2010.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

NARROW: Final = 1 << 30  # codes below are 32-bit integers: faster to sort and to find


def features(image: Tensor, sizes: Sequence[float], block: slice) -> Tensor:
    """(d, n) x, y and, with five sizes, r, g, b of a block's pixels, in standard deviations."""
    width = image.shape[1]
    index = torch.arange(block.start, block.stop, device=image.device)
    features = torch.empty(len(sizes), len(index), device=image.device)
    features[0] = index % width
    features[1] = index.div(width, rounding_mode="floor")
    if len(sizes) > 2:
        features[2:] = image.reshape(-1, 3)[block].t()
    return features.div_(torch.tensor(sizes, device=image.device).unsqueeze(1))


def elevate(features: Tensor) -> Tensor:
    """(d, n) features on the lattice's plane: (d + 1, n), summing to 0 (Adams et al., p. 5)."""
    d, n = features.shape
    # Rounded as pydensecrf does: on a border between simplices the last digit decides.
    deviation = float(torch.tensor(math.sqrt(2 / 3) * (d + 1)))
    elevated = features.new_empty(d + 1, n)
    later = features.new_zeros(n)
    for j in range(d, 0, -1):
        scaled = features[j - 1] * (deviation / math.sqrt(j * (j + 1)))
        torch.sub(later, scaled * j, out=elevated[j])
        later = later + scaled
    elevated[0] = later
    return elevated


@dataclass
class Codes:
    """One integer per vertex of the lattice.

    Axis j of the lattice is the step that adds d to coordinate j and takes 1 from the others. The
    d + 1 axes sum to 0, so all but the axis ``omitted`` reach every vertex. The steps along them,
    counted from ``lowest``, are the digits of its code: a step along an axis adds the axis's stride
    to any code, a step along the omitted one subtracts all the others.
    """

    strides: Tensor
    lowest: Tensor
    omitted: int

    @classmethod
    def of(
        cls, sizes: Sequence[float], photo: Sequence[int], elevated: Iterable[Tensor]
    ) -> "Codes":
        """Codes wide enough for all pixels of a photo (height, width, ...), elevated in blocks."""
        axes = len(sizes) + 1
        height, width, *_ = photo
        extent = torch.tensor([width, height, 255.0, 255, 255])[: len(sizes)] / torch.tensor(sizes)
        # Steps along axis i with axis j omitted: (coordinate i - coordinate j) / (d + 1).
        reach = elevate(extent.diag())
        spread = (reach.unsqueeze(1) - reach).abs().sum(2).fill_diagonal_(1)
        omitted = int(spread.prod(0).argmin())
        bounds = []
        for block in elevated:
            rounded = (block * (1 / axes)).round_()
            bounds.append(torch.stack((rounded - rounded[omitted]).aminmax(dim=1)))
        # A difference of roundings is off by up to 2, corners reach 1 further, neighbours 1 more.
        lowest = torch.stack(bounds)[:, 0].amin(0) - 4
        spans = (torch.stack(bounds)[:, 1].amax(0) + 5 - lowest).tolist()
        strides, stride = [0] * axes, 1
        for axis, span in enumerate(spans):
            if axis != omitted:
                strides[axis] = stride
                stride *= int(span)
        strides[omitted] = -sum(strides)
        if stride >= 1 << 61:
            raise ValueError(f"sizes {tuple(sizes)} are too small for a photo of this size")
        lowest = lowest.to(torch.int32 if stride < NARROW else torch.int64)
        return cls(lowest.new_tensor(strides), lowest, omitted)

    def simplices(self, elevated: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and barycentric weights of the corners around each point: two (n, d + 1).

        ``elevated`` (d + 1, n) serves as workspace.
        """
        axes, n = elevated.shape
        quotient = (elevated * (1 / axes)).round_()
        rank = _rank(elevated - quotient * axes)
        # The rounded point may lie off the plane; the coordinates furthest off step back onto it.
        rank += quotient.sum(0).to(torch.int8)
        step = (rank < 0).to(torch.int8) - (rank >= axes).to(torch.int8)
        rank += step * axes
        quotient += step
        place = (axes - 1 - rank).long()

        rest = elevated.sub_(quotient, alpha=axes).mul_(1 / axes)
        ordered = torch.empty_like(rest).scatter_(0, place, rest)
        weights = elevated.new_empty(n, axes)  # differences of consecutive ordered coordinates
        torch.sub(ordered[0], ordered[-1], out=weights[:, 0]).add_(1)
        torch.sub(ordered[1:], ordered[:-1], out=weights.t()[1:])
        # Each corner is one step back along one axis from the corner before it.
        axis = self.strides.unsqueeze(1)
        steps = axis.new_empty(axes, n).scatter_(0, place, axis.expand(-1, n))
        codes = axis.new_empty(n, axes)
        digits = (quotient - quotient[self.omitted]).to(axis.dtype) - self.lowest.unsqueeze(1)
        digits[self.omitted] = 0
        torch.sum(digits.mul_(axis), 0, out=codes[:, 0])
        for corner in range(1, axes):
            torch.sub(codes[:, corner - 1], steps[corner - 1], out=codes[:, corner])
        return codes, weights

    def neighbours(self, codes: Tensor) -> list[Tensor]:
        """For each axis, the vertices after and before each: (2 M + 2,) int32, M where none is."""
        count = len(codes)
        numbers = torch.arange(count, dtype=torch.int32, device=codes.device)
        find = _Finder(codes)
        tables = []
        for stride in self.strides.tolist():
            table = numbers.new_full((2, count + 1), count)
            table[0, :count] = find(codes + stride)
            # The one relation inverted: v is before w where w is after v.
            table[1].scatter_(0, table[0, :count].long(), numbers)[count] = count
            tables.append(table.t().flatten())
        return tables


def _rank(values: Tensor) -> Tensor:
    """(axes, n) int8: how many values are larger, earlier ones first among equals."""
    rank = torch.zeros(values.shape, dtype=torch.int8, device=values.device)
    for i in range(len(values) - 1):
        smaller = values[i] < values[i + 1 :]
        rank[i] += smaller.sum(0, dtype=torch.int8)
        rank[i + 1 :] += ~smaller
    return rank


class _Finder:
    """Positions of codes in an ordered list, by one look-up in a hash table.

    Runs of codes get runs of slots, so that ordered look-ups stay in the cache. Of several codes
    with one slot one gets it; the others are searched by bisection.
    """

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes
        self.bits = max(16, (4 * len(codes)).bit_length())
        numbers = torch.arange(len(codes), dtype=torch.int32, device=codes.device)
        slots = self._slots(codes).long()
        self.table = numbers.new_zeros(1 << self.bits).scatter_(0, slots, numbers)
        self.lost = (self.table.gather(0, slots) != numbers).nonzero().view(-1)
        self.lost_codes = codes[self.lost]
        self.contested = torch.zeros_like(self.table, dtype=torch.bool)
        self.contested.index_fill_(0, slots[self.lost], True)

    def __call__(self, codes: Tensor) -> Tensor:
        """(K,) int32 positions; the length of the list for codes that are not in it."""
        slots = self._slots(codes)
        positions = self.table.index_select(0, slots)
        missing = self.codes.index_select(0, positions) != codes
        positions.masked_fill_(missing, len(self.codes))
        if len(self.lost):
            doubtful = (missing & self.contested.index_select(0, slots)).nonzero().view(-1)
            rest = codes[doubtful]
            at = torch.searchsorted(self.lost_codes, rest).clamp_(max=len(self.lost) - 1)
            hit = self.lost_codes[at] == rest
            positions[doubtful[hit]] = self.lost[at[hit]].int()
        return positions

    def _slots(self, codes: Tensor) -> Tensor:
        return (codes + (codes >> self.bits) * 40503) & ((1 << self.bits) - 1)
