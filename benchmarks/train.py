"""Photos a second in Expansion and Shrinkage: a plain loop with torchvision's layer, against ours.

    python benchmarks/train.py DATA --weights FILE [--config voc12 --batch 2]

The plain loop reads each photo, computes the frozen backbone's features and steps the sampler of
Expansion, then that of Shrinkage, with ``torchvision.ops.deform_conv2d``. Ours is what ``esol run``
does: the frozen-weight layer, the backbone's batch norms folded and, where the settings have it,
features from the cache. Both draw the same photos. The error is that of the learned offset branches
after the same steps, length of the difference over length, the larger of the two; it is taken with
plain SGD in both stages, because the first steps of Adam go by the gradient's sign, which near 0 is
chance. The cache's 16 bits are part of it. Both sides compute in float32; where the processor has
bfloat16, further rows have ours in that, whose gradients of offsets differ: they are differences of
neighbouring cells. Filling the cache is timed apart and is in neither side:
it happens once for three stages, and costs more than it saves in these two alone. So the headline
is the row in which both sides compute the features at each step.
"""

import copy
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import Report, Row, alternate, parser_of, within
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import deform_conv2d

from esol import load_settings, open_dataset, write_synthetic
from esol.data.batch import Batch
from esol.method.classifier import Classifier
from esol.method.expansion import clip_features
from esol.method.localizer import Localizer
from esol.method.losses import area_loss, classification_loss, expand_losses, shrink_losses
from esol.method.sampling import OffsetBranch
from esol.settings import Fit, Settings
from esol.system.precision import resolved
from esol.training.features import compute_features
from esol.training.fit import TrainingRun, fit, set_rate
from esol.training.inputs import Inputs, photo_inputs

