"""Random walk along affinities: IRN's dense squaring against ours.

    python benchmarks/walk.py

Minutes and 3 GB for the dense matrix of a 375 x 500 photo; ``--grid 48 64`` is a quarter of it.
Both are compared with 256 products of the matrix in double precision: squaring in single precision
is the less exact. Peak memory is that of ours, a 1024 x 1024 photo included.
"""

from functools import partial

import torch
from common import Report, Row, Taken, alternate, clock, middle, parser_of, within
from torch import Tensor
from torch.nn import functional as F

from esol.ops.walk import affinities, half_plane, random_walk

RADIUS, BETA, SQUARINGS = 5, 10.0, 8
TERMS = 84
"""Products of the Chebyshev sum for 256 steps."""

PHOTO, LARGE = (94, 125), (256, 256)
"""Grids of photos of 375 x 500 and 1024 x 1024 pixels."""

SLOW = 10
"""Seconds beyond which the dense matrix is squared once."""


def main() -> None:
    # Before there are threads, which inherit it. The dense matrix is full of numbers below 1e-38,
    # which a processor multiplies many times slower (a GPU does not): 0 here, for both sides.
    torch.set_flush_denormal(True)
    parser = parser_of(__doc__)
    parser.add_argument("--grid", type=int, nargs=2, default=PHOTO, metavar=("H", "W"))
    options = parser.parse_args()
    report = Report("walk", options)
    grid = (24, 32) if options.quick else tuple(options.grid)
    alone = [(grid, 1)] if options.quick else [(PHOTO, 1), (PHOTO, 3), (LARGE, 1), (LARGE, 3)]
    timed = [
        middle(partial(ours, *problem(*one, options.device)), options.repeats) for one in alone
    ]
    report.ours_ran()
    for (size, classes), taken in zip(alone, timed, strict=True):
        case = f"{size[0]} x {size[1]} cells, {classes} classes, ours alone"
        report.add(case, taken, None, flop=operations(size, classes), byte=moved(size, classes))
    report.finish(compare(report, grid, 3, options.repeats))


def compare(report: Report, size: tuple[int, int], classes: int, repeats: int) -> Row:
    scores, edge = problem(size, classes, report.device)
    row = (scores * (1 - edge)).flatten(1).double()
    matrix = transition(edge.double())
    for _ in range(2**SQUARINGS):
        row = row @ matrix
    del matrix
    found: list[Tensor] = []
    once = clock(lambda: found.append(dense(scores, edge)))
    found.append(ours(scores, edge))
    case = f"{size[0]} x {size[1]} cells, {classes} classes"
    errors = [float((one.flatten(1) - row).abs().max() / row.max()) for one in found]
    print(f"{case}: errors of dense squaring and ours {errors[0]:.0e}, {errors[1]:.0e}")
    within(max(errors), 1e-4, case)
    if once < SLOW:
        taken = alternate(lambda: dense(scores, edge), lambda: ours(scores, edge), repeats)
    else:
        own = middle(lambda: ours(scores, edge), repeats)
        taken = Taken(once, own, once / own)
    flop, byte = operations(size, classes), moved(size, classes)
    return report.add(case, taken, errors[1], flop=flop, byte=byte)


def operations(size: tuple[int, int], classes: int) -> float:
    """A term: for every pair of near cells and every class a difference, a product, two sums."""
    return TERMS * len(half_plane(RADIUS)) * size[0] * size[1] * classes * 4


def moved(size: tuple[int, int], classes: int) -> float:
    """Bytes of a term: the affinities, and five passes over a class's cells."""
    return TERMS * 4 * size[0] * size[1] * (len(half_plane(RADIUS)) + 5 * classes)


def problem(size: tuple[int, int], classes: int, device: str) -> tuple[Tensor, Tensor]:
    """Scores and an edge map with regions to spread in and lines to stop at."""
    torch.manual_seed(0)
    coarse = torch.rand(1, 1, size[0] // 6 + 1, size[1] // 6 + 1)
    field = F.interpolate(coarse, size, mode="bilinear")[0, 0]
    edge = torch.exp(-(((field - 0.5) / 0.05) ** 2))
    return torch.rand(classes, *size).to(device), edge.to(device)


def ours(scores: Tensor, edge: Tensor) -> Tensor:
    return random_walk(scores, edge, radius=RADIUS, beta=BETA, steps=2**SQUARINGS)


def dense(scores: Tensor, edge: Tensor) -> Tensor:
    """IRN's way: square the matrix eight times."""
    matrix = transition(edge)
    for _ in range(SQUARINGS):
        matrix = matrix @ matrix
    return ((scores * (1 - edge)).flatten(1) @ matrix).view_as(scores)


def transition(edge: Tensor) -> Tensor:
    """The cells x cells matrix, columns normalised."""
    h, w = edge.shape
    near = affinities(edge[None], RADIUS)[0].pow(BETA)
    matrix = torch.eye(h * w, dtype=edge.dtype, device=edge.device)
    cell = torch.arange(h * w, device=edge.device).view(h, w)
    for plane, (dy, dx) in zip(near, half_plane(RADIUS), strict=True):
        here = (slice(0, h - dy), slice(max(0, -dx), w - max(0, dx)))
        one = cell[here].flatten()
        matrix[one, one + dy * w + dx] = matrix[one + dy * w + dx, one] = plane[here].flatten()
    return matrix.div_(matrix.sum(dim=0, keepdim=True))


if __name__ == "__main__":
    main()
