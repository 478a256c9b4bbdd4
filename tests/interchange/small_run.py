"""A small run with pseudo masks, made by hand: names with spaces, umlauts and folders."""

from collections.abc import Sequence
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


def blobs(rng: np.random.Generator, classes: int = len(CLASSES)) -> NDArray[np.uint8]:
    """A mask of several classes with holes, specks, parts that touch at corners, and 255."""
    noise = ndimage.gaussian_filter(rng.random((classes + 2, *SIZE)), (0, 2, 2))
    mask = noise.argmax(0).astype(np.uint8)
    mask[mask == classes + 1] = 255
    specks = rng.random(SIZE) < 0.02
    return np.where(specks, rng.integers(0, classes + 1, SIZE), mask).astype(np.uint8)


def make_run(place: Path) -> Path:
    """Data folder PLACE/data and run folder PLACE/run with the stage masks."""
    data = place / "data"
    rng = np.random.default_rng(0)
    rows = ["image,labels"]
    for file in FILES:
        save_photo(data / file, rng)
        rows.append(f"{file},{';'.join(CLASSES)}")
    write_atomic(data / "labels.csv", "\n".join(rows))
    write_atomic(data / "classes.txt", "\n".join(CLASSES))
    run, names = _with_masks(place, Data(), rng)
    assert names == NAMES
    return run


def make_coco_run(place: Path, classes: Sequence[str], **lists: Sequence[str]) -> Path:
    """The same with any names: photos of each list, the first of which is the training list."""
    rng = np.random.default_rng(0)
    categories = [{"id": k, "name": name} for k, name in enumerate(classes, start=1)]
    for split, files in lists.items():
        images, boxes = [], []
        for number, file in enumerate(files):
            save_photo(place / "data" / split / file, rng)
            size = {"height": SIZE[0], "width": SIZE[1]}
            images.append({"id": number, "file_name": file, **size})
            for category in categories:
                ids = {"id": len(boxes), "image_id": number, "category_id": category["id"]}
                boxes.append({**ids, "bbox": [0, 0, 9, 9]})
        content = {"images": images, "annotations": boxes, "categories": categories}
        write_json(place / "data" / "annotations" / f"instances_{split}.json", content)
    train, *others = lists
    return _with_masks(place, Data("coco", train=train, evaluate=others or [train]), rng)[0]


def save_photo(path: Path, rng: np.random.Generator) -> None:
    """Noise; as a photo that is not upright where the name says so."""
    image = Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8))
    exif = Image.Exif()
    if "turned" in path.name:
        exif[0x0112] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)


def _with_masks(place: Path, data: Data, rng: np.random.Generator) -> tuple[Path, tuple[str, ...]]:
    """A run on PLACE/data, and the names of its photos."""
    run, settings = place / "run", Settings(data=data)
    dataset = open_dataset(place / "data", data)
    names = tuple(sample.name for split in dataset.splits.values() for sample in split)
    identity = {"after": {}, "data": dataset.fingerprint(data.train)}
    with work_on(RunFolder(run), "masks", identity) as stage:
        for name in names:
            save_mask(blobs(rng, len(dataset.classes)), stage.path / f"{name}.png")
    write_atomic(run / "settings.yaml", dump_settings(settings))
    write_json(run / "run.json", {"data": str(place / "data")})
    return run, names


def masks_of(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Masks in a folder, by the names of their photos."""
    files = sorted(folder.rglob("*.png"))
    return {file.relative_to(folder).as_posix()[:-4]: load_mask(file) for file in files}


def near_borders(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels beside one of another value, corners included, or at the photo's border."""
    near = np.zeros(mask.shape, bool)
    padded = np.pad(mask, 1, mode="edge")
    for rows in range(3):
        for columns in range(3):
            near |= padded[rows:, columns:][: mask.shape[0], : mask.shape[1]] != mask
    # The photo's border is one too: corners may be cut off there.
    near[[0, -1]] = near[:, [0, -1]] = True
    return near


def pseudo(run: Path) -> dict[str, NDArray[np.uint8]]:
    """The run's pseudo masks."""
    return masks_of(RunFolder(run).stage("masks"))


def blank(run: Path) -> dict[str, NDArray[np.uint8]]:
    """Empty the run's pseudo masks, so that the old ones, which are returned, are corrections."""
    before = pseudo(run)
    for name, mask in before.items():
        save_mask(np.zeros_like(mask), RunFolder(run).stage("masks") / f"{name}.png")
    return before
