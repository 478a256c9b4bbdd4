"""Frozen-weight deformable convolution against torchvision's: forward and backward to the offsets.

    python benchmarks/deform.py [--device cuda]

Errors are relative to the largest value. On a GPU bfloat16 is timed too; torchvision has no such
kernel, so there it computes in float32, as automatic mixed precision makes it do.
"""

from collections.abc import Callable

import torch
from common import GIVEN, Report, Row, alternate, parser_of, within
from torch import Tensor
from torchvision.ops import deform_conv2d

from esol.ops.deform import deform_conv2d_frozen

SHAPES = [  # photos, channels in, channels out, cells a side, kernel
    (2, 512, 512, 20, 3),
    (16, 1280, 256, 20, 1),
    (2, 2048, 512, 32, 3),
    (4, 1024, 1024, 32, 3),
    (4, 1024, 1024, 20, 3),
]
"""32 cells are photos of 512 pixels; the last one is the headline."""

Shape = tuple[int, int, int, int, int]
MOST = {"float32": 1e-4, "bfloat16": 3e-2}


def main() -> None:
    options = parser_of(__doc__).parse_args()
    report = Report("deform", options)
    shapes = [(1, 16, 16, 8, 3)] if options.quick else SHAPES
    kinds = ["bfloat16", "float32"] if options.device == "cuda" else ["float32"]
    for shape in shapes:
        step(deform_conv2d_frozen, *problem(shape, options.device, kinds[0]))
    report.ours_ran()
    for kind in kinds:
        for shape in shapes:
            row = compare(report, shape, kind, options.repeats)
    report.finish(row)


def compare(report: Report, shape: Shape, kind: str, repeats: int) -> Row:
    n, channels, out, side, kernel = shape
    given = problem(shape, report.device, kind)
    plain = tuple(tensor.float() for tensor in given)
    ours, theirs = step(deform_conv2d_frozen, *given), step(deform_conv2d, *plain)
    case = f"{n} x {channels} x {side}² to {out}, kernel {kernel}, {kind}"
    error = max(relative(one, two) for one, two in zip(ours, theirs, strict=True))
    within(error, MOST[kind], case)
    taken = alternate(
        lambda: step(deform_conv2d, *plain), lambda: step(deform_conv2d_frozen, *given), repeats
    )
    flop, byte = counted(shape, given[0].element_size())
    return report.add(case, taken, error, flop=flop, byte=byte, dtype=kind)


def counted(shape: Shape, size: int) -> tuple[float, float]:
    """Operations and bytes: one projection; four rows a tap, weighted and summed, twice.

    Bytes are those of arrays larger than a cache, each once a pass: the projected rows, written
    and read forward and backward, the output, its gradient, input and weight.
    """
    n, channels, out, side, kernel = shape
    cells, taps = n * side**2, kernel**2
    flop = 2 * cells * channels * taps * out + 2 * 2 * cells * 4 * taps * out
    values = 3 * cells * taps * out + 2 * cells * out + cells * channels + taps * channels * out
    return flop, size * values


def problem(shape: Shape, device: str, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features, offsets, weight."""
    n, channels, out, side, kernel = shape
    torch.manual_seed(0)
    features = torch.rand(n, channels, side, side)
    weight = torch.randn(out, channels, kernel, kernel) / (channels * kernel**2) ** 0.5
    offset = 2 * torch.randn(n, 2 * kernel**2, side, side)
    # Offsets stay in float32.
    return features.to(device, GIVEN[kind]), offset.to(device), weight.to(device, GIVEN[kind])


def step(
    function: Callable[..., Tensor], features: Tensor, offset: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Output and offset gradient."""
    moved = offset.clone().requires_grad_()
    result = function(features, moved, weight, padding=weight.shape[-1] // 2)
    (gradient,) = torch.autograd.grad(result.float().square().sum(), moved)
    return result.detach(), gradient


def relative(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().max() / two.abs().max())


if __name__ == "__main__":
    main()
