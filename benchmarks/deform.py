"""Frozen-weight deformable convolution against torchvision's: forward and backward to the offsets.

python benchmarks/deform.py [--repeats 5]
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from esol.ops.deform import deform_conv2d_frozen

SHAPES = [  # photos, channels in, channels out, cells a side, kernel
    (2, 512, 512, 20, 3),
    (16, 1280, 256, 20, 1),
    (2, 2048, 256, 32, 3),
    (4, 1024, 1024, 20, 3),
]
"""The last one is the headline."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("| N x C x side², out, kernel | torchvision | ours | ratio | max error |")
    print("|---|---|---|---|---|")
    for shape in SHAPES:
        ratio, error = compare(shape, repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"name": "deform", "ratio": ratio, "max_error": error, "peak_mb": peak}))


def compare(shape: tuple[int, int, int, int, int], repeats: int) -> tuple[float, float]:
    """Time both on one problem, in turns, after checking that they agree."""
    n, channels, out, side, kernel = shape
    torch.manual_seed(0)
    features = torch.rand(n, channels, side, side)
    weight = torch.randn(out, channels, kernel, kernel) / (channels * kernel**2) ** 0.5
    offset = 2 * torch.randn(n, 2 * kernel**2, side, side)
    theirs, their_gradient = step(deform_conv2d, features, weight, offset)
    ours, our_gradient = step(deform_conv2d_frozen, features, weight, offset)
    error = max(relative(ours, theirs), relative(our_gradient, their_gradient))
    assert error < 1e-4, f"results differ by {error}"
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, kept in zip((deform_conv2d, deform_conv2d_frozen), times, strict=True):
            begun = time.perf_counter()
            step(function, features, weight, offset)
            kept.append(time.perf_counter() - begun)
    their_time, our_time = (statistics.median(kept) for kept in times)
    ratio = their_time / our_time
    print(
        f"| {n} x {channels} x {side}², {out}, {kernel} | {their_time:.3f} s | {our_time:.3f} s |"
        f" {ratio:.1f} | {error:.0e} |"
    )
    return round(ratio, 2), error


def step(
    function: Callable[..., Tensor], features: Tensor, weight: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Output and offset gradient."""
    moved = offset.clone().requires_grad_()
    result = function(features, moved, weight, padding=weight.shape[-1] // 2)
    (gradient,) = torch.autograd.grad(result.square().sum(), moved)
    return result.detach(), gradient


def relative(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().max() / two.abs().max())


if __name__ == "__main__":
    main()
