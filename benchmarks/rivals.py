"""The original IRN against ours, stage by stage, on the same photos and one thread of a CPU.

    git clone https://github.com/jiwoon-ahn/irn CHECKOUT
    pip install scikit-image imageio opencv-python-headless pydensecrf2
    OMP_NUM_THREADS=1 python benchmarks/rivals.py --irn CHECKOUT DATA --kind voc

The checkout is yours and runs as it is, in a process of its own (irn_checkout.py); nothing of it
is part of this repository. Both have ResNet-50 with random weights. Ours computes each stage twice:
with the settings of voc12, in the precision that auto is here, and with exactly IRN's work in
float32: the classifier without W1 and W2, CAM alone, IRNet with its displacements. Figures are
CPU seconds a photo, for trainings a view of 512 pixels; the walk has as many photos as
--walk-photos says, as IRN takes minutes for each.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import Report, Row, Taken, parser_of, rounded
from irn_checkout import STAGES
from networks import Linear, add_data, read
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from esol import load_settings
from esol.data.batch import Batch, Losses
from esol.data.images import image_size, load_image, save_mask
from esol.data.sample import Sample
from esol.data.transforms import reduced
from esol.maps.files import Maps
from esol.maps.localize import Network, batches_of_one_size, localize
from esol.masks.crf import confident_labels, crf_masks
from esol.masks.refine import boundaries, spread_maps
from esol.masks.seeds import photo_seed
from esol.method.classifier import Classifier
from esol.method.localizer import Localizer
from esol.method.losses import classification_loss, classify_losses
from esol.networks.affinity import AffinityNet, affinity_losses
from esol.networks.backbone import Backbone
from esol.settings import Fit, Settings
from esol.system.allocator import keep_memory
from esol.system.precision import Asked, resolved
from esol.training.fit import LossFunction, TrainingRun, fit
from esol.training.inputs import Inputs, MaskFolder, photo_inputs

CLASSES, LONGEST = 20, 500
TITLES = {
    "classifier": "classifier, a view at 512",
    "maps": "maps, 4 scales and mirrored",
    "labels": "labels for IRNet (two CRFs)",
    "IRNet": "IRNet, a view at 512",
    "walk": "walk with its edges",
}
WAYS = ("voc12", "exactly IRN's work")
CPU = torch.device("cpu")


def main() -> None:
    parser = parser_of(__doc__)
    add_data(parser, "resnet50")
    parser.add_argument("--irn", type=Path, required=True, metavar="CHECKOUT", help="IRN's code")
    parser.add_argument("--walk-photos", type=int, default=1, help="photos of IRN's walk; 0: none")
    parser.add_argument("--batch", type=int, default=4, help="views of a training step")
    parser.set_defaults(photos=12, device="cpu")
    options = parser.parse_args()
    options.irn = options.irn.resolve()
    files = [f"{module.replace('.', '/')}.py" for module in STAGES.values()]
    for file in files:
        if not (options.irn / file).is_file():
            raise SystemExit(f"{options.irn}: no {file}: give a clone of github.com/jiwoon-ahn/irn")
    if options.photos < 3 * options.batch:
        raise SystemExit(f"--photos {options.photos}: give three batches or more, or lower --batch")
    torch.set_flush_denormal(True)
    keep_memory()  # as the command line does; IRN's code runs in another process
    report = Report("rivals", options)
    with tempfile.TemporaryDirectory() as folder:
        samples = prepared(options, Path(folder))
        # First: it may lack something.
        theirs = of_checkout(options, Path(folder))
        ours = {way: Ours(options, samples, Path(folder, way), way).stages() for way in WAYS}
        report.ours_ran()
    rows = [*map(partial(row_of, report, theirs), *zip(*pairs(ours), strict=True))]
    print(f"voc12 in {'float32' if resolved('auto', CPU) == 'no' else 'bfloat16'}")
    print(table(theirs, ours))
    report.finish(rows[0])


def prepared(options: Namespace, folder: Path) -> tuple[Sample, ...]:
    """The first photos as IRN wants them: names of VOC, JPEG, at most 500 pixels, 20 classes."""
    (folder / "drawn").mkdir()
    data = read(options, str(folder / "drawn"))
    if len(data.classes) > CLASSES:
        raise SystemExit(f"{len(data.classes)} classes: IRN has {CLASSES}; choose some: --classes")
    given = [sample for sample in data.samples(options.list) if sample.tags]
    samples = []
    for directory in ("JPEGImages", "voc12"):
        (folder / directory).mkdir()
    for number, sample in enumerate((given * options.photos)[: options.photos]):
        name = f"2007_{number:06d}"
        path = folder / "JPEGImages" / f"{name}.jpg"
        reduced(load_image(sample.image), LONGEST).save(path, quality=95, subsampling=0)
        samples.append(replace(sample, name=name, image=path))
        # IRNet's, where no CRF makes others.
        labels = np.zeros(image_size(path), np.uint8)
        labels[:, labels.shape[1] // 2 :] = sample.tags[0] + 1
        save_mask(labels, folder / "labels" / f"{name}.png")
    names = [sample.name.replace("_", "") for sample in samples]
    (folder / "list.txt").write_text("\n".join(names) + "\n")
    tags = {int(n): np.isin(range(CLASSES), s.tags) for n, s in zip(names, samples, strict=True)}
    of_number = {number: values.astype(np.float32) for number, values in tags.items()}
    np.save(folder / "voc12" / "cls_labels.npy", of_number, allow_pickle=True)  # type: ignore[arg-type]
    return tuple(samples)


def of_checkout(options: Namespace, folder: Path) -> dict[str, float | str]:
    """Stage -> CPU seconds, or why there are none."""
    script = Path(__file__).with_name("irn_checkout.py")
    words = [options.irn, folder, options.batch, options.walk_photos]
    done = subprocess.run(
        [sys.executable, str(script), *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    if done.returncode:
        raise SystemExit(f"{options.irn}: its code does not run; the lines above say why")
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass
class Ours:
    """Our stages, in one of two ways."""

    options: Namespace
    samples: tuple[Sample, ...]
    folder: Path
    way: str

    def __post_init__(self) -> None:
        self.settings = self._settings()
        self.exact = self.way != WAYS[0]
        asked: Asked = "no" if self.exact else "auto"
        self.precision = resolved(asked, CPU)
        (self.folder / "labels").mkdir(parents=True)
        torch.manual_seed(0)

    def _settings(self) -> Settings:
        small = self.options.quick
        name = "test_resnet" if small else self.options.backbone
        flags = [f"--backbone.name={name}", "--backbone.weights=none", "--machine.device=cpu"]
        if small:
            flags += ["--input.size=64", "--refine.affinity.input.size=64"]
        return load_settings("voc12", *flags, "--machine.workers=0")

    def stages(self) -> dict[str, float]:
        """Stage -> CPU seconds."""
        settings = self.settings
        classifier = Classifier.start(settings, CLASSES)
        network: nn.Module = Linear(classifier.backbone, CLASSES) if self.exact else classifier
        losses: LossFunction = plain_losses if self.exact else classify_losses
        view = settings.input, classifier.backbone.normalisation
        inputs = photo_inputs(self.samples, CLASSES, *view)
        found = {"classifier": self.trained(network, losses, inputs, settings.classify.fit)}
        localizer = network if self.exact else Localizer.start(settings, classifier)
        found["maps"], maps = self.mapped(localizer.requires_grad_(False).eval())
        found["labels"] = self.each(self.samples, partial(self.label, maps))
        # Frozen, as IRN's.
        backbone = Backbone.fixed(settings.backbone).eval().fold()
        irnet = AffinityNet(backbone, displacement=self.exact or settings.refine.instances)
        affinity = settings.refine.affinity
        labelled = photo_inputs(
            *(self.samples, CLASSES, affinity.input, backbone.normalisation),
            MaskFolder(self.folder / "labels"),
        )
        pairs_of = partial(affinity_losses, radius=affinity.radius)
        found["IRNet"] = self.trained(irnet, pairs_of, labelled, affinity.fit)
        walked = self.samples[: max(1, self.options.walk_photos)]
        found["walk"] = self.each(walked, partial(self.walk, irnet.eval(), maps))
        return found

    def trained(
        self, network: nn.Module, losses: LossFunction, inputs: Inputs, given: Fit
    ) -> float:
        """CPU seconds a view, from the end of one step to that of the next."""
        marks: list[float] = []
        hook = register_optimizer_step_post_hook(lambda *_: marks.append(time.process_time()))
        machine = replace(self.settings.machine, checkpoint_seconds=1e9, precision=self.precision)
        few = replace(given, steps=3, batch=self.options.batch)
        learned = [p for p in network.parameters() if p.requires_grad]
        with tempfile.TemporaryDirectory(dir=self.folder) as path:
            fit(
                network,
                losses,
                inputs,
                [(learned, 1.0)],
                few,
                TrainingRun(Path(path), "", 0, machine),
            )
        hook.remove()
        return float(statistics.median(np.diff(marks))) / self.options.batch

    def mapped(self, network: nn.Module) -> tuple[float, dict[str, Maps]]:
        """CPU seconds a photo, and the maps that become seeds."""
        network.backbone.fold()
        settings, found = self.settings, {}
        begun = time.process_time()
        for batch in batches_of_one_size(self.samples, same=False):
            given = settings.cams, settings.input, None, self.precision
            for sample, size, kinds in localize([as_network(network)], batch, *given):
                tags = np.asarray(sample.tags, np.int64)
                found[sample.name] = Maps(tags, list(kinds.values())[-1], size)
        return (time.process_time() - begun) / len(self.samples), found

    def label(self, maps: dict[str, Maps], sample: Sample) -> None:
        """Labels for IRNet of one photo."""
        settings = self.settings.refine
        sure = (settings.affinity.foreground, settings.affinity.background)
        photo = load_image(sample.image)
        front, back = crf_masks(photo, maps[sample.name], sure, settings, CPU)
        save_mask(confident_labels(front, back), self.folder / "labels" / f"{sample.name}.png")

    def walk(self, network: AffinityNet, maps: dict[str, Maps], sample: Sample) -> None:
        """Mask of one photo."""
        settings, one = self.settings.refine, maps[sample.name]
        photo = load_image(sample.image)
        given = settings.affinity.input, settings.longest, self.precision
        edge, _ = boundaries(network, photo, *given)
        spread = replace(one, maps=spread_maps(one, edge, settings.walk))
        save_mask(photo_seed(spread, settings.threshold), self.folder / f"{sample.name}.png")

    def each(self, samples: Sequence[Sample], work: Callable[[Sample], None]) -> float:
        """CPU seconds a photo."""
        begun = time.process_time()
        for sample in samples:
            work(sample)
        return (time.process_time() - begun) / len(samples)


def as_network(network: nn.Module) -> Network:
    """Type of what makes maps."""
    return network  # type: ignore[return-value]


def plain_losses(model: Linear, batch: Batch) -> Losses:
    """IRN's: the mean of a 1 x 1 convolution of the features."""
    scores = model.v(model.backbone(batch.inputs)).mean(dim=(2, 3))
    return {"loss": classification_loss(scores, batch.tags)}


def pairs(ours: dict[str, dict[str, float]]) -> list[tuple[str, str, float]]:
    """(stage, way, seconds), stage by stage."""
    return [(stage, way, ours[way][stage]) for stage in TITLES for way in WAYS]


def row_of(
    report: Report, theirs: dict[str, float | str], stage: str, way: str, seconds: float
) -> Row:
    """A line of the CSV."""
    other = theirs[stage]
    taken = seconds if isinstance(other, str) else Taken(other, seconds, other / seconds)
    return report.add(f"{TITLES[stage]}: {way}", taken, None)


def table(theirs: dict[str, float | str], ours: dict[str, dict[str, float]]) -> str:
    """Markdown: CPU seconds, and IRN's over ours."""
    lines = ["| stage | IRN | ours, `voc12` | ours, exactly IRN's work |", "|---|---|---|---|"]
    for stage, title in TITLES.items():
        other = theirs[stage]
        cells = [other if isinstance(other, str) else f"{rounded(other, 3):g} s"]
        for way in WAYS:
            mine = ours[way][stage]
            ratio = "" if isinstance(other, str) else f" ({rounded(other / mine, 2):g})"
            cells.append(f"{rounded(mine, 3):g} s{ratio}")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
