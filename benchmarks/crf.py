"""Dense CRF against pydensecrf: ten mean field iterations, lattice building included.

python benchmarks/crf.py [folder of photos] [--repeats 3] [--photos 4] [--megapixels]
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydensecrf.densecrf
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from esol.ops.crf import dense_crf, unary_from_labels, unary_from_probabilities

SETS = {  # spatial, bilateral, from labels
    "IRN labels": ((3, 3), (50, 5, 10), True),
    "DeepLab": ((1, 3), (67, 3, 4), False),
    "PSA": ((3, 3), (80, 13, 10), False),
}
LABELS = (2, 4, 21)
HEADLINE = ("IRN labels", 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="photos; drawn pictures without it")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument(
        "--megapixels", action="store_true", help="only ours, 4000 x 3000, for its peak memory"
    )
    options = parser.parse_args()
    photos = read(options.folder, options.photos) if options.folder else drawn(options.photos)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if options.megapixels:
        large(photos[0])
        return
    print(
        "| settings | labels | pydensecrf | ours | ratio | equal labels | 99.9 % of errors below |"
    )
    print("|---|---|---|---|---|---|---|")
    ratios, errors = {}, []
    for name in SETS:
        for labels in LABELS:
            ratios[name, labels], error = compare(photos, name, labels, options.repeats)
            errors.append(error)
    report(round(ratios[HEADLINE], 2), max(errors))


def report(ratio: float | None, error: float | None) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"name": "crf", "ratio": ratio, "max_error": error, "peak_mb": peak}))


def compare(photos: list[Tensor], name: str, labels: int, repeats: int) -> tuple[float, float]:
    """Time both on every photo, in turns, after checking that they agree."""
    spatial, bilateral, _ = SETS[name]
    times: tuple[list[float], list[float]] = ([], [])
    equal, worst = [], 0.0
    for image in photos:
        unary = energies(name, labels, *image.shape[:2])
        theirs = peer(unary, image, spatial, bilateral)
        ours = dense_crf(unary, image, spatial=spatial, bilateral=bilateral)
        equal.append(float((ours.argmax(0) == theirs.argmax(0)).float().mean()))
        difference = (ours - theirs).abs().flatten()
        error = float(difference.kthvalue(int(0.999 * len(difference))).values)
        assert equal[-1] >= 0.995, f"labels differ: {equal[-1]} equal"
        assert error < 1e-2, f"probabilities differ by {error}"
        worst = max(worst, error)
        for kept, step in (
            (times[0], lambda u=unary, i=image: peer(u, i, spatial, bilateral)),
            (
                times[1],
                lambda u=unary, i=image: dense_crf(u, i, spatial=spatial, bilateral=bilateral),
            ),
        ):
            kept.append(median(step, repeats))
    their_time, our_time = (statistics.mean(kept) for kept in times)
    print(
        f"| {name} | {labels} | {their_time:.3f} s | {our_time:.3f} s |"
        f" {their_time / our_time:.2f} | {100 * min(equal):.3f} % | {worst:.0e} |"
    )
    return their_time / our_time, worst


def median(step: Callable[[], object], repeats: int) -> float:
    """Seconds, the middle of several."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def peer(
    unary: Tensor, image: Tensor, spatial: tuple[float, float], bilateral: tuple[float, ...]
) -> Tensor:
    labels, height, width = unary.shape
    model = pydensecrf.densecrf.DenseCRF2D(width, height, labels)
    model.setUnaryEnergy(unary.numpy().reshape(labels, -1))
    model.addPairwiseGaussian(sxy=spatial[0], compat=spatial[1])
    model.addPairwiseBilateral(
        sxy=bilateral[0], srgb=bilateral[1], rgbim=image.numpy(), compat=bilateral[2]
    )
    return torch.from_numpy(np.array(model.inference(10))).view(unary.shape)


def energies(name: str, labels: int, height: int, width: int) -> Tensor:
    """Of smooth random scores: (L, H, W)."""
    generator = torch.Generator().manual_seed(labels)
    coarse = torch.randn(1, labels, height // 32 + 2, width // 32 + 2, generator=generator)
    scores = F.interpolate(3 * coarse, (height, width), mode="bilinear")[0].softmax(0)
    if SETS[name][2]:
        return unary_from_labels(scores.argmax(0), labels, 0.7)
    return unary_from_probabilities(scores)


def large(image: Tensor) -> None:
    """The photo enlarged to twelve megapixels, sensor noise added, four labels."""
    height, width = 3000, 4000
    name, labels = HEADLINE
    enlarged = F.interpolate(image.permute(2, 0, 1)[None], (height, width), mode="bilinear")[0]
    noise = torch.randint(-3, 4, (height, width, 1), dtype=torch.int16)
    image = (enlarged.permute(1, 2, 0).short() + noise).clamp_(0, 255).to(torch.uint8)
    del enlarged, noise
    unary = energies(name, labels, height, width)
    spatial, bilateral, _ = SETS[name]
    begun = time.perf_counter()
    dense_crf(unary, image, spatial=spatial, bilateral=bilateral)
    print(f"{width} x {height}, {labels} labels: {time.perf_counter() - begun:.1f} s")
    report(None, None)


def read(folder: Path, count: int) -> list[Tensor]:
    """Some photos of a folder, spread over its names."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    photos = []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        with Image.open(path) as photo:
            photos.append(torch.from_numpy(np.array(photo.convert("RGB"))))
    return photos


def drawn(count: int) -> list[Tensor]:
    """Pictures of shaded discs with noise, 375 x 500."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(375), torch.arange(500), indexing="ij")
    pictures = []
    for _ in range(count):
        picture = (x / 4 + y / 8).unsqueeze(2).repeat(1, 1, 3)
        for _ in range(12):
            centre_y, centre_x, radius = torch.rand(3, generator=generator).tolist()
            inside = (y - centre_y * 375) ** 2 + (x - centre_x * 500) ** 2 < (radius * 120) ** 2
            picture[inside] = picture[inside] / 2 + 127 * torch.rand(3, generator=generator)
        picture += 6 * torch.randn(375, 500, 3, generator=generator)
        pictures.append(picture.clamp(0, 255).to(torch.uint8))
    return pictures


if __name__ == "__main__":
    main()
