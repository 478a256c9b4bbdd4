"""Losses over a few steps of training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def losses_of_steps(model: nn.Module, loss: Callable[[], Tensor]) -> list[float]:
    """The loss before each of four steps of SGD on all of the model's parameters."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05)
    values = []
    for _ in range(4):
        found = loss()
        values.append(found.item())
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    return values
