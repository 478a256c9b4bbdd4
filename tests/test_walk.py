"""Paths, affinities and the random walk against enumeration and dense matrices."""

import math
from functools import lru_cache

import pytest
import torch

from esol.ops.walk import affinities, half_plane, path_cells, random_walk

GRIDS = [(7, 9), (1, 1), (1, 6), (5, 1), (3, 4), (12, 8)]


def edges(h: int, w: int, n: int | None = None, seed: int = 0) -> torch.Tensor:
    """Edge maps with values over all of 0 .. 1, mostly low, so that walks go somewhere."""
    generator = torch.Generator().manual_seed(seed)
    shape = (h, w) if n is None else (n, h, w)
    return torch.rand(shape, generator=generator, dtype=torch.float64) ** 6


@lru_cache
def between(dy: int, dx: int) -> list[tuple[int, int]]:
    """Cells nearer than 1 to the segment from (0, 0) to (dy, dx), inside its bounding box."""
    cells = []
    for y in range(-12, 13):
        for x in range(-12, 13):
            across = abs(dy * x - dx * y) / math.hypot(dy, dx)
            boxed = min(0, dy) <= y <= max(0, dy) and min(0, dx) <= x <= max(0, dx)
            if boxed and across < 1 - 1e-12:
                cells.append((y, x))
    return cells


def brute_affinity(edge: list[list[float]], y: int, x: int, dy: int, dx: int) -> float:
    h, w = len(edge), len(edge[0])
    if not (0 <= y + dy < h and 0 <= x + dx < w):
        return 0.0
    return 1 - max(edge[y + b][x + a] for b, a in between(dy, dx))


def dense_walk(scores, edge, radius: int, beta: float, steps: int) -> torch.Tensor:
    """The definition: the matrix, its columns normalised, its power, the product."""
    k, h, w = scores.shape
    matrix = torch.eye(h * w, dtype=torch.float64)
    values = edge.tolist()
    for y in range(h):
        for x in range(w):
            for dy, dx in half_plane(radius):
                value = brute_affinity(values, y, x, dy, dx) ** beta
                if value:
                    one, two = y * w + x, (y + dy) * w + x + dx
                    matrix[one, two] = matrix[two, one] = value
    transition = torch.linalg.matrix_power(matrix / matrix.sum(dim=0, keepdim=True), steps)
    return ((scores * (1 - edge)).view(k, -1) @ transition).view(k, h, w)


@pytest.mark.parametrize(("radius", "count"), [(1, 0), (2, 4), (5, 34), (10, 152)])
def test_half_plane(radius, count):
    offsets = half_plane(radius)
    assert len(set(offsets)) == len(offsets) == count
    assert all(dy * dy + dx * dx < radius**2 for dy, dx in offsets)
    assert not {(-dy, -dx) for dy, dx in offsets} & {*offsets, (0, 0)}


def test_segments_are_the_near_cells():
    for offset in half_plane(10):
        assert sorted(path_cells(*offset)) == sorted(between(*offset))


@pytest.mark.parametrize("radius", [2, 5])
@pytest.mark.parametrize(("h", "w"), GRIDS)
def test_affinities_by_enumeration(h, w, radius):
    edge = edges(h, w, n=2)
    ours = affinities(edge, radius)
    assert ours.shape == (2, len(half_plane(radius)), h, w)
    for photo in range(2):
        for place, (dy, dx) in enumerate(half_plane(radius)):
            for y in range(h):
                for x in range(w):
                    expected = brute_affinity(edge[photo].tolist(), y, x, dy, dx)
                    assert float(ours[photo, place, y, x]) == pytest.approx(expected, abs=1e-12)


def test_affinities_of_long_paths():
    edge = edges(14, 21)
    ours = affinities(edge[None], 10)[0]
    for place, (dy, dx) in enumerate(half_plane(10)):
        for y, x in ((0, 0), (2, 11), (13, 20), (4, 9)):
            expected = brute_affinity(edge.tolist(), y, x, dy, dx)
            assert float(ours[place, y, x]) == pytest.approx(expected, abs=1e-12)


