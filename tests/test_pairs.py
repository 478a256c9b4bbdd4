"""Pair losses against all pairs one by one, with their gradients."""

import math

import pytest
import torch

from esol.networks import affinity
from esol.ops.walk import half_plane, path_cells

NAMES = ("positive", "negative", "foreground_displacement", "background_displacement")


def pair_losses(*arguments) -> dict[str, torch.Tensor]:
    """The losses of one process, which has the whole batch."""
    return {name: mean.value() for name, mean in affinity.pair_losses(*arguments).items()}


def problem(shape, labels=(0, 1, 2, 255), seed=0):
    """Random logits, displacements and labels; gradients wanted."""
    generator = torch.Generator().manual_seed(seed)
    n, h, w = shape
    logits = 2 * torch.randn(n, h, w, generator=generator, dtype=torch.float64)
    moves = 3 * torch.randn(n, 2, h, w, generator=generator, dtype=torch.float64)
    drawn = torch.randint(len(labels), (n, h, w), generator=generator)
    return logits.requires_grad_(), moves.requires_grad_(), torch.tensor(labels)[drawn]


def mean(terms: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(terms).mean() if terms else torch.zeros((), dtype=torch.float64)


def brute_force(logits, moves, labels, radius):
    """Every pair of every photo, as the paper has it."""
    n, h, w = labels.shape
    edge = torch.sigmoid(logits)
    joined, apart, in_class, in_background = {True: [], False: []}, [], [], []
    for photo in range(n):
        for y in range(h):
            for x in range(w):
                for dy, dx in half_plane(radius):
                    if not (0 <= y + dy < h and 0 <= x + dx < w):
                        continue
                    one, two = int(labels[photo, y, x]), int(labels[photo, y + dy, x + dx])
                    if 255 in (one, two):
                        continue
                    path = [edge[photo, y + b, x + a] for b, a in sorted(path_cells(dy, dx))]
                    affinity = 1 - torch.stack(path).max()
                    if one != two:
                        apart.append(-torch.log(1 - affinity + 1e-5))
                        continue
                    joined[one == 0].append(-torch.log(affinity + 1e-5))
                    gap = moves[photo, :, y, x] - moves[photo, :, y + dy, x + dx]
                    if one == 0:
                        in_background.append(gap.abs().mean())
                    else:
                        in_class.append((gap - torch.tensor([dy, dx])).abs().mean())
    terms = {
        "positive": (mean(joined[True]) + mean(joined[False])) / 2,
        "negative": mean(apart),
        "foreground_displacement": mean(in_class),
        "background_displacement": mean(in_background),
    }
    return {**terms, "loss": sum(terms.values()) / 2}


@pytest.mark.parametrize("radius", [2, 4])
@pytest.mark.parametrize(
    ("shape", "labels"),
    [
        ((2, 6, 7), (0, 1, 2, 255)),
        ((3, 1, 5), (0, 1, 255)),
        ((1, 5, 2), (0, 1)),
        ((2, 5, 5), (0, 255)),  # background only
        ((1, 5, 5), (3, 255)),  # one class only
    ],
)
def test_all_pairs_one_by_one(shape, labels, radius):
    ours, theirs = problem(shape, labels), problem(shape, labels)
    losses, expected = pair_losses(*ours, radius), brute_force(*theirs, radius)
    assert losses.keys() == expected.keys()
    for name in losses:
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-9, atol=1e-9)
    losses["loss"].backward()
    expected["loss"].backward()
    for mine, its in zip(ours[:2], theirs[:2], strict=True):
        gradient = torch.zeros_like(mine) if its.grad is None else its.grad
        torch.testing.assert_close(mine.grad, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 70, 60), (1, 190, 185)])
def test_photos_count_alike_in_any_batch(shape):
    """Sizes past one portion, and past 16-bit ranks."""
    logits, moves, labels = problem(shape)
    logits, moves = logits.detach().float(), moves.detach().float()
    losses = pair_losses(logits, moves, labels, 5)
    gap, count = torch.zeros(()), torch.zeros(())
    for dy, dx in half_plane(5):
        h, w = shape[1:]
        cells = (..., slice(0, h - dy), slice(max(0, -dx), w - max(0, dx)))
        partners = (..., slice(dy, h), slice(max(0, dx), w + min(0, dx)))
        background = (labels[cells] == 0) & (labels[partners] == 0)
        gap += ((moves[cells] - moves[partners]).abs().mean(dim=1) * background).sum()
        count += background.sum()
    torch.testing.assert_close(losses["background_displacement"], gap / count)


def test_absent_pairs_give_zero_and_no_gradient():
    logits, moves, _ = problem((2, 4, 4))
    losses = pair_losses(logits, moves, torch.full((2, 4, 4), 255), 3)
    assert all(float(losses[name].detach()) == 0 for name in (*NAMES, "loss"))
    losses["loss"].backward()
    assert not logits.grad.any()
    assert not moves.grad.any()


@pytest.mark.parametrize("extreme", [-200.0, 200.0])
def test_saturated_edges_stay_finite(extreme):
    logits = torch.full((1, 5, 5), extreme, requires_grad=True)
    labels = torch.zeros(1, 5, 5, dtype=torch.int64)
    labels[:, :, 3:] = 1
    losses = pair_losses(logits, torch.zeros(1, 2, 5, 5), labels, 3)
    losses["loss"].backward()
    assert bool(torch.isfinite(logits.grad).all())
    wrong = losses["positive" if extreme > 0 else "negative"]
    assert float(wrong.detach()) == pytest.approx(-math.log(1e-5), rel=1e-4)


def test_right_answers_cost_nothing():
    labels = torch.zeros(1, 12, 20, dtype=torch.int64)
    labels[:, 2:9, 3:10] = 1
    moves = torch.zeros(1, 2, 12, 20)
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(20.0), indexing="ij")
    moves[0] = torch.stack([5 - y, 6 - x]) * (labels[0] == 1)
    logits = torch.full((1, 12, 20), -20.0)
    losses = pair_losses(logits, moves, labels, 6)
    assert float(losses["foreground_displacement"]) == pytest.approx(0, abs=1e-5)
    assert float(losses["background_displacement"]) == pytest.approx(0, abs=1e-5)
    assert float(losses["positive"]) == pytest.approx(0, abs=2e-5)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="displacement of shape"):
        pair_losses(
            torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64), 3
        )


def test_edges_alone():
    logits, moves, labels = problem((2, 6, 7))
    complete, alone = pair_losses(logits, moves, labels, 4), pair_losses(logits, None, labels, 4)
    assert alone.keys() == {"positive", "negative", "loss"}
    assert torch.equal(alone["positive"], complete["positive"])
    assert float(alone["loss"].detach()) == pytest.approx(
        float((complete["positive"] + complete["negative"]).detach() / 2)
    )


def test_half_precision_is_computed_in_single():
    logits, moves, labels = problem((1, 40, 40))
    small = [values.detach().to(torch.bfloat16).requires_grad_() for values in (logits, moves)]
    losses = pair_losses(*small, labels, 5)
    assert all(value.dtype == torch.float32 for value in losses.values())
    expected = pair_losses(*(values.detach().double() for values in small), labels, 5)
    for name, value in losses.items():
        assert float(value.detach()) == pytest.approx(float(expected[name]), rel=1e-5)
    losses["loss"].backward()
    assert all(values.grad.dtype == torch.bfloat16 for values in small)
