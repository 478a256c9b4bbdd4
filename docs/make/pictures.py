"""The pictures of docs/method.md and README.md: python docs/make/pictures.py RUN.

RUN is a run of `esol demo`, which is made if it is not there. The same run gives the same pictures.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

import esol
from esol.cli.demo import demo
from esol.data import Dataset, Sample
from esol.data.images import colour, load_image, load_mask
from esol.data.transforms import squash, to_tensor
from esol.maps.files import load_maps
from esol.method.localizer import Localizer
from esol.reproduce.figures import heat
from esol.runs.folder import RunFolder
from esol.settings import Settings
from esol.stages.fitting import trained_localizer
from esol.stages.job import Job

FOLDER = Path(__file__).resolve().parents[1] / "pictures"

PHOTOS = {"00229": "bullseye", "00239": "tricolour", "00231": "pinwheel"}
"""Photos of the list val and the tag whose maps are shown: where it works twice, and where not."""

SHORT = {"00229": "bullseye", "00239": "tricolour", "00243": "pinwheel"}
"""Those of README's picture."""

SIDE = 168
_GAP, _HEAD = 4, 20


def main() -> None:
    """Make the run where it is missing, then draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    settings = esol.load_settings("demo")
    demo(run, settings)
    data = esol.open_dataset(run / "data", settings.data)
    samples = {sample.name: sample for sample in data.samples(*settings.data.evaluate)}
    chosen, short = (
        [(samples[name], data.classes.index(tag)) for name, tag in photos.items()]
        for photos in (PHOTOS, SHORT)
    )
    FOLDER.mkdir(exist_ok=True)
    _write(
        "maps.webp",
        ("photo", "CAM", "Expansion", "Shrinkage", "ground truth"),
        [_maps(run, data, *one) for one in chosen],
    )
    model = trained_localizer(Job(settings, data, RunFolder(run)), "expand", "shrink").cpu().eval()
    _write(
        "expansion.webp",
        ("photo", "its offsets", "W1", "sampled", "and clipped"),
        [_expansion(model, settings, sample) for sample, _ in chosen[:2]],
    )
    _write(
        "shrinkage.webp",
        ("photo", "its offsets", "Expansion", "Shrinkage"),
        [_shrinkage(run, model, settings, *one) for one in chosen[:2]],
    )
    _write(
        "masks.webp",
        ("photo", "seed of CAM", "of Shrinkage", "final mask", "network", "ground truth"),
        [_masks(run, data, settings, sample) for sample, _ in chosen],
    )
    _write(
        "demo.webp",
        ("photo", "CAM", "ESOL", "final mask"),
        [_short(run, *one) for one in short],
    )


def _maps(run: Path, data: Dataset, sample: Sample, tag: int) -> list[Image.Image]:
    assert data.truth is not None
    photo = load_image(sample.image)
    kinds = ("cam", "expansion", "shrinkage")
    return [photo, *(_heat(run, kind, sample, tag) for kind in kinds), colour(data.truth(sample))]


def _heat(run: Path, kind: str, sample: Sample, tag: int) -> Image.Image:
    found = load_maps(RunFolder(run).stage("cams") / kind / f"{sample.name}.npz")
    scores = found.full()[list(found.classes).index(tag)]
    return heat(scores, load_image(sample.image))


def _masks(run: Path, data: Dataset, settings: Settings, sample: Sample) -> list[Image.Image]:
    assert data.truth is not None
    found = {
        kind: load_maps(RunFolder(run).stage("cams") / kind / f"{sample.name}.npz")
        for kind in ("cam", "shrinkage")
    }
    seeds = [esol.seed(m.full(), m.classes, settings.seeds.threshold) for m in found.values()]
    masks = (*seeds, *_finished(run, sample), data.truth(sample))
    return [load_image(sample.image), *(colour(mask) for mask in masks)]


def _finished(run: Path, sample: Sample) -> list[NDArray[np.uint8]]:
    """The final mask, and the network's."""
    return [
        load_mask(RunFolder(run).masks(kind) / f"{sample.name}.png")
        for kind in ("masks", "segmentation")
    ]


