"""Reading photos of 12 megapixels for a network: decoded whole and resized, against ours.

    python benchmarks/decode.py [FOLDER]

Photos of the folder, or drawn ones, are enlarged to 4000 x 3000 pixels, with noise at several
scales in the place of the texture that they lack, and stored as JPEG of quality 90. The error is
the mean difference of the resized photos' values, 0 .. 255.
"""

import tempfile
from pathlib import Path

import numpy as np
from common import Report, alternate, parser_of, within
from PIL import Image

from esol import write_synthetic
from esol.data.images import load_image
from esol.data.transforms import squash

SIZE, QUICK_SIZE = (4000, 3000), (1600, 1200)
SIDES, QUICK_SIDES = (224, 320, 480), (96,)
NOISE, MOST = 6.0, 1.0


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="photos; drawn ones without it")
    parser.add_argument("--photos", type=int, default=4, help="how many of them")
    options = parser.parse_args()
    report = Report("decode", options)
    with tempfile.TemporaryDirectory() as name:
        drawn = Path(name, "drawn")
        if options.folder is None:
            write_synthetic(drawn, photos=8, size=256, seed=0, hard=True)
        paths = sorted((options.folder or drawn / "images").glob("*.jpg"))
        chosen = paths[:: max(1, len(paths) // options.photos)][: options.photos]
        size = QUICK_SIZE if options.quick else SIZE
        photos = [enlarged(path, size, Path(name, path.name)) for path in chosen]
        for side in QUICK_SIDES if options.quick else SIDES:
            apart = (values(whole(p, side)) - values(ours(p, side)) for p in photos)
            error = max(float(np.abs(one).mean()) for one in apart)
            taken = alternate(
                lambda side=side: [whole(photo, side) for photo in photos],
                lambda side=side: [ours(photo, side) for photo in photos],
                options.repeats,
            )
            case = f"{len(photos)} JPEGs of {size[0]} x {size[1]} to {side}²"
            row = report.add(case, taken, within(error, MOST, case))
        report.ours_ran()
    report.finish(row)


def whole(path: Path, side: int) -> Image.Image:
    """Theirs."""
    return load_image(path).resize((side, side), Image.Resampling.BICUBIC)


def ours(path: Path, side: int) -> Image.Image:
    """As training reads a photo."""
    return squash(load_image(path, (side, side)), side)


def values(image: Image.Image) -> np.ndarray:
    """(H, W, 3) floats."""
    return np.asarray(image, np.float64)


def enlarged(source: Path, size: tuple[int, int], path: Path) -> Path:
    """A photo of ``size`` (width, height) with noise of one, two and four pixels."""
    pixels = np.asarray(load_image(source).resize(size, Image.Resampling.BICUBIC), np.float32)
    rng = np.random.default_rng(0)
    for cell in (1, 2, 4):
        noise = rng.normal(0, NOISE, (size[1] // cell, size[0] // cell, 1)).astype(np.float32)
        pixels = pixels + noise.repeat(cell, 0).repeat(cell, 1)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


if __name__ == "__main__":
    main()
