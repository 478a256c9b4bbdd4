"""The synthetic set: reproducible, well-formed, and as hard as it claims."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from esol.data import open_dataset
from esol.data.images import load_image
from esol.data.synthetic import CLASSES, draw_scene, write_synthetic
from esol.errors import InputError
from esol.settings import Data

BOTH = Data(evaluate=("train", "val"))


def digest(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, 6, 64, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a")["images/00000.jpg"] != digest(tmp_path / "c")["images/00000.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_opens_as_a_folder_and_tags_are_what_masks_show(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "set", 24, 96, 0, val_fraction=0.25)
    data = open_dataset(tmp_path / "set", BOTH)
    assert data.kind == "folder"
    assert data.classes == CLASSES
    assert data.mask_set == "masks"
    assert {split: len(samples) for split, samples in data.splits.items()} == {
        "train": 18,
        "val": 6,
    }
    assert data.truth is not None
    sizes = set()
    for sample in data.samples("train", "val"):
        mask = data.truth(sample)
        assert set(np.unique(mask)) - {0} == {tag + 1 for tag in sample.tags}
        width, height = load_image(sample.image).size
        assert max(width, height) == 96
        assert min(width, height) >= 72
        sizes.add((height, width))
    assert len(sizes) > 5
    per_class = [sum(k in s.tags for s in data.splits["train"]) for k in range(len(CLASSES))]
    assert min(per_class) >= 3
    assert {len(sample.tags) for sample in data.samples("train", "val")} >= {1, 2}


def test_masks_cover_what_is_drawn_and_only_a_part_of_the_photo() -> None:
    shares = []
    for seed in range(30):
        image, mask = draw_scene(np.random.default_rng(seed), 64, seed % 6)
        assert image.shape == (*mask.shape, 3)
        assert seed % 6 + 1 in mask
        shares.append((mask > 0).mean())
        # No tag is nearly invisible.
        assert all((mask == value).mean() > 0.004 for value in np.unique(mask))
    assert 0.1 < np.mean(shares) < 0.5


def test_ground_follows_the_class_most_of_the_time() -> None:
    """The mean colour of the pixels of no class shows grass in about three of four photos."""
    green = 0
    for seed in range(60):
        image, mask = draw_scene(np.random.default_rng(seed), 48, 1)
        red, grass, _ = image[mask == 0].mean(axis=0)
        green += grass > red + 15
    assert 36 <= green <= 56


def test_refuses_a_full_folder_and_wrong_arguments(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_synthetic(tmp_path, 4, 64, 0)
    for photos, size, fraction in ((1, 64, 0.5), (4, 8, 0.5), (4, 64, 1.5)):
        with pytest.raises(InputError, match="synthetic"):
            write_synthetic(tmp_path / "new", photos, size, 0, fraction)


def test_an_interrupted_folder_is_begun_anew(tmp_path: Path) -> None:
    left = tmp_path / ".set.part" / "images"
    left.mkdir(parents=True)
    (left / "99999.jpg").write_bytes(b"")
    write_synthetic(tmp_path / "set", 2, 32, 0)
    assert not left.exists()
    assert not (tmp_path / "set" / "images" / "99999.jpg").exists()
