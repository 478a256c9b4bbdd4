"""A small run with pseudo masks, made by hand: names with spaces, umlauts and folders."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from esol.data import open_dataset
from esol.data.images import load_mask, save_mask
from esol.runs.folder import RunFolder
from esol.runs.work import work_on
from esol.settings import Data, Settings
from esol.settings.load import dump_settings
from esol.system.files import write_atomic, write_json

CLASSES = ("dog", "traffic light", "Ährenfeld")
FILES = ("images/a b.jpg", "images/Käfer/0001.png", "images/cat/0001.jpg", "images/turned.jpg")
NAMES = ("Käfer/0001", "a b", "cat/0001", "turned")
SIZE = (29, 41)


def blobs(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A mask of several classes with holes, specks, parts that touch at corners, and 255."""
    noise = ndimage.gaussian_filter(rng.random((5, *SIZE)), (0, 2, 2))
    mask = noise.argmax(0).astype(np.uint8)
    mask[mask == 4] = 255
    specks = rng.random(SIZE) < 0.02
    return np.where(specks, rng.integers(0, 4, SIZE), mask).astype(np.uint8)


def make_run(place: Path) -> Path:
    """Data folder PLACE/data and run folder PLACE/run with the stage masks."""
    data, run = place / "data", place / "run"
    rng = np.random.default_rng(0)
    rows = ["image,labels"]
    for file in FILES:
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8))
        exif = Image.Exif()
        if "turned" in file:
            exif[0x0112] = 6
            image = image.transpose(Image.Transpose.ROTATE_90)
        image.save(data / file, exif=exif)
        rows.append(f"{file},{';'.join(CLASSES)}")
    write_atomic(data / "labels.csv", "\n".join(rows))
    write_atomic(data / "classes.txt", "\n".join(CLASSES))
    settings = Settings(data=Data())
    dataset = open_dataset(data, settings.data)
    assert tuple(s.name for s in dataset.splits["train"]) == NAMES
    identity = {"after": {}, "data": dataset.fingerprint("train")}
    with work_on(RunFolder(run), "masks", identity) as stage:
        for name in NAMES:
            save_mask(blobs(rng), stage.path / f"{name}.png")
    write_atomic(run / "settings.yaml", dump_settings(settings))
    write_json(run / "run.json", {"data": str(data)})
    return run


def masks_of(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Masks of the four photos in a folder."""
    return {name: load_mask(folder / f"{name}.png") for name in NAMES}


def pseudo(run: Path) -> dict[str, NDArray[np.uint8]]:
    """The run's pseudo masks."""
    return masks_of(RunFolder(run).stage("masks"))


def blank(run: Path) -> dict[str, NDArray[np.uint8]]:
    """Empty the run's pseudo masks, so that the old ones, which are returned, are corrections."""
    before = pseudo(run)
    for name, mask in before.items():
        save_mask(np.zeros_like(mask), RunFolder(run).stage("masks") / f"{name}.png")
    return before
