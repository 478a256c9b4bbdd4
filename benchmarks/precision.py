"""float32 against bfloat16 (machine.precision): maps, trainings, a prediction.

    python benchmarks/precision.py [--config tags-folder-cpu] [--backbones mobilenetv2_100 resnet50]

On drawn photos and random weights, which speed does not depend on. Every case runs in both, in
turns, as ``esol run`` and ``esol predict`` compute it; "theirs" is float32. Trainings are timed
from the end of one step to that of the next. Errors are of maps, of last losses and of
probabilities: length of the difference over length. A ratio above 1 is to be expected where the
processor computes bfloat16 natively, which the second line says.
"""

import copy
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from common import Report, Taken, parser_of, within
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from esol import load_settings, open_dataset, write_synthetic
from esol.data import Dataset
from esol.data.images import load_image
from esol.maps.localize import batches_of_one_size, localize
from esol.method.classifier import Classifier
from esol.method.losses import classify_losses
from esol.networks.affinity import AffinityNet, affinity_losses
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter, segment_losses
from esol.predict.model import Model
from esol.settings import Fit, Settings
from esol.system.allocator import keep_memory
from esol.system.precision import computes_bfloat16
from esol.training.fit import LossFunction, TrainingRun, fit
from esol.training.inputs import Inputs, photo_inputs

SMOKE = Path(__file__).parents[1] / "tests" / "smoke.yaml"
MOST = 0.3
"""Tells rounding from a fault."""

Compute = Callable[[Literal["no", "bf16"]], tuple[Any, float]]
"""A result, and the seconds that it took: of a training, those of a step."""


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--config", default="tags-folder-cpu", help="settings")
    parser.add_argument("--backbones", nargs="+", help="instead of the settings' own")
    parser.add_argument("--photos", type=int, default=16, help="photos")
    parser.add_argument("--side", type=int, default=320, help="of the drawn photos, pixels")
    parser.add_argument("--steps", type=int, default=4, help="steps of a training")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    keep_memory()  # as the command line does
    photos, side, config = options.photos, options.side, options.config
    flags = ["--backbone.weights=none", "--segment.weights=none", "--backbone.learn=['*']"]
    flags.append("--segment.network=DeepLabV3Plus")
    if options.quick:
        photos, side, config = 4, 32, str(SMOKE)
        flags += ["--classify.fit.batch=2", "--segment.fit.batch=2", "--segment.input.size=32"]
        flags += ["--input.size=32", "--backbone.norm=frozen"]
    flags.append(f"--machine.device={options.device}")
    names = [f"--backbone.name={name}" for name in options.backbones or ()]
    each = [load_settings(config, *flags, *filter(None, [name])) for name in names or [""]]
    report = Report("precision", options)
    print(f"native bfloat16: {computes_bfloat16()}")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "photos", photos=photos, size=side, seed=0, hard=True)
        data = open_dataset(folder / "photos", each[0].data)
        computed: dict[str, Compute] = {}
        for settings in each:
            # The network of the last stage is the same for all.
            computed |= cases(settings, data, options.steps, folder)
        for case, compute in computed.items():
            pairs = [(compute("no"), compute("bf16")) for _ in range(options.repeats)]
            (expected, _), (found, _) = pairs[0]
            error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
            within(error, MOST, case)
            report.ours_ran()
            both = [(one[1], other[1]) for one, other in pairs]
            ratio = statistics.median(one / other for one, other in both)
            row = report.add(
                case, Taken(*map(statistics.median, zip(*both, strict=True)), ratio), error
            )
    report.finish(row)


def cases(settings: Settings, data: Dataset, steps: int, folder: Path) -> dict[str, Compute]:
    """Title -> what computes it in a precision."""
    device, classes = settings.machine.device, len(data.classes)
    samples, segment = data.samples(settings.data.train), settings.segment
    classifier = Classifier.start(settings, classes).to(device)
    segmenter = Segmenter(segment, classes + 1).to(device)
    fixed = copy.deepcopy(classifier).requires_grad_(False).eval()
    fixed.backbone.fold()
    description = {
        "classes": data.classes,
        "resize": "squash",
        "size": segment.input.size,
        "scales": segment.scales,
        "flip": segment.flip,
    }
    models = {
        of: Model(segmenter.eval(), description, device, precision=of) for of in ("no", "bf16")
    }
    images = [load_image(sample.image) for sample in samples]

    @timed
    def maps(precision: Any) -> Any:
        same = settings.input.resize == "squash"
        given = settings.cams, settings.input, None, precision
        found = (localize([fixed], b, *given) for b in batches_of_one_size(samples, same=same))
        return np.concatenate([kinds["cam"].ravel() for part in found for *_, kinds in part])

    def training(network: nn.Module, losses: LossFunction, inputs: Inputs, given: Fit) -> Compute:
        def trained(precision: Any) -> tuple[float, float]:
            marks: list[float] = []
            hook = register_optimizer_step_post_hook(lambda *_: marks.append(time.perf_counter()))
            machine = replace(settings.machine, precision=precision, checkpoint_seconds=1e9)
            learner, few = copy.deepcopy(network), replace(given, steps=steps)
            with tempfile.TemporaryDirectory(dir=folder) as path:
                run = TrainingRun(Path(path), "", 0, machine)
                learned = [(learner.parameters(), 1.0)]
                loss = fit(learner, losses, inputs, learned, few, run)["loss"]
            hook.remove()
            return loss, statistics.median(np.diff(marks))

        return trained

    affinity, frozen = settings.refine.affinity, Backbone.fixed(settings.backbone).eval().fold()
    irnet = AffinityNet(frozen, displacement=settings.refine.instances)
    pairs_of = partial(affinity_losses, radius=affinity.radius)
    labelled = photo_inputs(samples, classes, affinity.input, frozen.normalisation, data.truth)
    tagged = photo_inputs(samples, classes, settings.input, classifier.backbone.normalisation)
    masked = photo_inputs(samples, classes, segment.input, segmenter.normalisation, data.truth)
    backbone, network = settings.backbone.name, f"{segment.network} with {segment.encoder}"
    return {
        f"maps, {backbone}": maps,
        f"training, {backbone}": training(
            classifier, classify_losses, tagged, settings.classify.fit
        ),
        f"training, IRNet with {backbone}": training(irnet, pairs_of, labelled, affinity.fit),
        f"training, {network}": training(segmenter, segment_losses, masked, segment.fit),
        f"prediction, {network}": timed(lambda of: models[of].probabilities(images).cpu().numpy()),
    }


def timed(compute: Callable[[Any], Any]) -> Compute:
    """With the seconds of a call."""

    def with_seconds(precision: Any) -> tuple[Any, float]:
        begun = time.perf_counter()
        result = compute(precision)
        return result, time.perf_counter() - begun

    return with_seconds


if __name__ == "__main__":
    main()
