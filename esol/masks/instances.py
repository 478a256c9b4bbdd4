"""Objects from a class mask and a displacement field.

The idea is that of Ahn et al., Weakly supervised learning of instance segmentation with
inter-pixel relations (IRN), CVPR 2019, section 5: cells of one object follow the field to one
point. How the points are grouped is our own rule.
"""

import numpy as np
from numpy.typing import NDArray

from esol.data.sample import IGNORE

_STILL = 0.01
"""A point that moves by fewer cells than this in a step has arrived."""


def instances(
    displacement: NDArray[np.floating],
    semantic: NDArray[np.uint8],
    *,
    steps: int = 100,
    near: float = 2.5,
    smallest: float = 16.0,
) -> NDArray[np.int32]:
    """Split every class of a mask into objects.

    Each cell takes ``steps`` steps along the field to its end point. Within a class, cells are one
    group if their end points, rounded to cells, are nearer than ``near`` to each other, or are
    linked by others that are. Groups of less than ``smallest`` cells join the large enough group
    whose mean end point is nearest; if none is large enough, the largest. An object need not be in
    one piece: something may hide its middle.

    Args:
        displacement: (2, h, w) from each cell to the centre of its object, cells, (y, x).
        semantic: (H, W) mask of the same photo; 0 background, 255 ignore.
        steps: 1 or more.
        near: in cells; IRN's bound below which a displacement counts as 0.
        smallest: area of the pixels with the class, in cells.

    Returns:
        (H, W) 0 without an object, else 1, 2, ...: by class, then by the first pixel in row-major
        order.

    Raises:
        ValueError: the shapes do not fit.
    """
    if displacement.ndim != 3 or len(displacement) != 2 or semantic.ndim != 2:
        shapes = f"{displacement.shape} and {semantic.shape}"
        raise ValueError(f"displacement must be (2, h, w) and the mask (H, W), not {shapes}")
    _, h, w = displacement.shape
    height, width = semantic.shape
    row = (2 * np.arange(height) + 1) * h // (2 * height)
    column = (2 * np.arange(width) + 1) * w // (2 * width)
    cell = row[:, None] * w + column
    least = smallest * height * width / (h * w)
    objects = np.zeros((height, width), np.int32)
    count = 0
    for value in np.unique(semantic):
        if value in (0, IGNORE):
            continue
        inside = semantic == value
        pixels = np.bincount(cell[inside], minlength=h * w)
        cells = np.flatnonzero(pixels)
        ends = np.rint(_end_points(displacement, cells, steps)).astype(np.int64)
        of_cell = np.zeros(h * w, np.int32)
        of_cell[cells] = _without_small(_linked(ends, near), ends, pixels[cells], least)
        groups = of_cell[cell[inside]]
        first = np.empty(groups.max() + 1, np.int64)
        # Of several values for one place NumPy keeps the last, here the first pixel.
        first[groups[::-1]] = np.arange(len(groups))[::-1]
        objects[inside] = count + 1 + first.argsort().argsort()[groups]
        count += len(first)
    return objects


def _end_points(
    displacement: NDArray[np.floating], cells: NDArray[np.int64], steps: int
) -> NDArray[np.float64]:
    """Where the field, bilinear between its cells, leads: (2, M) from M cells y * w + x."""
    _, h, w = displacement.shape
    last = np.array([[h - 1], [w - 1]])
    flat = displacement.reshape(2, -1).astype(np.float64)
    points = np.stack([cells // w, cells % w]).astype(np.float64)
    moving = np.arange(len(cells))
    for _ in range(steps):
        old = points[:, moving]
        low = np.minimum(old.astype(np.int64), np.maximum(last - 1, 0))
        (down, right), step = old - low, np.zeros_like(old)
        for y, part_y in ((0, 1 - down), (1, down)):
            for x, part_x in ((0, 1 - right), (1, right)):
                corner = np.minimum(low + np.array([[y], [x]]), last)
                step += flat[:, corner[0] * w + corner[1]] * (part_y * part_x)
        new = np.clip(old + step, 0, last)
        points[:, moving] = new
        moving = moving[np.abs(new - old).max(axis=0) > _STILL]
        if not len(moving):
            break
    return points


def _linked(ends: NDArray[np.int64], near: float) -> NDArray[np.int64]:
    """Group of each of the (2, M) points, whole numbers from 0: chains of ``near`` points."""
    reach = int(np.ceil(near)) - 1
    side = int(ends.max()) + 2 * reach + 1
    keys, at = np.unique((ends[0] + reach) * side + ends[1] + reach, return_inverse=True)
    links = []
    for dy in range(reach + 1):
        for dx in range(-reach, reach + 1):
            if (dy, dx) > (0, 0) and dy * dy + dx * dx < near * near:
                partners = keys + dy * side + dx
                place = np.minimum(keys.searchsorted(partners), len(keys) - 1)
                first = np.flatnonzero(keys[place] == partners)
                links.append(np.stack([first, place[first]]))
    group = np.arange(len(keys))
    if links:
        first, second = np.concatenate(links, axis=1)
        # Every root takes the lowest root that a link leads to, until nothing is left to join.
        while (group[first] != group[second]).any():
            lower = np.minimum(group[first], group[second])
            np.minimum.at(group, group[first], lower)
            np.minimum.at(group, group[second], lower)
            while (group[group] != group).any():
                group = group[group]
    _, dense = np.unique(group, return_inverse=True)
    return np.asarray(dense[at], np.int64)


def _without_small(
    groups: NDArray[np.int64], ends: NDArray[np.int64], pixels: NDArray[np.int64], smallest: float
) -> NDArray[np.int64]:
    """Merge groups of fewer than ``smallest`` pixels into the nearest others; renumber them."""
    area = np.bincount(groups, pixels)
    mean = np.stack([np.bincount(groups, pixels * axis) / area for axis in ends])
    large = np.flatnonzero(area >= smallest)
    if not len(large):
        large = np.array([area.argmax()])
    target = np.arange(len(area))
    for small in np.setdiff1d(target, large):
        gap = np.square(mean[:, large] - mean[:, [small]]).sum(axis=0)
        target[small] = large[gap.argmin()]
    _, dense = np.unique(target[groups], return_inverse=True)
    return np.asarray(dense, np.int64)
