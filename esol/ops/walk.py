"""Affinities between near cells from an edge map, and the random walk along them, without a matrix.

Ahn et al., Weakly supervised learning of instance segmentation with inter-pixel relations (IRN),
CVPR 2019. IRN squares a dense (cells x cells) transition matrix; here a step of the walk adds up
shifted differences of a flat array, and a Chebyshev sum replaces most steps. Memory grows with the
number of cells.

Flat arrays: rows are padded to the right and photos below by ``radius - 1`` cells, so that a move
by (dy, dx) is a shift by ``dy * width + dx``, which lands in padding where it would leave the map.
"""

import math
from collections.abc import Iterator
from functools import lru_cache, reduce

import torch
from torch import Tensor
from torch.nn import functional as F

SERIAL = 32_767
"""Elements per operation that PyTorch still computes in the calling thread. Many short operations
in a row wait for their threads longer than they compute, far longer where cores are shared."""

_LEAST = 1e-20
"""Affinities below this are 0: they change nothing in any usual number of steps, and their products
with small differences fall below 1e-38, where a processor is many times slower."""

_TAIL = 1e-7
"""Sum of the Chebyshev coefficients that are left out, of a total of 1."""


@lru_cache
def half_plane(radius: int) -> tuple[tuple[int, int], ...]:
    """Offsets (dy, dx) to the partners of a cell, one of each opposite pair, in row-major order.

    dy > 0, or dy == 0 and dx > 0; dy^2 + dx^2 < radius^2. Radius 5 gives 34, radius 10 gives 152.
    """
    side = range(1 - radius, radius)
    return tuple(
        (y, x) for y in range(radius) for x in side if (y, x) > (0, 0) and y * y + x * x < radius**2
    )


def path_cells(dy: int, dx: int) -> frozenset[tuple[int, int]]:
    """Cells (y, x) of the path from (0, 0) to (dy, dx), ends included.

    IRN's definition: the cells of the bounding box of both ends whose centre is less than 1 from
    the straight line between them.
    """
    return frozenset(
        (y, x)
        for y in range(min(dy, 0), max(dy, 0) + 1)
        for x in range(min(dx, 0), max(dx, 0) + 1)
        if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
    )


@lru_cache
def _covers(radius: int) -> dict[int, tuple[tuple[int, int, int], ...]]:
    """Cover every path by few shorter ones, which may overlap: a maximum may count a cell twice.

    Greedy, in order of length: 1.9 parts a path at radius 5 instead of 7.1 cells, 2.1 instead of
    14.0 at radius 10.

    Returns:
        Place of each offset in ``half_plane`` -> parts (place, dy, dx) of its path: the path of an
        earlier offset moved by (dy, dx), or, with place -1, the cell (dy, dx).
    """
    offsets = half_plane(radius)
    paths = [path_cells(*offset) for offset in offsets]
    covers: dict[int, tuple[tuple[int, int, int], ...]] = {}
    for place in sorted(range(len(offsets)), key=lambda i: (len(paths[i]), offsets[i])):
        path = paths[place]
        candidates = {(-1, y, x): frozenset([(y, x)]) for y, x in sorted(path)}
        for earlier in covers:
            dy, dx = offsets[earlier]
            for y, x in sorted(path):
                if (y + dy, x + dx) in path:
                    moved = frozenset((y + b, x + a) for b, a in paths[earlier])
                    if moved <= path:
                        candidates[earlier, y, x] = moved
        parts, rest = [], path
        while rest:
            best = max(candidates, key=lambda part: len(candidates[part] & rest))
            parts.append(best)
            rest = rest - candidates[best]
        covers[place] = tuple(parts)
    return covers


def lay_flat(maps: Tensor, radius: int, value: float) -> Tensor:
    """(N, h, w) maps -> flat array with ``value`` in the padding, for ``path_maxima``.

    Cell (n, y, x) is at ``(n * (h + reach) + y) * (w + reach) + x + reach``, reach = radius - 1.
    """
    reach = radius - 1
    rows = F.pad(maps, (0, reach, 0, reach), value=value)
    return F.pad(rows.flatten(), (reach, reach * (rows.shape[-1] + 1)), value=value)