def test_affinities_have_the_numerical_gradient():
    edge = edges(3, 4, n=2).requires_grad_()
    torch.autograd.gradcheck(lambda e: affinities(e, 3), (edge,))


@pytest.mark.parametrize(("h", "w"), GRIDS)
@pytest.mark.parametrize("steps", [0, 1, 2, 7, 256])
def test_walk_is_the_matrix_power(h, w, steps):
    edge = edges(h, w, seed=h)
    scores = torch.rand(3, h, w, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = dense_walk(scores, edge, 5, 10.0, steps)
    for kind in (torch.float64, torch.float32):
        ours = random_walk(scores.to(kind), edge.to(kind), steps=steps)
        assert ours.dtype == kind
        assert float((ours - expected).abs().max() / expected.max()) < 1e-5


@pytest.mark.parametrize("power", [0.0, 0.2, 1.0, 30.0])
def test_walk_for_closed_and_open_edges(power):
    edge = edges(13, 11) ** power
    edge[4, :] = 1.0  # a wall: what is above stays above
    scores = torch.zeros(1, 13, 11, dtype=torch.float64)
    scores[0, 2, 3] = 1.0
    ours = random_walk(scores.float(), edge.float(), radius=4, beta=3.0, steps=64)
    expected = dense_walk(scores, edge, 4, 3.0, 64)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-6)
    assert float(ours[0, 4:].abs().max()) == 0


@pytest.mark.parametrize(("gap", "leaks"), [(0.1, True), (0.02, True), (1e-3, False)])
def test_walk_through_nearly_closed_walls(gap, leaks):
    """Affinities of 1e-10 and 1e-17 count for what they are, those of 1e-30 as 0."""
    edge = torch.zeros(11, 7, dtype=torch.float64)
    edge[5] = 1 - gap
    scores = torch.zeros(1, 11, 7, dtype=torch.float64)
    scores[0, 2, 3] = 1.0
    ours = random_walk(scores, edge, steps=64)
    expected = dense_walk(scores, edge, 5, 10.0, 64)
    assert float(expected[0, 6:].min()) > 0
    single = random_walk(scores.float(), edge.float(), steps=64)
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-6)
    assert bool(single[0, 6:].any()) == leaks
    if leaks:
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=0)
    else:
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
        assert float(ours[0, 5:].abs().max()) == 0


def test_walk_in_strips_equals_class_by_class():
    """Sizes past one strip, so that its borders are crossed."""
    edge = edges(70, 90).float()
    scores = torch.rand(8, 70, 90, generator=torch.Generator().manual_seed(2))
    together = random_walk(scores, edge, steps=20)
    for index in range(8):
        alone = random_walk(scores[index : index + 1], edge, steps=20)[0]
        torch.testing.assert_close(together[index], alone, rtol=1e-5, atol=1e-6)


def test_walk_keeps_constants_and_changes_nothing_given():
    edge = torch.zeros(20, 30)
    scores = torch.full((2, 20, 30), 0.7)
    torch.testing.assert_close(random_walk(scores, edge), scores, rtol=1e-6, atol=0)
    assert bool((scores == 0.7).all())
    assert not bool(edge.any())


def test_walk_of_no_class_and_of_no_neighbours():
    assert random_walk(torch.zeros(0, 4, 5), torch.zeros(4, 5)).shape == (0, 4, 5)
    scores = torch.rand(2, 4, 5)
    torch.testing.assert_close(random_walk(scores, torch.zeros(4, 5), radius=1), scores)


def test_wrong_edge_shape_is_named():
    with pytest.raises(ValueError, match="need an edge of shape"):
        random_walk(torch.zeros(2, 4, 5), torch.zeros(5, 4))
