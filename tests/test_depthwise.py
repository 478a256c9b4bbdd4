"""Gradients of depthwise convolutions against PyTorch's own."""

import pytest
import torch
from torch import nn

from esol.ops.depthwise import DepthwiseConv2d, use_fast_gradients


def _gradients(layer: nn.Module, x: torch.Tensor, by: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], by.to(y.dtype))]


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", [(20, 20), (9, 14), (2, 5)])
@pytest.mark.parametrize("half", [False, True])
def test_as_pytorch(side: int, dilation: int, size: tuple[int, int], half: bool) -> None:
    torch.manual_seed(side * dilation)
    shape = (2, 8, *size)
    padding = side // 2 * dilation
    plain = nn.Conv2d(8, 8, side, padding=padding, dilation=dilation, groups=8)
    ours = nn.Conv2d(8, 8, side, padding=padding, dilation=dilation, groups=8)
    ours.load_state_dict(plain.state_dict())
    use_fast_gradients(ours)
    assert type(ours) is DepthwiseConv2d
    x, by = torch.randn(shape), torch.randn(shape)
    wanted = _gradients(plain, x, by)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = _gradients(ours, x, by)
    assert found[0].dtype == (torch.bfloat16 if half else torch.float32)
    for one, other in zip(found, wanted, strict=True):
        error = (one.float() - other).abs().max() / other.abs().max()
        assert error < (0.03 if half else 1e-5)


def test_only_what_it_can_do_is_replaced() -> None:
    layers = [
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, stride=2),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 4, padding="same", groups=8),
        nn.Conv2d(8, 8, (3, 5), padding=(1, 2), groups=8),
        nn.Conv2d(8, 8, 1, groups=8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect"),
        nn.Conv2d(8, 8, 3, padding=2, groups=8, dilation=(2, 1)),
    ]
    for layer in layers:
        use_fast_gradients(layer)
        assert type(layer) is nn.Conv2d, layer


def test_without_gradients_it_is_pytorchs() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
    x = torch.randn(1, 8, 9, 9)
    with torch.no_grad():
        wanted = layer(x)
        use_fast_gradients(layer)
        assert torch.equal(layer(x), wanted)
