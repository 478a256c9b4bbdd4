"""Losses over pairs of near cells: edges between labels, displacements within them.

Ahn et al., Weakly supervised learning of instance segmentation with inter-pixel relations (IRN),
CVPR 2019, sections 4.2 to 4.5. A map of 80 x 80 cells has a million pairs at radius 10, but no
logarithm or gradient is needed for a pair:

* A pair's affinity is 1 - the highest edge on its path, and its loss depends on that cell alone. So
  the loss of all pairs is that of the cells, weighted by how often each is the highest on a path.
* |a - b| = s * a - s * b, with s the sign of a - b. So the L1 of all pairs is a sum over the cells,
  weighted by how many partners each cell exceeds less how many exceed it.

Both weights are constants almost everywhere, so autograd sees only the cells.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from esol.ops.walk import SERIAL, half_plane, lay_flat, path_maxima

UNSURE = 255
"""Label of cells whose pairs do not count."""

_FLOOR = 1e-5
"""IRN's addend inside the logarithms."""


def pair_sums(
    edge_logits: Tensor, displacement: Tensor | None, labels: Tensor, radius: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Sums of the edge and displacement losses over all pairs nearer than ``radius``.

    Args:
        edge_logits: (N, h, w); half precision is computed in float32.
        displacement: (N, 2, h, w) from each cell to the centre of its object, cells, (y, x);
            None: only edges.
        labels: (N, h, w) int64; 0 background, 1 .. 254 classes, 255 unsure.
        radius: of ``half_plane``.

    Returns:
        Sum and count of each kind of pair. ``background``, ``foreground``: -log(affinity) of
        pairs of one label; ``between``: -log(1 - affinity) of pairs of two labels. With
        displacement, ``foreground_displacement``: L1 over the axes between the difference of two
        cells of one class and their offset, counted per axis; ``background_displacement``: the
        same for background cells and no offset.

    Raises:
        ValueError: the shapes do not fit.
    """
    n, h, w = labels.shape
    moves = (n, 2, h, w) if displacement is None else tuple(displacement.shape)
    if edge_logits.shape != (n, h, w) or moves != (n, 2, h, w):
        raise ValueError(
            f"labels {(n, h, w)} need edge_logits of the same shape and displacement of shape"
            f" {(n, 2, h, w)}, not {tuple(edge_logits.shape)} and {moves}"
        )
    kind = torch.promote_types(edge_logits.dtype, torch.float32)
    highest = _portions(_highest, edge_logits, labels, radius)
    background, foreground, between = highest.to(kind).unbind(1)[1:]
    logits = edge_logits.flatten(1).to(kind)
    apart = -(torch.sigmoid(-logits) + _FLOOR).log()
    joined = -(torch.sigmoid(logits) + _FLOOR).log()
    sums = {
        "background": ((apart * background).sum(), background.sum()),
        "foreground": ((apart * foreground).sum(), foreground.sum()),
        "between": ((joined * between).sum(), between.sum()),
    }
    if displacement is not None:
        target = _towards(displacement.to(kind), labels)
        # Sum of |difference| over pairs = sum of target * balance over cells; large terms of both
        # signs, hence the doubles.
        gap = (target.double() * _portions(_balance, target, labels, radius)).sum(dim=1)
        for name, cells, pairs in (
            ("foreground_displacement", labels > 0, foreground),
            ("background_displacement", labels == 0, background),
        ):
            sums[name] = ((gap * cells).sum(), 2 * pairs.sum().double())
    return sums


def _towards(displacement: Tensor, labels: Tensor) -> Tensor:
    """What cells of one label share: absolute centres in objects, displacement in background."""
    _, h, w = labels.shape
    y = torch.arange(h, device=labels.device, dtype=displacement.dtype).view(h, 1).expand(h, w)
    x = torch.arange(w, device=labels.device, dtype=displacement.dtype).expand(h, w)
    return displacement + torch.stack([y, x]) * (labels > 0).unsqueeze(1)


@torch.no_grad()
def _portions(
    function: Callable[[Tensor, Tensor, int], Tensor], values: Tensor, labels: Tensor, radius: int
) -> Tensor:
    """``function`` on a few photos at a time, so that the arrays of all offsets stay in cache."""
    n, h, w = labels.shape
    reach = radius - 1
    count = n if values.is_cuda else max(1, SERIAL // ((h + reach) * (w + reach)))
    portions = zip(torch.split(values.detach(), count), torch.split(labels, count), strict=True)
    return torch.cat([function(*portion, radius) for portion in portions])


def _codes(labels: Tensor, radius: int) -> Tensor:
    """Flat uint8 labels, cells in the order of ``path_maxima``: 0 unsure or padding, label + 1."""
    reach = radius - 1
    codes = torch.where(labels == UNSURE, 0, labels + 1).to(torch.uint8)
    return lay_flat(codes, radius, 0)[reach:]


def _highest(edge: Tensor, labels: Tensor, radius: int) -> Tensor:
    """How often each cell has the highest edge of a pair's path; of equal ones any one counts.

    Returns:
        (N, 4, h * w) pairs, by kind: 0 with an unsure cell, 1 both background, 2 both of one
        class, 3 of two labels.
    """
    n, h, w = edge.shape
    cells, width = h * w, w + radius - 1
    # Ranks instead of edges: the maximum rank on a path names its cell.
    order = edge.flatten(1).argsort(dim=1)
    kind = torch.int16 if cells < 2**15 else torch.int32
    numbers = torch.arange(cells, device=edge.device, dtype=kind).expand(n, cells)
    rank = torch.empty_like(order, dtype=kind).scatter_(1, order, numbers).view(n, h, w)

    code = _codes(labels, radius)
    sure = (code > 0).view(torch.uint8)
    same = 3 - code.clamp(1, 2)  # 2 background, 1 a class: taken from 3 where codes are equal
    offsets = half_plane(radius)
    length = n * (h + radius - 1) * width
    photo = torch.arange(n, device=edge.device, dtype=torch.int32).mul_(4 * cells)
    base = photo.repeat_interleave(length // n)
    entries = base.new_empty(len(offsets), length)
    for index, highest in path_maxima(lay_flat(rank, radius, 0), width, radius):
        shift = offsets[index][0] * width + offsets[index][1]
        cell, partner = slice(0, length), slice(shift, shift + length)
        equal = (code[cell] == code[partner]).view(torch.uint8)
        kinds = equal.mul_(same[cell]).neg_().add_(3)
        kinds.mul_(sure[cell]).mul_(sure[partner])
        torch.add(base, highest, out=entries[index]).add_(kinds, alpha=cells)
    count = torch.bincount(entries.flatten(), minlength=4 * n * cells).view(n, 4, cells)
    # Counted by rank; the cell that has it is in ``order``.
    return torch.zeros_like(count).scatter_(2, order.unsqueeze(1).expand(n, 4, cells), count)


def _balance(target: Tensor, labels: Tensor, radius: int) -> Tensor:
    """How many partners of its label each cell exceeds, less those that exceed it: (N, 2, h, w).

    Of two equal cells the later one counts as the higher. ``target`` is (N, 2, h, w).
    """
    n, h, w = labels.shape
    reach = radius - 1
    width = w + reach
    code = _codes(labels, radius)
    sure = (code > 0).view(torch.uint8)
    values = [lay_flat(target[:, axis], radius, 0)[reach:] for axis in (0, 1)]
    length = n * (h + reach) * width
    wins = [torch.zeros(code.numel(), dtype=torch.int16, device=code.device) for _ in values]
    partners = torch.zeros_like(wins[0])
    for dy, dx in half_plane(radius):
        shift = dy * width + dx
        cell, partner = slice(0, length), slice(shift, shift + length)
        same = (code[cell] == code[partner]).view(torch.uint8).mul_(sure[cell])
        partners[cell] += same
        partners[partner] += same
        for value, total in zip(values, wins, strict=True):
            higher = (value[cell] > value[partner]).view(torch.uint8).mul_(same)
            total[cell] += higher
            total[partner] += same - higher
    # Wins less losses, as losses = partners - wins.
    balance = torch.stack([2 * total - partners for total in wins])[:, :length]
    return balance.view(2, n, h + reach, width)[:, :, :h, :w].transpose(0, 1)
