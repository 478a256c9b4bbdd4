"""Outlines against brute force: exact at 0, and never off by more than the tolerance."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from esol.data.shapes import polygon_region
from esol.label_tools.polygons import joined, outlines

REGIONS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9))


def redrawn(region: np.ndarray, tolerance: float) -> np.ndarray:
    rings = outlines(region, tolerance)
    return polygon_region([np.ravel(ring).tolist() for ring in rings], region.shape)


def farthest(region: np.ndarray, other: np.ndarray) -> float:
    """Largest distance of a changed pixel's centre from the region's border."""
    padded = np.pad(region, 1)
    sides = [
        *((x + 1, y, x + 1, y + 1) for y, x in np.argwhere(padded[:, 1:] != padded[:, :-1])),
        *((x, y + 1, x + 1, y + 1) for y, x in np.argwhere(padded[1:] != padded[:-1])),
    ]
    borders = np.array(sides, float) - 1
    worst = 0.0
    for y, x in np.argwhere(region != other):
        centre = np.array([x + 0.5, y + 0.5])
        nearest = np.clip(centre, borders[:, :2], borders[:, 2:])
        worst = max(worst, float(np.hypot(*(nearest - centre).T).min()))
    return worst


@settings(max_examples=150, deadline=None)
@given(REGIONS)
def test_outlines_without_tolerance_are_the_region(region):
    np.testing.assert_array_equal(redrawn(region, 0), region)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.5])
def test_outlines_move_by_no_more_than_the_tolerance(tolerance):
    rng, corners = np.random.default_rng(1), [0, 0]
    changed = 0
    for _ in range(12):
        region = ndimage.gaussian_filter(rng.random((40, 50)), 2) > 0.5
        other = redrawn(region, tolerance)
        assert farthest(region, other) <= tolerance
        changed += int((other != region).sum())
        for place, given_tolerance in enumerate((0, tolerance)):
            corners[place] += sum(map(len, outlines(region, given_tolerance)))
    assert corners[1] < corners[0]
    assert changed > 0 or tolerance < 1


@settings(max_examples=150, deadline=None)
@given(REGIONS)
def test_joined_outlines_are_the_region_however_a_polygon_is_filled(region):
    """How often the ring goes round each pixel: once or never, so all rules of filling agree."""
    assume(region.any())
    ring = np.array(joined(outlines(region, 0)), float)
    y, x = np.mgrid[: region.shape[0], : region.shape[1]] + 0.5
    turns = np.zeros(region.shape, int)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            right = x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
            turns += np.where(((y0 > y) != (y1 > y)) & right, int(np.sign(y1 - y0)), 0)
    np.testing.assert_array_equal(np.abs(turns), region)


def test_pieces_are_linked_where_they_are_nearest():
    region = np.zeros((9, 30), bool)
    region[2:4, 1:3] = region[2:4, 5:7] = region[6:8, 24:26] = region[4:6, 7:9] = True
    ring = joined(outlines(region, 0))
    sides = np.diff([*ring, ring[0]], axis=0)
    # The shortest tree: 2 to the right, a corner that two share, and 15 to the right; twice each.
    assert np.hypot(*sides.T).sum() == 4 * 8 + 2 * (2 + 0 + 15)


def test_a_ring_is_cut_and_its_hole_stays_open():
    region = np.ones((9, 9), bool)
    region[3:6, 3:6] = False
    assert len(outlines(region, 1)) == 2
    np.testing.assert_array_equal(redrawn(region, 0.5), region)


def test_a_speck_is_not_lost():
    region = np.zeros((5, 5), bool)
    region[2, 2] = True
    assert outlines(region, 3) == [[(2, 2), (3, 2), (3, 3), (2, 3)]]
    np.testing.assert_array_equal(redrawn(region, 3), region)


def test_polygons_outside_the_photo_are_cut_at_its_border():
    assert polygon_region([[-5, -5, 2, -5, 2, 9, -5, 9]], (4, 4)).sum() == 8


@pytest.mark.parametrize("ring", [[1, 1, 2, 2], [0, 0, 1, float("nan"), 3, 3], [1, 2, 3]])
def test_what_is_no_polygon_is_refused(ring):
    with pytest.raises(ValueError):  # noqa: PT011
        polygon_region([ring], (4, 4))