def path_maxima(flat: Tensor, width: int, radius: int) -> Iterator[tuple[int, Tensor]]:
    """Maximum over the path from every cell to its partner, offset by offset.

    ``flat`` is a result of ``lay_flat`` of any ordered type, ``width`` = w + reach, the cells of a
    padded row.

    Yields:
        The offset's place in ``half_plane`` and its (N * (h + reach) * width,) maxima, in order of
        path length.
    """
    reach = radius - 1
    length = flat.numel() - reach - reach * (width + 1)
    offsets = half_plane(radius)
    # A path with dx < 0 reaches back by -dx cells, so its maxima start that far into ``flat``.
    back = [max(0, -dx) for _, dx in offsets]
    maxima: dict[int, Tensor] = {}
    for place, parts in _covers(radius).items():
        dy, dx = offsets[place]
        size = flat.numel() - back[place] - dy * width - max(dx, 0)
        views = []
        for part, y, x in parts:
            source, start = (flat, 0) if part < 0 else (maxima[part], back[part])
            views.append(source.narrow(0, back[place] + y * width + x - start, size))
        maxima[place] = reduce(torch.maximum, views)
        yield place, maxima[place].narrow(0, reach - back[place], length)


def affinities(edge: Tensor, radius: int) -> Tensor:
    """1 - the highest edge on the path from every cell to its partners; differentiable.

    (N, h, w) edges in 0 .. 1 -> (N, P, h, w) in 0 .. 1, for the P offsets of ``half_plane``; 0 for
    partners off the map.
    """
    n, h, w = edge.shape
    reach = radius - 1
    maxima = dict(path_maxima(lay_flat(edge, radius, 1.0), w + reach, radius))
    if not maxima:
        return edge.new_zeros(n, 0, h, w)
    stacked = torch.stack([maxima[place] for place in range(len(maxima))])
    return 1 - stacked.view(-1, n, h + reach, w + reach)[:, :, :h, :w].transpose(0, 1)


@torch.no_grad()
def random_walk(
    scores: Tensor, edge: Tensor, *, radius: int = 5, beta: float = 10.0, steps: int = 256
) -> Tensor:
    """Spread scores along affinities: each step replaces a cell by the mean of those near it.

    A = affinity^beta, 0 below 1e-20, 1 on the diagonal, and T = A with columns that sum to 1; the
    result is ``(scores * (1 - edge)) @ T^steps``, IRN's propagation with ``steps`` a power of two.
    With D the column sums, D^1/2 T D^-1/2 is symmetric with eigenvalues in -1 .. 1, where x^steps
    is a Chebyshev sum whose terms past about 5.3 * sqrt(steps) do not matter: 84 products, not 256.

    Args:
        scores: (K, h, w) of any range, float32 or float64.
        edge: (h, w) in 0 .. 1, of the same type.
        radius: cells nearer than this are connected.
        beta: exponent, more than 0; higher makes weak edges matter more.
        steps: of the walk, 0 or more.

    Returns:
        (K, h, w), not rescaled; equal to the dense product within 1e-5 of its maximum.

    Raises:
        ValueError: the shapes do not fit.

    Examples:
        One score in a row of six cells, with an edge in the fourth, which it does not cross:

        >>> scores = torch.tensor([[[1.0, 0, 0, 0, 0, 0]]])
        >>> edge = torch.tensor([[0.0, 0, 0, 1, 0, 0]])
        >>> [round(score, 2) for score in random_walk(scores, edge)[0, 0].tolist()]
        [0.33, 0.33, 0.33, 0.0, 0.0, 0.0]
    """
    k, h, w = scores.shape
    if edge.shape != (h, w):
        raise ValueError(f"scores {tuple(scores.shape)} need an edge of shape {(h, w)}")
    start = scores * (1 - edge)
    if steps == 0 or start.numel() == 0:
        return start
    rows, width = h + radius - 1, w + radius - 1
    offsets = half_plane(radius)
    planes = []
    for place, highest in path_maxima(lay_flat(edge[None], radius, 1.0), width, radius):
        affinity = F.threshold((1 - highest).pow_(beta), _LEAST, 0, inplace=True)
        planes.append((offsets[place][0] * width + offsets[place][1], affinity))
    far = max((shift for shift, _ in planes), default=0)
    field = start.new_zeros(k, rows * width + far)
    field[:, : rows * width].view(k, rows, width)[:, :h, :w] = start
    total = _chebyshev_power(field, planes, steps)
    return total[:, : rows * width].view(k, rows, width)[:, :h, :w].contiguous()