SMOKE = Path(__file__).parents[1] / "tests" / "smoke.yaml"
FROZEN = ("--backbone.learn=[]", "--backbone.norm=frozen")
MOST = {True: 0.1, False: 5e-3}
"""Cached features are rounded to 16 bits, by 2e-4; differences of neighbours feel that more."""
MOST_BFLOAT16 = 1.0


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("data", nargs="?", type=Path, help="data folder; drawn photos without it")
    parser.add_argument("--config", default="voc-animals-cpu", help="settings")
    parser.add_argument("--weights", default="none", help="of the backbone: imagenet, none, a file")
    parser.add_argument("--photos", type=int, default=64, help="photos of the training list")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each stage")
    parser.add_argument("--batch", type=int, help="photos a step, as in the settings if not given")
    parser.add_argument("--workers", type=int, default=0, help="processes that read our photos")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    report = Report("train", options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = options.data or folder / "photos"
        flags = [*FROZEN, f"--backbone.weights={options.weights}", f"--data.limit={options.photos}"]
        if options.data is None:
            write_synthetic(data, photos=16, size=64, seed=0, hard=True)
            settings = load_settings(str(SMOKE), *FROZEN, "--backbone.cache=true")
        else:
            settings = load_settings(options.config, *flags)
        settings = replace(
            settings,
            machine=replace(
                settings.machine,
                device=options.device,
                workers=options.workers,
                checkpoint_seconds=1e9,
                precision="no",
            ),
            expand=replace(settings.expand, fit=timed(settings.expand.fit, options)),
            shrink=replace(settings.shrink, fit=timed(settings.shrink.fit, options)),
        )
        opened = open_dataset(data, settings.data)
        samples = opened.samples(settings.data.train)
        torch.manual_seed(0)
        classifier = Classifier.start(settings, len(opened.classes))
        classifier.requires_grad_(False).eval()
        start = Localizer.start(settings, classifier).to(options.device)
        plain = photo_inputs(
            samples, len(opened.classes), settings.input, start.backbone.normalisation
        )
        ways = {"features of each step": plain}
        if settings.backbone.cache:
            begun = time.perf_counter()
            cache = compute_features(start.backbone, samples, settings, folder)
            each = (time.perf_counter() - begun) / len(samples)
            print(f"filling the cache: {each:.3f} s a photo and its mirror image")
            flip = settings.input.flip
            ways = {
                "cached features": cache.inputs(samples, len(opened.classes), flip=flip),
                **ways,
            }
        for inputs in ways.values():
            trained(start, inputs, settings, folder)
        report.ours_ran()
        rows = {}
        for precision in dict.fromkeys(("no", resolved("auto", torch.device(options.device)))):
            machine = replace(settings.machine, precision=precision)
            chosen = replace(settings, machine=machine)
            for way, inputs in ways.items():
                case = f"{options.config}, {way}" + (", bfloat16" if precision == "bf16" else "")
                rows[way, precision] = compare(report, case, start, (plain, inputs), chosen, folder)
    report.finish(rows["features of each step", "no"])  # the same work on both sides


def timed(fit: Fit, options: Any) -> Fit:
    """Few steps."""
    return replace(fit, steps=options.steps, batch=options.batch or fit.batch)


def compare(
    report: Report,
    case: str,
    start: Localizer,
    inputs: tuple[Inputs, Inputs],
    settings: Settings,
    folder: Path,
) -> Row:
    """Seconds a photo; both start from the same networks."""
    sgd = replace(settings.shrink.fit, optimizer="sgd", lr=1e-2, momentum=0.0)
    checked = replace(settings, shrink=replace(settings.shrink, fit=sgd))
    with FlopCounterMode(display=False) as counter:
        ours = trained(start, inputs[1], checked, folder)
    theirs = looped(start, inputs[0], checked)
    error = max(
        distance(one, two) for one, two in zip(branches(ours), branches(theirs), strict=True)
    )
    in_float32 = settings.machine.precision == "no"
    within(error, MOST[inputs[0] is not inputs[1]] if in_float32 else MOST_BFLOAT16, case)
    watched = Watched(**vars(inputs[1]))
    begun = time.perf_counter()
    trained(start, watched, settings, folder)
    share = watched.waited[0] / (time.perf_counter() - begun)
    taken = alternate(
        lambda: looped(start, inputs[0], settings),
        lambda: trained(start, inputs[1], settings, folder),
        2 if settings.expand.fit.batch < 16 else 3,
        warm=False,
    )
    photos = sum(
        chosen.steps * chosen.batch for chosen in (settings.expand.fit, settings.shrink.fit)
    )
    print(
        f"{case}: {photos / taken.theirs:.1f} and {photos / taken.ours:.1f} photos a second,"
        f" {100 * share:.1f} % of ours waiting for data"
    )
    return report.add(case, taken, error, flop=counter.get_total_flops())


def trained(start: Localizer, inputs: Inputs, settings: Settings, folder: Path) -> Localizer:
    """Ours: both stages as ``esol run`` trains them."""
    model = copy.deepcopy(start)
    model.backbone.fold()
    for part, losses, chosen in stages(model, settings):
        with tempfile.TemporaryDirectory(dir=folder) as path:
            fit(
                model,
                losses,
                inputs,
                [(part.parameters(), 1.0)],
                chosen,
                TrainingRun(Path(path), "", 0, settings.machine),
            )
        part.requires_grad_(False)
    return model


def stages(model: Localizer, settings: Settings) -> list[tuple[nn.Module, Any, Fit]]:
    """What learns, its loss, its optimisation."""
    expand, shrink = settings.expand, settings.shrink
    first = partial(expand_losses, alpha=expand.alpha, objective=expand.objective)
    return [
        (model.expansion, first, expand.fit),
        (model.shrinkage, partial(shrink_losses, area=shrink.area), shrink.fit),
    ]


def looped(start: Localizer, inputs: Inputs, settings: Settings) -> Localizer:
    """Theirs: the same steps, written down as one would without this package."""
    model = copy.deepcopy(start).train()
    model.backbone.eval()
    head, device = model.classifier.head, next(model.parameters()).device
    for stage, chosen in enumerate((settings.expand.fit, settings.shrink.fit)):
        branch = branches(model)[stage]
        kind: Any = torch.optim.AdamW if chosen.optimizer == "adamw" else torch.optim.SGD
        more = {} if chosen.optimizer == "adamw" else {"momentum": chosen.momentum}
        optimizer = kind(
            branch.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay, **more
        )
        optimizer.param_groups[0]["initial_lr"] = chosen.lr
        batches = inputs.batches(chosen.batch, seed=0, start=0, stop=chosen.steps, workers=0)
        for step, batch in enumerate(batches):
            set_rate(optimizer, step, chosen.steps, chosen)
            tags = batch.tags.to(device)
            with torch.no_grad():
                features = model.backbone.network.forward_features(batch.inputs.to(device))
            with torch.set_grad_enabled(stage == 0):
                x1 = sampled(features, model.expansion.w1, branches(model)[0])
                x1 = clip_features(x1, model.expansion.clip)
            if stage == 0:
                sign = -1 if settings.expand.objective == "maximise" else 1
                loss = (
                    sign
                    * settings.expand.alpha
                    * classification_loss(head.scores(head.after_w1(x1)), tags)
                )
            else:
                maps = F.conv2d(sampled(x1, model.shrinkage.w2, branch), model.shrinkage.v)
                loss = (
                    classification_loss(head.scores(maps), tags)
                    + settings.shrink.area * area_loss(maps, tags).value()
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def sampled(x: Tensor, weight: Tensor, branch: OffsetBranch) -> Tensor:
    """Deformable convolution by torchvision, and ReLU."""
    return F.relu(deform_conv2d(x, branch(x), weight, padding=weight.shape[-1] // 2))


def branches(model: Localizer) -> tuple[OffsetBranch, OffsetBranch]:
    """Both offset branches."""
    one, two = model.expansion.sampler, model.shrinkage.sampler
    assert one is not None
    assert two is not None
    return one, two


def distance(one: nn.Module, two: nn.Module) -> float:
    """Between the parameters of two modules of one shape, relative to the second's length."""
    first, second = (
        torch.cat([p.detach().flatten() for p in module.parameters()]) for module in (one, two)
    )
    return float((first - second).norm() / second.norm())


class Watched(Inputs):
    """Inputs that note how long the loop waits for them."""

    waited = (0.0,)

    def batches(self, *given: Any, **named: Any) -> Iterator[Batch]:
        """As the parent's, with a clock at each step."""
        source, total = super().batches(*given, **named), self.waited[0]
        while True:
            begun = time.perf_counter()
            batch = next(source, None)
            total += time.perf_counter() - begun
            object.__setattr__(self, "waited", (total,))
            if batch is None:
                return
            yield batch


if __name__ == "__main__":
    main()
