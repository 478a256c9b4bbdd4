"""Polygons: outlines of regions along pixel borders."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]
Ring = list[tuple[int, int]]
"""Corners (x, y) in pixels from the image's upper left corner; pixel (0, 0) fills 0 .. 1."""

_ALL_AROUND = np.ones((3, 3), bool)


def outlines(mask: Mask, tolerance: float) -> list[Ring]:
    """Polygons without holes that together cover an (H, W) region.

    Outlines run along the borders of pixels. A part with a hole is cut in two through the hole,
    as label tools have no holes. Corners are left out (Douglas and Peucker 1973) as long as the
    outline moves by at most ``tolerance``: a pixel whose centre is farther than that from the
    region's border stays on its side, and at 0 the polygons are the region. Cuts do not move. A
    part that would shrink to a line keeps all its corners. ``tolerance``: pixels, at least 0.
    """
    rings: list[Ring] = []
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return rings
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    for piece, cuts, (top, left) in _pieces(box, (), (int(rows[0]), int(columns[0]))):
        ring = _simplified(_ring(piece), cuts, tolerance)
        rings.append([(x + left, y + top) for x, y in ring])
    return rings


def joined(rings: Sequence[Ring]) -> Ring:
    """One ring that covers what several cover, for formats with one polygon per object.

    Lines there and back, which enclose nothing, link the corners that are nearest to each other.
    """
    whole = added = list(rings[0])
    # Corners of the rings that are still apart, their rings, and what is nearest to them in whole.
    corners = np.concatenate([np.zeros((0, 2), np.intp), *map(np.asarray, rings[1:])])
    owners = np.repeat(np.arange(1, len(rings)), [len(ring) for ring in rings[1:]])
    nearest, distances = np.zeros_like(corners), np.full(len(corners), np.inf)
    while len(corners):
        found, places = KDTree(added).query(corners)
        closer = found < distances
        distances[closer] = found[closer]
        nearest[closer] = np.asarray(added)[places[closer]]
        place = int(distances.argmin())
        x, y = nearest[place].tolist()
        added = list(rings[owners[place]])
        first = place - int(np.searchsorted(owners, owners[place]))
        turned = [*added[first:], *added[:first]]
        way_back = [turned[0], (x, y)]
        after = whole.index((x, y)) + 1
        # Where they share the corner, the line between has no length.
        whole[after:after] = turned[1:] + way_back[:1] if turned[0] == (x, y) else turned + way_back
        rest = owners != owners[place]
        corners, owners, nearest, distances = (
            values[rest] for values in (corners, owners, nearest, distances)
        )
    return whole


def _pieces(
    mask: Mask, cuts: tuple[int, ...], corner: tuple[int, int]
) -> list[tuple[Mask, tuple[int, ...], tuple[int, int]]]:
    """Connected parts without holes: the part, columns of its cuts, its upper left corner."""
    parts = []
    labels, _ = ndimage.label(mask)
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        piece = labels[window] == number
        top, left = (side.start for side in window)
        inner = tuple(cut - left for cut in cuts)
        at = (corner[0] + top, corner[1] + left)
        columns = _hole_columns(piece)
        if not len(columns):
            parts.append((piece, inner, at))
            continue
        cut = int(columns[len(columns) // 2])
        left_half, right_half = piece.copy(), piece.copy()
        left_half[:, cut:] = False
        right_half[:, :cut] = False
        for half in (left_half, right_half):
            parts += _pieces(half, (*inner, cut), at)
    return parts


def _hole_columns(piece: Mask) -> NDArray[np.intp]:
    """Columns in which a part has holes."""
    labels, count = ndimage.label(np.pad(~piece, 1, constant_values=True), _ALL_AROUND)
    if count == 1:
        return np.empty(0, np.intp)
    return np.flatnonzero((labels[1:-1, 1:-1] > 1).any(axis=0))


def _ring(piece: Mask) -> Ring:
    """Corners of a part's outline, clockwise; where it touches itself, it turns right."""
    padded = np.pad(piece, 1)
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # Steps with the region on their right-hand side, y pointing down.
    for step, shift, start in (
        ((1, 0), (-1, 0), (0, 0)),
        ((0, 1), (0, 1), (1, 0)),
        ((-1, 0), (1, 0), (1, 1)),
        ((0, -1), (0, -1), (0, 1)),
    ):
        rows, columns = np.nonzero(padded & ~np.roll(padded, (-shift[0], -shift[1]), (0, 1)))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            corner = (column - 1 + start[0], row - 1 + start[1])
            ways.setdefault(corner, []).append(step)
    first = min(ways)
    at, heading = first, (0, 0)
    ring: Ring = []
    while at != first or not ring:
        steps, right = ways[at], (-heading[1], heading[0])
        step = right if right in steps else steps[0]
        if step != heading:
            ring.append(at)
        at, heading = (at[0] + step[0], at[1] + step[1]), step
    return ring


def _simplified(ring: Ring, cuts: Sequence[int], tolerance: float) -> Ring:
    """The ring with fewer corners; those on a cut stay."""
    if tolerance == 0:
        return ring
    points = np.asarray(ring, np.float64)
    far = int(np.argmax(((points - points[0]) ** 2).sum(axis=1)))
    fixed = np.flatnonzero(np.isin(points[:, 0], cuts)).tolist()
    anchors = sorted({0, far, *fixed})
    corners = set(anchors)
    for start, stop in zip(anchors, [*anchors[1:], anchors[0] + len(ring)], strict=True):
        corners |= _needed(points, start, stop, tolerance)
    simple = [ring[index] for index in sorted(corners)]
    return simple if len(simple) > 2 else ring


def _needed(points: NDArray[np.float64], start: int, stop: int, tolerance: float) -> set[int]:
    """The corners that a chain needs between its ends; indices wrap around at the ring's end."""
    corners = set[int]()
    chains = [(start, stop)]
    while chains:
        start, stop = chains.pop()
        if stop - start < 2:
            continue
        inner = points[np.arange(start + 1, stop) % len(points)]
        a, b = points[start % len(points)], points[stop % len(points)]
        along = b - a
        length = float(along @ along)
        share = np.clip((inner - a) @ along / length, 0, 1) if length else np.zeros(len(inner))
        distance = np.hypot(*(inner - a - share[:, None] * along).T)
        if distance.max() <= tolerance:
            continue
        middle = start + 1 + int(distance.argmax())
        corners.add(middle % len(points))
        chains += [(start, middle), (middle, stop)]
    return corners
