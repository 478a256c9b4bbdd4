"""The map cache: what goes in comes out within half a step, and nothing else is accepted."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from esol.errors import InputError
from esol.maps.files import Maps, grid, load_maps, save_maps
from esol.masks.seeds import photo_seed, seed_mask

SIZE = (37, 50)


def _maps(classes: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).random((classes, *grid(size)), np.float32)


@pytest.mark.parametrize(
    ("size", "cells"), [((1, 1), (1, 1)), ((4, 8), (1, 2)), ((5, 9), (2, 3)), (SIZE, (10, 13))]
)
def test_grid_rounds_up(size: tuple[int, int], cells: tuple[int, int]) -> None:
    assert grid(size) == cells


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "cats" / "0001.npz"
    maps = _maps()
    maps[0, 0, :2] = [0, 1]
    save_maps(path, maps, np.array([3, 19]), SIZE)
    loaded = load_maps(path)
    assert loaded.classes.tolist() == [3, 19]
    assert loaded.size == SIZE
    assert loaded.maps.dtype == np.float32
    assert np.abs(loaded.maps - maps).max() <= 1 / 510 + 1e-6
    assert loaded.maps[0, 0, :2].tolist() == [0, 1]


def test_same_maps_give_the_same_bytes_at_any_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_maps(tmp_path / "a.npz", _maps(), np.array([0, 1]), SIZE)
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    save_maps(tmp_path / "b.npz", _maps(), np.array([0, 1]), SIZE)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_smooth_photo_takes_at_most_30_kilobytes(tmp_path: Path) -> None:
    coarse = torch.rand((1, 2, 24, 32), generator=torch.Generator().manual_seed(0))
    maps = torch.nn.functional.interpolate(coarse, grid((375, 500)), mode="bilinear")[0].numpy()
    save_maps(tmp_path / "a.npz", maps, np.array([0, 1]), (375, 500))
    assert (tmp_path / "a.npz").stat().st_size < 30_000


def test_a_photo_without_tags(tmp_path: Path) -> None:
    save_maps(tmp_path / "a.npz", _maps(0), np.array([], np.int64), SIZE)
    loaded = load_maps(tmp_path / "a.npz")
    assert loaded.maps.shape == (0, 10, 13)
    assert loaded.full().shape == (0, *SIZE)


def test_full_is_bilinear_between_cell_centres() -> None:
    maps = np.array([[[0.0, 1.0]]], np.float32)
    full = Maps(np.array([0]), maps, (2, 8)).full()
    # Cell centres lie at 1.5 and 5.5 photo pixels; beyond them the border value holds.
    expected = np.clip((np.arange(8) - 1.5) / 4, 0, 1)
    assert full.shape == (1, 2, 8)
    assert full.dtype == np.float32
    np.testing.assert_allclose(full[0], np.stack([expected] * 2), atol=1e-6)


@pytest.mark.parametrize(
    ("maps", "classes"),
    [
        (_maps() + 0.5, [0, 1]),
        (_maps() - 0.5, [0, 1]),
        (_maps() * np.nan, [0, 1]),
        (_maps(), [0]),
        (_maps(), [1, 1]),
        (_maps(), [2, 1]),
        (_maps(), [-1, 1]),
        (_maps(), [1, 254]),
        (_maps(2, (33, 50))[:, :-1], [0, 1]),
    ],
)
def test_wrong_maps_are_refused(tmp_path: Path, maps: np.ndarray, classes: list[int]) -> None:
    with pytest.raises(ValueError, match=r"a\.npz"):
        save_maps(tmp_path / "a.npz", maps, np.array(classes), SIZE)
    assert not list(tmp_path.iterdir())


def _write_foreign(path: Path, kind: str) -> None:
    good: dict[str, np.ndarray] = {
        "maps": np.zeros((1, 10, 13), np.uint8),
        "classes": np.zeros(1, np.uint8),
        "size": np.array(SIZE, np.int32),
    }
    changes: dict[str, dict[str, np.ndarray]] = {
        "pickled": {"maps": np.array([[{}]], dtype=object)},
        "float": {"maps": np.zeros((1, 10, 13), np.float32)},
        "grid": {"maps": np.zeros((1, 9, 13), np.uint8)},
        "class": {"classes": np.full(1, 255, np.uint8)},
        "size": {"size": np.array([0, 50], np.int32)},
        "scalar": {"size": np.array(3, np.int32)},
    }
    if kind in changes:
        np.savez(path, allow_pickle=True, **(good | changes[kind]))
    elif kind == "keys":
        np.savez(path, maps=good["maps"])
    elif kind == "array":
        with path.open("wb") as stream:
            np.save(stream, good["maps"])
    else:
        path.write_bytes({"empty": b"", "text": b"not a zip"}[kind])


@pytest.mark.parametrize(
    "kind",
    ["pickled", "float", "grid", "class", "size", "scalar", "keys", "array", "empty", "text"],
)
def test_foreign_files_are_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.npz"
    _write_foreign(path, kind)
    with pytest.raises(InputError, match=r"odd\.npz: not a readable map file") as caught:
        load_maps(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.npz: no such map file"):
        load_maps(tmp_path / "gone.npz")


def test_any_damaged_byte_is_found_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_maps(path, _maps(1, (9, 9)), np.array([2]), (9, 9))
    whole = path.read_bytes()
    expected = load_maps(path)
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            loaded = load_maps(path)
        except InputError:
            refused += 1
            continue
        np.testing.assert_array_equal(loaded.maps, expected.maps)
    assert refused > len(whole) // 3
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_maps(path)


@pytest.mark.parametrize("size", [(300, 33), (301, 35)])
def test_bands_are_the_parts_of_the_whole(size, monkeypatch):
    maps = np.random.default_rng(0).random((3, *grid(size)), np.float32)
    whole = Maps(np.array([0, 2, 5]), maps, size)
    ((rows, values),) = whole.bands()
    assert rows == slice(0, size[0])
    assert np.array_equal(values, whole.full())
    monkeypatch.setattr("esol.maps.files.WHOLE", 0)
    parts = list(whole.bands())
    assert [rows.stop for rows, _ in parts] == [128, 256, size[0]]
    for rows, values in parts:
        np.testing.assert_allclose(values, whole.full()[:, rows], atol=1e-5)
    assert np.mean(photo_seed(whole, 0.5) == seed_mask(whole.full(), whole.classes, 0.5)) > 0.999
