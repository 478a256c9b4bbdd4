"""Random walk along affinities: IRN's dense squaring against ours.

python benchmarks/walk.py [--grid 48 64] [--classes 3] [--full]
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from esol.ops.walk import affinities, half_plane, random_walk

RADIUS, BETA, SQUARINGS = 5, 10.0, 8
GRIDS = [(94, 125), (256, 256)]
"""Photos of 375 x 500 and 1024 x 1024 pixels; timed for ours alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=int, nargs=2, default=(48, 64), metavar=("H", "W"))
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="compare at 94 x 125: minutes, 3 GB")
    options = parser.parse_args()
    grid = GRIDS[0] if options.full else tuple(options.grid)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{options.classes} classes, radius {RADIUS}, {2**SQUARINGS} steps")
    print("| grid | dense squaring | its error | ours | our error | ratio |")
    print("|---|---|---|---|---|---|")
    for size in GRIDS:
        if size != grid:
            taken = clocked(ours, *problem(size, options.classes), options.repeats)[0]
            print(f"| {size[0]} x {size[1]} | | | {taken:.3f} s | | |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # before the dense matrices
    ratio, error = compare(grid, options.classes, options.repeats)
    print(json.dumps({"name": "walk", "ratio": ratio, "max_error": error, "peak_mb": peak}))


def problem(size: tuple[int, int], classes: int) -> tuple[Tensor, Tensor]:
    """Scores and an edge map with regions to spread in and lines to stop at."""
    torch.manual_seed(0)
    coarse = torch.rand(1, 1, size[0] // 6 + 1, size[1] // 6 + 1)
    field = F.interpolate(coarse, size, mode="bilinear")[0, 0]
    return torch.rand(classes, *size), torch.exp(-(((field - 0.5) / 0.05) ** 2))


def compare(size: tuple[int, int], classes: int, repeats: int) -> tuple[float, float]:
    """Time both on one problem, the slow one once if it is slow, and compare their results to 256
    products with the matrix in double precision: squaring in single precision is the less exact.
    """
    scores, edge = problem(size, classes)
    their_time, theirs = clocked(dense, scores, edge, 1)
    if their_time < 10:
        their_time = clocked(dense, scores, edge, repeats)[0]
    our_time, result = clocked(ours, scores, edge, repeats)
    row = (scores * (1 - edge)).flatten(1).double()
    matrix = transition(edge.double())
    for _ in range(2**SQUARINGS):
        row = row @ matrix
    their_error, error = (
        float((found.flatten(1) - row).abs().max() / row.max()) for found in (theirs, result)
    )
    assert max(error, their_error) < 1e-4, f"results differ by {error} and {their_error}"
    ratio = their_time / our_time
    print(
        f"| {size[0]} x {size[1]} | {their_time:.2f} s | {their_error:.0e} | {our_time:.3f} s |"
        f" {error:.0e} | {ratio:.0f} |"
    )
    return round(ratio, 1), error


def clocked(
    function: Callable[[Tensor, Tensor], Tensor], scores: Tensor, edge: Tensor, repeats: int
) -> tuple[float, Tensor]:
    """Median seconds, and the result."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = function(scores, edge)
        times.append(time.perf_counter() - begun)
    return statistics.median(times), result


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
    matrix = torch.eye(h * w, dtype=edge.dtype)
    cell = torch.arange(h * w).view(h, w)
    for plane, (dy, dx) in zip(near, half_plane(RADIUS), strict=True):
        here = (slice(0, h - dy), slice(max(0, -dx), w - max(0, dx)))
        one = cell[here].flatten()
        matrix[one, one + dy * w + dx] = matrix[one + dy * w + dx, one] = plane[here].flatten()
    return matrix.div_(matrix.sum(dim=0, keepdim=True))


if __name__ == "__main__":
    main()
