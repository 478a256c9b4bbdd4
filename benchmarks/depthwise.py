"""Depthwise convolutions that learn: PyTorch's gradients against ours; forward and backward.

    python benchmarks/depthwise.py

Layers are those of the last stages at stride 16 and photos of 320 pixels, then the whole step of a
backbone whose last two stages learn, both in float32 and, where the processor has it, in bfloat16.
Errors are relative to the largest value of each gradient. The memory that layers free is kept on
both sides, as on the command line.
"""

import copy

import torch
from common import GIVEN, Report, Row, alternate, parser_of, within
from torch import Tensor, nn

from esol.networks.backbone import Backbone
from esol.ops.depthwise import DepthwiseConv2d, use_fast_gradients
from esol.settings import BackboneSettings
from esol.system.allocator import keep_memory
from esol.system.precision import resolved

LAYERS = [(16, 960, 3, 2, 20), (16, 720, 5, 1, 20), (16, 1248, 5, 2, 20), (16, 768, 7, 1, 20)]
"""Photos, channels, side of the kernel, dilation, cells a side: of MobileNetV2, EfficientNet-Lite2
twice, ConvNeXt-T."""

NETWORKS = ("mobilenetv2_100", "tf_efficientnet_lite2")
LEARN = ("blocks.5", "blocks.6", "conv_head", "bn2")
MOST = {"float32": 1e-4, "bfloat16": 3e-2}
MOST_OF_NETWORK = {"float32": 2e-3, "bfloat16": 3e-2}
"""Ours computes in another layout, and rounding adds up over the layers."""


def main() -> None:
    parser = parser_of(__doc__)
    options = parser.parse_args()
    keep_memory()
    report = Report("depthwise", options)
    shapes = [(1, 8, 5, 2, 8)] if options.quick else LAYERS
    kinds = ["float32"]
    if resolved("auto", torch.device(options.device)) == "bf16":
        kinds.append("bfloat16")
    rows: list[Row] = []
    for kind in kinds:
        rows += [layer(report, shape, kind, options.repeats) for shape in shapes]
        for name in [] if options.quick else NETWORKS:
            rows.append(network(report, name, kind, options.repeats))
    report.finish(rows[-1])


def layer(report: Report, shape: tuple[int, int, int, int, int], kind: str, repeats: int) -> Row:
    n, channels, side, dilation, cells = shape
    torch.manual_seed(0)
    padding = side // 2 * dilation
    theirs = nn.Conv2d(channels, channels, side, 1, padding, dilation, channels)
    ours = copy.deepcopy(theirs)
    use_fast_gradients(ours)
    assert type(ours) is DepthwiseConv2d
    x = torch.randn(n, channels, cells, cells).to(GIVEN[kind])
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    case = f"{n} x {channels} x {cells}², kernel {side}, dilation {dilation}, {kind}"
    return compare(report, case, (theirs, ours), x, kind, repeats)


def network(report: Report, name: str, kind: str, repeats: int) -> Row:
    torch.manual_seed(0)
    ours = Backbone(BackboneSettings(name=name, weights="none", stride=16, learn=LEARN)).train()
    theirs = copy.deepcopy(ours)
    for module in theirs.modules():
        if type(module) is DepthwiseConv2d:
            module.__class__ = nn.Conv2d
    images = torch.rand(16, 3, 320, 320)
    if kind == "bfloat16":  # the layouts in which a training gives them
        images = images.contiguous(memory_format=torch.channels_last)
    return compare(report, f"a step of {name}, {kind}", (theirs, ours), images, kind, repeats)


def compare(
    report: Report,
    case: str,
    both: tuple[nn.Module, nn.Module],
    x: Tensor,
    kind: str,
    repeats: int,
) -> Row:
    theirs, ours = both
    wanted, found = gradients(theirs, x, kind), gradients(ours, x, kind)
    report.ours_ran()
    pairs = zip(found, wanted, strict=True)
    error = max(float((one - two).abs().max() / two.abs().max()) for one, two in pairs)
    of_layer = isinstance(theirs, nn.Conv2d)
    within(error, (MOST if of_layer else MOST_OF_NETWORK)[kind], case)
    taken = alternate(lambda: gradients(theirs, x, kind), lambda: gradients(ours, x, kind), repeats)
    return report.add(case, taken, error, dtype=kind)


def gradients(layer: nn.Module, x: Tensor, kind: str) -> list[Tensor]:
    """Of all that learns, and of the input if it asks for one; float32."""
    wanted = [value for value in (x, *layer.parameters()) if value.requires_grad]
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
        y = layer(x)
    return [one.float() for one in torch.autograd.grad(y.float().square().mean(), wanted)]


if __name__ == "__main__":
    main()