def _chebyshev_power(field: Tensor, planes: list[tuple[int, Tensor]], steps: int) -> Tensor:
    """T^steps on each row, by differences: T_k+1 - T_k = T_k - T_k-1 + 2 (T - 1) T_k.

    (T - 1) T_k is what a cell gains from its neighbours, the sum of affinity times difference, over
    its column sum. The plain recurrence, T_k+1 = 2 T T_k - T_k-1, would round this to the precision
    of the cell's value; the slowest exchanges decide the result, and the error grows with the
    square of the number of terms.

    ``field``, (K, length + far) scores, 0 in the padding, is overwritten. A plane is a shift, at
    most ``far``, and the (length,) affinities to the cells so far ahead. ``steps`` is 1 or more.
    """
    k, size = field.shape
    strip = max(1, SERIAL // k) if field.device.type == "cpu" else size
    column = field.new_ones(size)
    for shift, plane in planes:
        column[: len(plane)] += plane
        column[shift : shift + len(plane)] += plane
    coefficients, twice = _coefficients(steps), 2 / column
    change, gain = torch.zeros_like(field), torch.empty_like(field)
    total = coefficients[0] * field
    for degree, coefficient in enumerate(coefficients[1:], start=1):
        _gain(gain, field, planes, strip)
        weight = 0.5 if degree == 1 else 1.0  # T_1 - T_0 = (T - 1) T_0
        for begin in range(0, size, strip):
            part = (slice(None), slice(begin, begin + strip))
            change[part].addcmul_(gain[part], twice[part[1]], value=weight)
            term = field[part].add_(change[part])
            if coefficient:
                total[part].add_(term, alpha=coefficient)
    return total


def _gain(gain: Tensor, field: Tensor, planes: list[tuple[int, Tensor]], strip: int) -> None:
    """Store in ``gain`` each cell's sum of affinity times difference over its neighbours."""
    size = field.shape[1]
    for begin in range(0, size, strip):
        gain[:, begin : begin + strip].zero_()
    length = len(planes[0][1]) if planes else 0
    flow = torch.empty_like(field[:, : min(strip, length)])
    for begin in range(0, length, strip):
        end = min(begin + strip, length)
        cells, gains, part = field[:, begin:end], gain[:, begin:end], flow[:, : end - begin]
        for shift, plane in planes:
            partners = slice(begin + shift, end + shift)
            torch.sub(field[:, partners], cells, out=part).mul_(plane[begin:end])
            gains.add_(part)
            gain[:, partners].sub_(part)


def _coefficients(steps: int) -> list[float]:
    """Coefficients of x^steps in Chebyshev polynomials T_0, T_1, ...; cut where ``_TAIL`` is left.

    With x = cos(a), T_k(x) = cos(k a), and cos(a)^n is a binomial sum of cosines: the coefficients
    are not negative and sum to 1. The last one takes the rest of the sum, so that constant scores
    do not change.
    """
    coefficients = [0.0] * (steps + 1)
    for degree in range(steps % 2, steps + 1, 2):
        ways = math.comb(steps, (steps - degree) // 2)
        coefficients[degree] = (ways if degree == 0 else 2 * ways) / 2**steps
    rest = 1.0
    for degree, value in enumerate(coefficients):
        rest -= value
        if rest < _TAIL:
            return [*coefficients[:degree], value + rest]
    return coefficients
