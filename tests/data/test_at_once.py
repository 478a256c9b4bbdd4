"""Several photos at once: the order, errors, threads, and the same bytes."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from esol.data.at_once import PIXELS, at_once, in_order, photos_at_once
from esol.ops.crf import dense_crf

CPU = torch.device("cpu")


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(workers):
    def work(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert [*in_order(work, iter(range(20)), workers)] == [n * n for n in range(20)]
    assert [*in_order(work, [], workers)] == []


def test_items_are_drawn_when_they_are_needed():
    drawn = []

    def items():
        for item in range(100):
            drawn.append(item)
            yield item

    results = in_order(lambda item: item, items(), 2)
    assert next(results) == 0
    assert len(drawn) <= 6
    results.close()
    assert len(drawn) <= 6


def test_as_many_as_workers_are_in_work_each_with_its_part_of_the_threads(three_threads):
    torch.set_num_threads(6)
    met, seen = threading.Barrier(3, timeout=20), []

    def work(item: int) -> None:
        met.wait()  # three at once, or it breaks
        seen.append(torch.get_num_threads())

    assert len([*in_order(work, range(9), 3)]) == 9
    assert seen == [2] * 9
    assert torch.get_num_threads() == 6


def test_an_error_is_raised_in_its_place_and_ends_the_work(three_threads):
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("photo 3")
        return item

    found = []
    with pytest.raises(ValueError, match="photo 3"):
        found.extend(in_order(work, range(1000), 2))
    # extend keeps what it has got.
    assert found == [0, 1, 2]
    assert len(begun) < 20
    assert torch.get_num_threads() == 3


def test_who_stops_waiting_ends_the_work(three_threads):
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    results = in_order(work, range(1000), 2)
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    count = len(begun)
    assert count < 20
    time.sleep(0.05)
    assert len(begun) == count
    assert torch.get_num_threads() == 3


def test_how_many(three_threads, tmp_path):
    assert at_once(0, CPU) == at_once(PIXELS // 3, CPU) == 3
    assert at_once(PIXELS // 2, CPU) == 2
    assert at_once(PIXELS // 2 + 1, CPU) == at_once(10 * PIXELS, CPU) == 1
    assert at_once(1, torch.device("cuda")) == 1
    for name, size in (("a.png", (8, 8)), ("b.png", (2048, 1024))):
        Image.new("RGB", size).save(tmp_path / name)
    assert photos_at_once([tmp_path / "a.png", tmp_path / "missing.png"], CPU) == 3
    assert photos_at_once([tmp_path / "a.png", tmp_path / "b.png"], CPU) == 2
    assert photos_at_once([], CPU) == 3


def test_a_crf_beside_another_gives_the_same_bytes(three_threads):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (40, 30 + n, 3)).astype(np.uint8) for n in range(6)]
    unaries = [torch.rand(2, 40, 30 + n) for n in range(6)]

    def work(place: int) -> bytes:
        kernels = {"spatial": (3.0, 3.0), "bilateral": (50.0, 5.0, 10.0)}
        return (
            dense_crf(unaries[place], torch.from_numpy(photos[place]), **kernels).numpy().tobytes()
        )

    several = [*in_order(work, range(6), 3)]
    torch.set_num_threads(1)
    assert several == [*map(work, range(6))]
