"""Frozen-weight deformable convolution against torchvision's, in double precision."""

import pytest
import torch
from torch.nn.functional import conv2d
from torchvision.ops import deform_conv2d

from esol.ops.deform import Projected, deform_conv2d_frozen


def outputs(spread: float, k: int, padding: int, shape=(2, 5, 6, 7), out_channels=4):
    """Outputs and offset gradients of torchvision and of ours for one random problem."""
    generator = torch.Generator().manual_seed(k * 10 + padding)
    n, c, h, w = shape
    features = torch.randn(shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(out_channels, c, k, k, generator=generator, dtype=torch.float64)
    grid = (h + 2 * padding - k + 1, w + 2 * padding - k + 1)
    offset = spread * torch.randn(n, 2 * k * k, *grid, generator=generator, dtype=torch.float64)
    upstream = torch.randn(n, out_channels, *grid, generator=generator, dtype=torch.float64)
    results = []
    for function in (deform_conv2d, deform_conv2d_frozen):
        moved = offset.clone().requires_grad_()
        out = function(features, moved, weight, padding=padding)
        out.backward(upstream)
        results.append((out.detach(), moved.grad))
    return results


@pytest.mark.parametrize("spread", [0.0, 0.4, 3.0, 30.0])
@pytest.mark.parametrize(("k", "padding"), [(1, 0), (3, 1), (3, 0), (5, 2), (5, 1)])
def test_equals_torchvision(spread, k, padding):
    (theirs, their_gradient), (ours, our_gradient) = outputs(spread, k, padding)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("k", "padding"), [(1, 0), (3, 1), (3, 0), (5, 2), (5, 1), (3, 2)])
def test_products_sum_to_the_plain_convolution(k, padding):
    generator = torch.Generator().manual_seed(k)
    features = torch.randn(2, 5, 6, 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 5, k, k, generator=generator, dtype=torch.float64)
    plain = Projected(features, weight, padding).plain()
    torch.testing.assert_close(plain, conv2d(features, weight, padding=padding))


def test_gradient_is_the_numerical_one():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 3, 4, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 3, 3, 3, generator=generator, dtype=torch.float64)
    offset = (0.3 + 0.4 * torch.rand(1, 18, 4, 4, generator=generator)).double().requires_grad_()
    torch.autograd.gradcheck(
        lambda o: deform_conv2d_frozen(features, o, weight, padding=1), (offset,)
    )


def test_constants_get_no_gradient():
    features = torch.randn(1, 2, 4, 4, requires_grad=True)
    weight = torch.randn(2, 2, 3, 3, requires_grad=True)
    offset = torch.zeros(1, 18, 4, 4, requires_grad=True)
    deform_conv2d_frozen(features, offset, weight, padding=1).sum().backward()
    assert features.grad is None
    assert weight.grad is None
    assert offset.grad is not None


def test_wrong_offset_shape_is_named():
    with pytest.raises(ValueError, match="need an offset of shape"):
        deform_conv2d_frozen(
            torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 3, 3)
        )