def _short(run: Path, sample: Sample, tag: int) -> list[Image.Image]:
    """Photo, CAM, the map with which the method ends, the mask made of it."""
    maps = (_heat(run, kind, sample, tag) for kind in ("cam", "shrinkage"))
    return [load_image(sample.image), *maps, colour(_finished(run, sample)[0])]


@torch.no_grad()
def _expansion(model: Localizer, settings: Settings, sample: Sample) -> list[Image.Image]:
    """Offsets, and what W1 makes of the features: plain, sampled, clipped; means over channels."""
    features = _features(model, settings, sample)
    expansion, photo = model.expansion, load_image(sample.image)
    assert expansion.sampler is not None
    clip, expansion.clip = expansion.clip, 1.0
    sampled = expansion(features)
    expansion.clip = clip
    planes = (F.relu(model.classifier.head.w1(features)), sampled, expansion(features))
    return [
        photo,
        _arrows(expansion.sampler(features), photo, 1),
        *(_mean(plane, photo) for plane in planes),
    ]


@torch.no_grad()
def _shrinkage(
    run: Path, model: Localizer, settings: Settings, sample: Sample, tag: int
) -> list[Image.Image]:
    photo, sampler = load_image(sample.image), model.shrinkage.sampler
    assert sampler is not None
    offsets = sampler(model.expansion(_features(model, settings, sample)))
    maps = (_heat(run, kind, sample, tag) for kind in ("expansion", "shrinkage"))
    return [photo, _arrows(offsets, photo, 1), *maps]


def _features(model: Localizer, settings: Settings, sample: Sample) -> Tensor:
    image = squash(load_image(sample.image), settings.input.size)
    features: Tensor = model.backbone(to_tensor(image, model.backbone.normalisation)[None])
    return features


def _mean(plane: Tensor, photo: Image.Image) -> Image.Image:
    """(1, D, h, w) activations as one plane over the photo, divided by its maximum."""
    mean = plane.mean(dim=1, keepdim=True)
    size = (photo.height, photo.width)
    full = F.interpolate(mean / mean.max(), size, mode="bilinear", align_corners=False)
    return heat(full[0, 0].numpy(), photo)


def _arrows(offsets: Tensor, photo: Image.Image, factor: float) -> Image.Image:
    """The mean offset over the kernel's taps, ``factor`` times as long, from each cell's centre."""
    _, _, h, w = offsets.shape
    moves: NDArray[np.float32] = offsets[0].view(-1, 2, h, w).mean(dim=0).numpy()
    zoom = 3  # drawn larger and reduced, for smooth lines
    picture = photo.convert("RGB").resize((photo.width * zoom, photo.height * zoom))
    picture = Image.blend(picture, Image.new("RGB", picture.size, "white"), 0.45)
    draw = ImageDraw.Draw(picture)
    cell = np.array([picture.height / h, picture.width / w])
    for y in range(h):
        for x in range(w):
            start = (np.array([y, x]) + 0.5) * cell
            end = start + factor * moves[:, y, x] * cell
            draw.line([*start[::-1], *end[::-1]], fill=(20, 40, 130), width=5)
            draw.ellipse([*(end[::-1] - 6), *(end[::-1] + 6)], fill=(200, 30, 60))
    return picture


def _write(name: str, captions: tuple[str, ...], rows: list[list[Image.Image]]) -> None:
    """Photos down, what was made of them across, captions above."""
    step = SIDE + _GAP
    heights = [max(_fitted(picture).height for picture in row) for row in rows]
    size = (step * len(captions) - _GAP, _HEAD + sum(heights) + _GAP * (len(rows) - 1))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, caption in enumerate(captions):
        draw.text((column * step + SIDE / 2, _HEAD / 2), caption, "black", font, "mm")
    top = _HEAD
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            fitted = _fitted(picture)
            sheet.paste(fitted, (column * step + (SIDE - fitted.width) // 2, top))
        top += height + _GAP
    sheet.save(FOLDER / name, quality=86, method=6)
    print(FOLDER / name, (FOLDER / name).stat().st_size)


def _fitted(picture: Image.Image) -> Image.Image:
    """The picture SIDE pixels wide at most. Masks keep their colours: nearest neighbour."""
    scale = SIDE / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    if picture.mode == "P":
        return picture.resize(size, Image.Resampling.NEAREST).convert("RGB")
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
