"""Fully connected CRF with Gaussian edges: mean field on permutohedral lattices.

The model is that of Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with
Gaussian Edge Potentials", 2011: every pixel is joined to every other one, by a Gaussian of the
distance in place and by one of the distance in place and colour. Sums over all pixels are taken on
the permutohedral lattice (:mod:`esol.ops.lattice`): pixels are splatted on the corners of their
simplex, the corners are blurred along each axis, and the result is sliced at the pixels. All three
are sums of gathered rows, for which ``embedding_bag`` is PyTorch's fastest operator.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from esol.ops.lattice import Codes, elevate, features

BLOCK: Final = 1 << 18  # pixels built at a time: bounds the memory, leaves usual photos whole
TILE: Final = 1 << 17  # values updated at a time: what fits a processor's cache
SAFE: Final = 80.0  # sums of exponentials up to this exponent do not overflow
_bag = functools.partial(F.embedding_bag, mode="sum")


@torch.no_grad()
def dense_crf(
    unary: Tensor,
    image: Tensor,
    *,
    spatial: tuple[float, float],
    bilateral: tuple[float, float, float],
    iterations: int = 10,
) -> Tensor:
    """Mean field marginals of the dense CRF with Potts compatibility.

    Computes what pydensecrf does by default; memory is linear in pixels times labels. Several
    unaries of one photo share its lattice: each gets what it would get alone, in less time, and
    their labels add up.

    Args:
        unary: (L, H, W) or (S, L, H, W) float32, negative log-probabilities in nats.
        image: (H, W, 3) uint8, RGB, on the same device.
        spatial: standard deviation in pixels and weight of the Gaussian of place.
        bilateral: standard deviations in pixels and in 8-bit colour levels, and weight, of the
            Gaussian of place and colour.
        iterations: mean field updates; 0 gives the softmax of ``-unary``.

    Returns:
        float32 of the shape of ``unary``, sums to 1 over L.

    Raises:
        ValueError: shapes or types do not fit, or a size is not positive.
    """
    _check(unary, image, (spatial[0], *bilateral[:2]), iterations)
    shape, (height, width) = unary.shape, unary.shape[-2:]
    unary = unary.reshape(-1, shape[-3], height * width).float()
    state = torch.softmax(-unary, dim=1).permute(2, 0, 1).contiguous()
    if iterations:
        blocks = _pieces(slice(0, height * width), BLOCK)
        # All photos of one size share the filter of place: cached, unless it is large.
        place_filter = _cached_place_filter if len(blocks) == 1 else _place_filter
        filters = [place_filter(height, width, *spatial, image.device)]
        sizes = [bilateral[0]] * 2 + [bilateral[1]] * 3
        filters.append(_Filter(image, sizes, bilateral[2], blocks))
        _mean_field(unary, state, filters, iterations)
    return state.permute(1, 2, 0).reshape(shape)


def photo_crf(unary: Tensor, photo: Image.Image, kernels: Mapping[str, Any]) -> Tensor:
    """:func:`dense_crf` on an RGB photo of W x H pixels; ``kernels``: its keyword arguments."""
    return dense_crf(unary, torch.from_numpy(np.array(photo)).to(unary.device), **kernels)


def unary_from_probabilities(probabilities: Tensor, floor: float = 1e-5) -> Tensor:
    """(L, H, W) probabilities -> -log of the greater of them and ``floor``, float32, in nats.

    Raises:
        ValueError: not three dimensions, or a floor outside (0, 1).
    """
    if probabilities.ndim != 3 or not 0 < floor < 1:
        shape = tuple(probabilities.shape)
        raise ValueError(f"need (L, H, W) probabilities and 0 < floor < 1, not {shape}, {floor}")
    return -probabilities.float().clamp(floor, 1).log()


def unary_from_labels(labels: Tensor, count: int, confidence: float) -> Tensor:
    """(.., H, W) integers in 0..count-1 -> (.., L, H, W) float32 energies in nats, L = count > 1.

    ``confidence`` is the probability of the pixel's label, in (0, 1). Equals
    ``pydensecrf.utils.unary_from_labels`` with ``zero_unsure=False``.

    Raises:
        ValueError: no integers, a label outside 0..count-1, or a value out of range.
    """
    if labels.ndim < 2 or labels.is_floating_point() or count < 2 or not 0 < confidence < 1:
        call = f"{labels.dtype} {tuple(labels.shape)}, count {count}, confidence {confidence}"
        raise ValueError(
            f"need (.., H, W) integer labels, count > 1, 0 < confidence < 1, not {call}"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise ValueError(f"labels outside 0..{count - 1}")
    one_hot = labels.unsqueeze(-3) == torch.arange(count, device=labels.device).view(-1, 1, 1)
    other = -math.log((1 - confidence) / (count - 1))
    return torch.where(one_hot, -math.log(confidence), other).float()


def _check(unary: Tensor, image: Tensor, sizes: Sequence[float], iterations: int) -> None:
    shape = tuple(unary.shape)
    if unary.ndim not in (3, 4) or not unary.is_floating_point() or 0 in shape:
        raise ValueError(
            f"unary must be (L, H, W) or (S, L, H, W) floats, not {unary.dtype} {shape}"
        )
    if image.dtype != torch.uint8 or image.shape != (*shape[-2:], 3):
        raise ValueError(f"image must be uint8 (H, W, 3), not {image.dtype} {tuple(image.shape)}")
    if min(sizes) <= 0 or iterations < 0:
        raise ValueError(f"sizes {tuple(sizes)} must be positive, iterations {iterations} >= 0")


def _pieces(whole: slice, size: int) -> list[slice]:
    return [slice(i, min(i + size, whole.stop)) for i in range(whole.start, whole.stop, size)]


def _mean_field(unary: Tensor, state: Tensor, filters: list["_Filter"], iterations: int) -> None:
    """Update the (N, S, L) state in place; unary is (S, L, N). Empties ``filters``, to free them.

    Under Potts a label costs the messages of the other labels: the pixel's sum minus its own one.
    softmax ignores that sum, which leaves softmax(own message - unary).
    """
    pixels, sets, labels = state.shape
    tile, ones = max(1, TILE // (sets * labels)), unary.new_ones(labels, 1)
    least = unary.amin(1).t().unsqueeze(2)
    highest, safe = 0.0, False
    for first in [True] + [False] * (iterations - 1):
        rows = [kernel.gather(state.view(pixels, -1)) for kernel in filters]
        for i, block in enumerate(filters[0].pixels):
            for part in _pieces(block, tile):
                both = filters[0].scatter(rows[0], i, part)
                both += filters[1].scatter(rows[1], i, part)
                message = both.view(-1, sets, labels)
                if first:
                    highest = max(highest, float((message @ ones).amax()))
                message += least[part]
                message -= unary[:, :, part].permute(2, 0, 1)
                if not safe:
                    message -= message.amax(2, keepdim=True)
                message.exp_()
                torch.div(message, message @ ones, out=state[part])
        # Messages are not negative, and those of a pixel have the same sum in every iteration. As
        # the smallest unary is 0 here, a pixel's largest exponent lies between 0 and that sum.
        safe = highest < SAFE
    filters.clear()


def _place_filter(
    height: int, width: int, size: float, weight: float, device: torch.device
) -> "_Filter":
    blank = torch.empty(height, width, 3, dtype=torch.uint8, device=device)
    return _Filter(blank, [size] * 2, weight, _pieces(slice(0, height * width), BLOCK))


_cached_place_filter = functools.lru_cache(maxsize=4)(_place_filter)
"""At most 20 MB each."""


@dataclass
class _Block:
    """The part of a lattice's sparse matrices that belongs to one block of pixels.

    Attributes:
        vertices: (m,) rows of the lattice that the block's pixels touch.
        bounds: (m + 1,) int32 start of each row's part of ``order``, and the end.
        order: (n * (d + 1),) int32 flat indices into the two below, by row.
        corners: (n, d + 1) int32 rows around each pixel.
        weights: (n, d + 1) float32 coefficients of the corners.
        cache: result of ``entries``, where there is memory for it.
    """

    vertices: Tensor
    bounds: Tensor
    order: Tensor
    corners: Tensor
    weights: Tensor
    cache: tuple[Tensor, Tensor] | None = None

    def entries(self) -> tuple[Tensor, Tensor]:
        """Pixels and coefficients, by row."""
        pixels = self.order.div(self.weights.shape[1], rounding_mode="floor")
        return pixels, self.weights.view(-1).index_select(0, self.order)

    def splat(self, values: Tensor) -> Tensor:
        """(m + 1, L) sums of (n, L) values, the last row 0."""
        pixels, weights = self.cache or self.entries()
        return _bag(pixels, values, self.bounds, per_sample_weights=weights)


class _Filter:
    """A normalised Gaussian filter of one photo."""

    def __init__(
        self, image: Tensor, sizes: list[float], weight: float, pixels: list[slice]
    ) -> None:
        self.pixels, self.weight = pixels, 1.0

        def elevated() -> Iterator[Tensor]:
            return (elevate(features(image, sizes, block)) for block in pixels)

        # Needed twice; those of a large photo are computed twice, to save memory.
        whole = list(elevated()) if len(pixels) == 1 else None
        codes = Codes.of(sizes, image.shape, whole or elevated())
        self.blocks = [_block(*codes.simplices(block)) for block in whole or elevated()]
        largest = max(len(block.corners) for block in self.blocks)
        axes = len(sizes) + 1
        self._every = torch.arange(0, largest * axes, axes, dtype=torch.int32, device=image.device)
        vertices = self._merge()
        self.count, self.neighbours = len(vertices), codes.neighbours(vertices)
        # Starts of the pairs of neighbours: embedding_bag would compute them in every call.
        ends = 2 * self.count + 2
        self._pairs = torch.arange(0, ends, 2, dtype=torch.int32, device=image.device)
        self._normalise()
        self.weight = weight

    def gather(self, values: Tensor) -> Tensor:
        """Splat (N, L) values and blur them: (M + 1, L), the last row 0."""
        if len(self.blocks) == 1:
            rows = self.blocks[0].splat(values)
        else:
            rows = values.new_zeros(self.count + 1, values.shape[1])
            for block, pixels in zip(self.blocks, self.pixels, strict=True):
                rows.index_add_(0, block.vertices, block.splat(values[pixels])[:-1])
        for neighbours in self.neighbours:
            # Twice the taps 1/2, 1, 1/2: the normalisation cancels the factor.
            rows = _bag(neighbours, rows, self._pairs).add_(rows, alpha=2)
        return rows.mul_(self.weight)

    def scatter(self, rows: Tensor, block: int, part: slice) -> Tensor:
        """Slice: the filtered values (n, L) of some pixels of one block."""
        begin = self.pixels[block].start
        part = slice(part.start - begin, part.stop - begin)
        corners, weights = self.blocks[block].corners[part], self.blocks[block].weights[part]
        bounds = self._every[: len(corners)]
        return _bag(corners.view(-1), rows, bounds, per_sample_weights=weights.view(-1))

    def _merge(self) -> Tensor:
        """Give the vertices of all blocks common numbers; returns their codes, in order."""
        if len(self.blocks) == 1:
            return self.blocks[0].vertices
        codes = torch.cat([block.vertices for block in self.blocks]).sort().values
        codes = codes[codes.diff(prepend=codes[:1] - 1) != 0]
        for block in self.blocks:
            block.vertices = torch.searchsorted(codes, block.vertices)
            corners = block.vertices.int().index_select(0, block.corners.view(-1))
            block.corners = corners.view_as(block.corners)
        return codes

    def _normalise(self) -> None:
        """Fold 1 / sqrt(K 1) into the coefficients, which both sides of the filter multiply."""
        rows = self.gather(self.blocks[0].weights.new_ones(self.pixels[-1].stop, 1))
        for i, block in enumerate(self.blocks):
            block.weights *= self.scatter(rows, i, self.pixels[i]).add_(1e-20).rsqrt_()
        if len(self.blocks) == 1:
            self.blocks[0].cache = self.blocks[0].entries()


def _block(codes: Tensor, weights: Tensor) -> _Block:
    """The sparse matrices of (n, d + 1) vertex codes and weights, corners numbered in the block."""
    ordered, order = codes.view(-1).sort()
    first = ordered.diff(prepend=ordered[:1] - 1) != 0
    bounds = first.nonzero().view(-1)
    number = first.cumsum(0, dtype=torch.int32).sub_(1)
    corners = torch.empty_like(number).scatter_(0, order, number)
    return _Block(
        vertices=ordered.gather(0, bounds),
        bounds=torch.cat([bounds, bounds.new_tensor([len(ordered)])]).int(),
        order=order.int(),
        corners=corners.view(codes.shape),
        weights=weights,
    )
