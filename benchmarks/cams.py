"""Maps over scales and mirror images: photo by photo, as IRN makes them, against ours.

    python benchmarks/cams.py DATA --kind voc --weights FILE [--backbone resnet50] [--profile]

Both have the same network, scales and photos, and end in arrays: IRN's at stride 4 and at full
size, ours at stride 4, from which full size is made when it is needed. Ours has its batch norms
folded, as in ``esol run``, and computes in float32, then in bfloat16 where the processor does so
natively (machine.precision: auto). Errors are of the maps, 0 .. 1, at stride 4.
"""

import copy
import tempfile
from functools import partial

import numpy as np
import torch
from common import Report, add_profile, alternate, parser_of, shares, within
from irn import locate
from networks import Linear, add_data, fitted, read
from torch.utils.flop_counter import FlopCounterMode

from esol.data.images import image_size
from esol.data.sample import Sample
from esol.maps.localize import batches_of_one_size, localize
from esol.settings import Cams, Input
from esol.system.precision import Precision, resolved

SCALES = (1.0, 0.5, 1.5, 2.0)
MOST = {"no": 1e-3, "bf16": 0.3}
"""Tells rounding from a fault."""


def main() -> None:
    parser = parser_of(__doc__)
    add_data(parser, "mobilenetv2_100")
    add_profile(parser)
    options = parser.parse_args()
    report = Report("cams", options)
    with tempfile.TemporaryDirectory() as folder:
        data = read(options, folder)
        samples = data.samples(options.list)[: options.photos]
        network = fitted(options, samples, len(data.classes))
        folded = copy.deepcopy(network)
        folded.backbone.fold()
        mapped(folded, samples, "no")
        report.ours_ran()
        theirs = {s.name: locate(network, s, SCALES, options.device).coarse for s in samples}

        def image_by_image() -> None:
            for sample in samples:
                locate(network, sample, SCALES, options.device)

        repeats = 1 if options.quick else options.repeats
        sizes = len({image_size(sample.image) for sample in samples})
        case = f"{len(samples)} photos of {sizes} sizes, {options.backbone}, {len(SCALES)} scales"
        flop = operations(network, samples)
        # Each precision once: float32, and what auto is here.
        for precision in dict.fromkeys(("no", resolved("auto", torch.device(options.device)))):
            ours = mapped(folded, samples, precision)
            differences = (float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)
            error = within(max(differences), MOST[precision], "maps")
            compute = partial(mapped, folded, samples, precision)
            taken = alternate(image_by_image, compute, repeats, warm=False)
            single = precision == "no"
            title, kind = (case, "float32") if single else (f"{case}, bfloat16", "bfloat16")
            row = report.add(title, taken, error, flop=flop, dtype=kind)
            print(f"ours: {len(samples) / taken.ours:.2f} photos a second")
        if options.profile:
            shares(compute)
    report.finish(row)


def mapped(
    network: Linear, samples: tuple[Sample, ...], precision: Precision
) -> dict[str, np.ndarray]:
    """Ours: photo -> its (K', h, w) maps."""
    given = Cams(scales=SCALES), Input(), None, precision
    return {
        sample.name: maps["cam"]
        for batch in batches_of_one_size(samples, same=False)
        for sample, _, maps in localize([network], batch, *given)
    }


def operations(network: Linear, samples: tuple[Sample, ...]) -> float:
    """Of the convolutions, counted on one size and scaled by pixels."""
    side = 256
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, side, side, device=device))
    pixels = sum(height * width for height, width in (image_size(s.image) for s in samples))
    return counter.get_total_flops() / side**2 * pixels * 2 * sum(s**2 for s in SCALES)


if __name__ == "__main__":
    main()
