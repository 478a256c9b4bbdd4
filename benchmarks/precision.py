"""float32 against bfloat16 (machine.precision): maps, trainings, a prediction.

    python benchmarks/precision.py [--config tags-folder-cpu] [--backbone resnet50] [--photos 16]

On drawn photos and random weights, which speed does not depend on. Every case runs in both, in
turns, as ``esol run`` and ``esol predict`` compute it; "theirs" is float32. Errors are of maps, of
last losses and of probabilities: length of the difference over length. A ratio above 1 is to be
expected where the processor computes bfloat16 natively, which the second line says.
"""

import copy
import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from common import Report, alternate, parser_of, within
from torch import nn

from esol import load_settings, open_dataset, write_synthetic
from esol.data import Dataset
from esol.data.images import load_image
from esol.maps.localize import batches_of_one_size, localize
from esol.method.classifier import Classifier
from esol.method.losses import classify_losses
from esol.networks.segmenter import Segmenter, segment_losses
from esol.predict.model import Model
from esol.settings import Fit, Settings
from esol.system.precision import computes_bfloat16
from esol.training.fit import LossFunction, TrainingRun, fit
from esol.training.inputs import Inputs, photo_inputs

SMOKE = Path(__file__).parents[1] / "tests" / "smoke.yaml"
MOST = 0.3
"""Tells rounding from a fault."""

Compute = Callable[[Literal["no", "bf16"]], Any]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--config", default="tags-folder-cpu", help="settings")
    parser.add_argument("--backbone", help="instead of the settings' own")
    parser.add_argument("--photos", type=int, default=16, help="photos")
    parser.add_argument("--side", type=int, default=320, help="of the drawn photos, pixels")
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a training")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    photos, side, config = options.photos, options.side, options.config
    flags = ["--backbone.weights=none", "--segment.weights=none", "--backbone.learn=['*']"]
    if options.backbone:
        flags.append(f"--backbone.name={options.backbone}")
    if options.quick:
        photos, side, config = 4, 32, str(SMOKE)
        flags += ["--classify.fit.batch=2", "--segment.fit.batch=2", "--segment.input.size=32"]
        flags += ["--input.size=32", "--backbone.norm=frozen"]
    settings = load_settings(config, *flags, f"--machine.device={options.device}")
    report = Report("precision", options)
    print(f"native bfloat16: {computes_bfloat16()}")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "photos", photos=photos, size=side, seed=0, hard=True)
        data = open_dataset(folder / "photos", settings.data)
        for case, compute in cases(settings, data, options.steps, folder).items():
            expected, found = compute("no"), compute("bf16")
            error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
            within(error, MOST, case)
            both = (lambda of=of, compute=compute: compute(of) for of in ("no", "bf16"))
            report.ours_ran()
            row = report.add(case, alternate(*both, options.repeats, warm=False), error)
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

    def maps(precision: Any) -> Any:
        same = settings.input.resize == "squash"
        given = settings.cams, settings.input, None, precision
        found = (localize([fixed], b, *given) for b in batches_of_one_size(samples, same=same))
        return np.concatenate([kinds["cam"].ravel() for part in found for *_, kinds in part])

    def training(network: nn.Module, losses: LossFunction, inputs: Inputs, given: Fit) -> Compute:
        def trained(precision: Any) -> float:
            machine = replace(settings.machine, precision=precision, checkpoint_seconds=1e9)
            learner, few = copy.deepcopy(network), replace(given, steps=steps)
            with tempfile.TemporaryDirectory(dir=folder) as path:
                run = TrainingRun(Path(path), "", 0, machine)
                return fit(learner, losses, inputs, [(learner.parameters(), 1.0)], few, run)["loss"]

        return trained

    tagged = photo_inputs(samples, classes, settings.input, classifier.backbone.normalisation)
    masked = photo_inputs(samples, classes, segment.input, segmenter.normalisation, data.truth)
    backbone, network = settings.backbone.name, f"{segment.network} with {segment.encoder}"
    return {
        f"maps, {backbone}": maps,
        f"training, {backbone}": training(
            classifier, classify_losses, tagged, settings.classify.fit
        ),
        f"training, {network}": training(segmenter, segment_losses, masked, segment.fit),
        f"prediction, {network}": lambda of: models[of].probabilities(images).cpu().numpy(),
    }


if __name__ == "__main__":
    main()
