"""Dense CRF against pydensecrf: ten mean field iterations, lattice building included.

    python benchmarks/crf.py FOLDER [--profile] [--megapixels] [--device cuda]

Photos are resized to a longest side of 500 pixels. Equality: as good as all pixels get the same
label; the error is the one that 99.9 % of the probabilities stay below, because on a border between
two cells of the lattice the last digit of a colour decides. With --device cuda only ours is there.
"""

import statistics
from pathlib import Path

import numpy as np
import pydensecrf.densecrf
import torch
from common import Report, Row, Taken, add_profile, alternate, clock, parser_of, shares, within
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from esol.ops.crf import dense_crf, unary_from_labels, unary_from_probabilities

SETS = {  # spatial, bilateral, from labels
    "DeepLab": ((1, 3), (67, 3, 4), False),
    "PSA": ((3, 3), (80, 13, 10), False),
    "IRN labels": ((3, 3), (50, 5, 10), True),
}
LABELS = (2, 21, 4)
"""The last of both is the headline."""

ITERATIONS, LONGEST = 10, 500


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="photos; drawn pictures without it")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument(
        "--megapixels", action="store_true", help="only ours, 4000 x 3000, for its peak memory"
    )
    add_profile(parser)
    options = parser.parse_args()
    report = Report("crf", options)
    if options.quick:
        photos = [photo[:60, :80].contiguous() for photo in drawn(1)]
    else:
        photos = read(options.folder, options.photos) if options.folder else drawn(options.photos)
    if options.megapixels:
        large(report, photos[0])
        return
    names = ["IRN labels"] if options.quick else list(SETS)
    for name in names:
        energy = energies(name, max(LABELS), *photos[0].shape[:2])
        own(energy.to(options.device), photos[0].to(options.device), name)
    report.ours_ran()
    for name in names:
        for labels in LABELS:
            row = compare(report, photos, name, labels, options.repeats)
    # IRN's labels are made of two seeds; with masks of a third threshold of three.
    for seeds in (2, 3):
        compare(report, photos, "IRN labels", 2, options.repeats, seeds)
    if options.profile:
        unary = energies(name, labels, *photos[0].shape[:2]).to(options.device)
        image = photos[0].to(options.device)
        shares(lambda: own(unary, image, name))
    report.finish(row)


def compare(
    report: Report, photos: list[Tensor], name: str, labels: int, repeats: int, seeds: int = 1
) -> Row:
    """Time both on every photo, in turns, after checking that they agree.

    Several seeds of a photo are one call of ours and as many of theirs.
    """
    taken, equal, worst = [], [], 0.0
    for image in photos:
        sizes = [(labels, *image.shape[:2], seed) for seed in range(seeds)]
        unary = torch.stack([energies(name, *size) for size in sizes])
        there, seen = unary.to(report.device), image.to(report.device)
        theirs, ours = peer(unary, image, name), own(there, seen, name).cpu()
        equal.append(float((ours.argmax(1) == theirs.argmax(1)).float().mean()))
        within(1 - equal[-1], 0.005, f"{name}, {labels} labels: share of pixels")
        difference = (ours - theirs).abs().flatten()
        error = float(difference.kthvalue(int(0.999 * len(difference))).values)
        worst = max(worst, within(error, 1e-2, f"{name}, {labels} labels: probabilities"))
        taken.append(
            alternate(
                lambda u=unary, i=image: peer(u, i, name),
                lambda u=there, i=seen: own(u, i, name),
                repeats,
                warm=False,
            )
        )
    times = Taken(*map(statistics.mean, zip(*taken, strict=True)))
    pixels = statistics.mean(photo.shape[0] * photo.shape[1] for photo in photos)
    flop, byte = counted(pixels, labels * seeds)
    case = f"{name}, {labels} labels, {len(photos)} photos of {round(pixels / 1000)},000 pixels"
    case += f", {seeds} seeds of each" if seeds > 1 else ""
    print(f"{case}: {100 * min(equal):.3f} % of the labels equal")
    return report.add(case, times, worst, flop=flop, byte=byte)


def counted(pixels: float, labels: int) -> tuple[float, float]:
    """Operations and bytes of ten iterations, without the blur, whose size the photo decides.

    A pixel lies between 3 and 6 corners of the two lattices; splat and slice add one product a
    corner and label, read a corner's number and weight, and the marginals, unaries and messages.
    """
    corners = 3 + 6
    flop = ITERATIONS * pixels * labels * (2 * 2 * corners + 10)
    return flop, ITERATIONS * pixels * 4 * (2 * 2 * corners + 5 * labels)


def own(unary: Tensor, image: Tensor, name: str) -> Tensor:
    spatial, bilateral, _ = SETS[name]
    return dense_crf(unary, image, spatial=spatial, bilateral=bilateral, iterations=ITERATIONS)


def peer(unary: Tensor, image: Tensor, name: str) -> Tensor:
    return torch.stack([peers_only(one, image, name) for one in unary])


def peers_only(unary: Tensor, image: Tensor, name: str) -> Tensor:
    spatial, bilateral, _ = SETS[name]
    labels, height, width = unary.shape
    model = pydensecrf.densecrf.DenseCRF2D(width, height, labels)
    model.setUnaryEnergy(unary.numpy().reshape(labels, -1))
    model.addPairwiseGaussian(sxy=spatial[0], compat=spatial[1])
    model.addPairwiseBilateral(
        sxy=bilateral[0], srgb=bilateral[1], rgbim=image.numpy(), compat=bilateral[2]
    )
    return torch.from_numpy(np.array(model.inference(ITERATIONS))).view(unary.shape)


def energies(name: str, labels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Of smooth random scores: (L, H, W)."""
    generator = torch.Generator().manual_seed(labels + 100 * seed)
    coarse = torch.randn(1, labels, height // 32 + 2, width // 32 + 2, generator=generator)
    scores = F.interpolate(3 * coarse, (height, width), mode="bilinear")[0].softmax(0)
    if SETS[name][2]:
        return unary_from_labels(scores.argmax(0), labels, 0.7)
    return unary_from_probabilities(scores)


def large(report: Report, image: Tensor) -> None:
    """The photo enlarged to twelve megapixels, sensor noise added, four labels."""
    height, width = 3000, 4000
    enlarged = F.interpolate(image.permute(2, 0, 1)[None], (height, width), mode="bilinear")[0]
    noise = torch.randint(-3, 4, (height, width, 1), dtype=torch.int16)
    image = (enlarged.permute(1, 2, 0).short() + noise).clamp_(0, 255).to(torch.uint8)
    del enlarged, noise
    unary = energies("IRN labels", 4, height, width).to(report.device)
    image = image.to(report.device)
    taken = clock(lambda: own(unary, image, "IRN labels"))
    report.ours_ran()
    report.finish(report.add(f"IRN labels, 4 labels, {width} x {height}, ours alone", taken, 0.0))


def read(folder: Path, count: int) -> list[Tensor]:
    """Some photos of a folder, spread over its names, enlarged or reduced to one longest side."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    photos = []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        with Image.open(path) as photo:
            scale = LONGEST / max(photo.size)
            size = [round(scale * side) for side in photo.size]
            resized = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)  # type: ignore[arg-type]
            photos.append(torch.from_numpy(np.array(resized)))
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
