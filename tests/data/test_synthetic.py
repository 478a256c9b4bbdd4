"""The synthetic set: reproducible, well-formed, and as hard as it claims."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esol.data import open_dataset
from esol.data.images import load_image
from esol.data.scenes import EASY, HARD, Scenes
from esol.data.synthetic import CLASSES, draw_scene, write_synthetic
from esol.errors import InputError
from esol.settings import Data

BOTH = Data(evaluate=("train", "val"))


def digest(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("hard", [False, True])
def test_same_arguments_same_bytes(tmp_path: Path, hard: bool) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, 6, 64, seed, hard=hard)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a")["images/00000.jpg"] != digest(tmp_path / "c")["images/00000.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize("hard", [False, True])
def test_opens_as_a_folder_and_tags_are_what_masks_show(tmp_path: Path, hard: bool) -> None:
    write_synthetic(tmp_path / "set", 48, 96, 0, val_fraction=0.25, hard=hard)
    data = open_dataset(tmp_path / "set", BOTH)
    assert data.kind == "folder"
    assert data.classes == CLASSES
    assert data.mask_set == "masks"
    assert {split: len(samples) for split, samples in data.splits.items()} == {
        "train": 36,
        "val": 12,
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


@pytest.mark.parametrize("scenes", [EASY, HARD])
def test_masks_cover_what_is_drawn_and_only_a_part_of_the_photo(scenes: Scenes) -> None:
    shares = []
    for seed in range(30):
        image, mask = draw_scene(np.random.default_rng(seed), 64, seed % 6, scenes)
        assert image.shape == (*mask.shape, 3)
        assert seed % 6 + 1 in mask
        shares.append((mask > 0).mean())
        # No tag is nearly invisible.
        assert all((mask == value).mean() > 0.004 for value in np.unique(mask))
    assert 0.1 < np.mean(shares) < 0.5


def test_hard_scenes_are_other_scenes(tmp_path: Path) -> None:
    for name, hard in (("easy", False), ("hard", True)):
        write_synthetic(tmp_path / name, 6, 64, 1, hard=hard)
    easy, hard_ones = digest(tmp_path / "easy"), digest(tmp_path / "hard")
    assert easy.keys() == hard_ones.keys()
    assert easy["images/00000.jpg"] != hard_ones["images/00000.jpg"]


def painted(scenes: Scenes, colour: tuple[int, int, int], first: int) -> Scenes:
    """The scenes with a class's head in one colour, and neither clutter nor other creatures."""
    heads = [*scenes.heads]
    heads[first] = (colour, colour)
    return replace(scenes, heads=tuple(heads), clutter=(0, 1), others=(1, 0, 0), second=0.0)


@pytest.mark.parametrize(("scenes", "low", "high"), [(EASY, 0.05, 0.2), (HARD, 0.15, 0.4)])
def test_heads_are_the_smaller_part_of_an_object(scenes: Scenes, low: float, high: float) -> None:
    shares = []
    for seed in range(40):
        first = seed % 6
        # The same scene twice; only the head differs, and it differs all over.
        dark, light = (
            draw_scene(np.random.default_rng(seed), 64, first, painted(scenes, colour, first))
            for colour in ((0, 0, 0), (255, 255, 255))
        )
        head = np.abs(light[0].astype(int) - dark[0]).max(axis=2) > 90
        shares.append((head & (dark[1] > 0)).sum() / (dark[1] > 0).sum())
    assert low < np.mean(shares) < high


def test_easy_bodies_are_shared_by_two_classes_and_grounds_by_all() -> None:
    assert len(EASY.heads) == 2 * len(EASY.bodies)
    assert EASY.fidelity == 0
    seen = {
        tuple(np.median(image[mask == 0], axis=0).round(-1))
        for image, mask in (draw_scene(np.random.default_rng(s), 64, 1) for s in range(40))
    }
    assert len(seen) > 6


def test_ground_follows_the_class_most_of_the_time() -> None:
    """In hard scenes, pixels of no class show grass in about three of four photos."""
    green = 0
    for seed in range(60):
        image, mask = draw_scene(np.random.default_rng(seed), 48, 1, HARD)
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
