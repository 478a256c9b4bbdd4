"""Photos and the same photos enlarged five times: do maps lose by it? Prints a Markdown table.

    python studies/large_photos.py VOC --weights mobilenetv2.safetensors

VOC is a folder in VOC's layout with the class cat. 20 photos with a cat and 20 without one are
learned from by the tags "cat" and "other", by a frozen MobileNetV2 with input.resize: crop; twice,
from the photos as they are and enlarged. The seeds of the cats are measured at the size of each.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import esol
from esol.data.images import load_image, save_mask
from esol.data.sample import IGNORE, Sample
from esol.runs.folder import RunFolder
from esol.settings import Data

Mask = NDArray[np.uint8]

CLASS, EACH, FACTOR = "cat", 20, 5
CONFIG = """
data: {{kind: folder, train: train, evaluate: [train]}}
input: {{size: 320, resize: crop}}
backbone: {{name: mobilenetv2_100, weights: {weights}, learn: []}}
head: {{width: 256, kernel: 1}}
classify:
  fit: {{steps: 60, batch: 8, optimizer: adamw, lr: 1.0e-3, weight_decay: 1.0e-2}}
  classifier_lr: 5.0
cams: {{scales: {scales}, flip: false}}
seeds: {{threshold: 0.2}}
refine: {{methods: []}}
masks: {{source: seeds}}
segment: {{network: none}}
"""


def main() -> None:
    """Make both sets, train on both, and print what is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder in VOC's layout, with masks")
    parser.add_argument("--weights", default="imagenet", help="of the MobileNetV2")
    parser.add_argument("--scales", default="[1.0]", help="cams.scales")
    parser.add_argument("--method", default="cam", help="cam or esol")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(CONFIG.format(weights=options.weights, scales=options.scales))
        settings = esol.load_settings(str(config), f"--method={options.method}")
        chosen = list(photos(options.data))
        print("| photos | maps | IoU at 0.20 | best IoU | at |\n|---|---|---|---|---|")
        for factor in (1, FACTOR):
            data, run = Path(folder, f"data{factor}"), Path(folder, f"run{factor}")
            write(data, chosen, factor)
            esol.run(settings, data, run)
            for row in rows(RunFolder(run), factor):
                print(row, flush=True)


def photos(root: Path) -> Iterator[tuple[Sample, Mask | None]]:
    """Photos to learn from, and the mask of those that show the class: 1, 0 and 255."""
    data = esol.open_dataset(root, Data(kind="voc", train="train_aug", evaluate=("train", "val")))
    index, left = data.classes.index(CLASS), {True: EACH, False: EACH}
    for sample in data.samples(*data.splits):
        shows = index in sample.tags
        if sample.mask is not None and data.truth is not None and left[shows]:
            left[shows] -= 1
            truth = data.truth(sample)
            values = np.where(truth == IGNORE, IGNORE, truth == index + 1).astype(np.uint8)
            yield sample, values if shows else None


def write(data: Path, chosen: list[tuple[Sample, Mask | None]], factor: int) -> None:
    """A data folder of the photos, enlarged; those of the class have masks."""
    (data / "images").mkdir(parents=True)
    (data / "classes.txt").write_text(f"{CLASS}\nother\n")
    table = ["image,labels"]
    for sample, mask in chosen:
        photo, name = load_image(sample.image), Path(sample.name).name
        size = (photo.width * factor, photo.height * factor)
        # Lossless: both sets hold the same pictures.
        photo.resize(size, Image.Resampling.BICUBIC).save(data / f"images/{name}.png")
        table.append(f"images/{name}.png,{'other' if mask is None else CLASS}")
        if mask is not None:
            large = Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)
            save_mask(np.asarray(large), data / f"masks/{name}.png")
    (data / "labels.csv").write_text("\n".join(table) + "\n")


def rows(run: RunFolder, factor: int) -> Iterator[str]:
    """Lines of the table."""
    for kind in run.settings().map_kinds:
        measured = run.metrics()["lists"]["train"][kind]
        fixed, best = measured["fixed"], measured["best_on_ground_truth"]
        values = (entry["per_class"][CLASS]["iou"] for entry in (fixed, best))
        what = "as they are" if factor == 1 else f"enlarged {factor} times"
        shown = " | ".join(f"{value:.3f}" for value in values)
        yield f"| {what} | {kind} | {shown} | {best['threshold']:.2f} |"


if __name__ == "__main__":
    main()
