"""Several photos at once, one on each core of a processor.

Most of what is done to a photo, a CRF above all, are many short operations, which two threads
finish little sooner than one. Two photos on two threads take half the time of one after the other
(docs/speed.md).
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from esol.data.memory import size_or_zero

T = TypeVar("T")
R = TypeVar("R")

PIXELS = 1 << 22
"""Pixels that are in work at once: more photos than that would take too much memory."""


def photos_at_once(photos: Sequence[Path], device: torch.device) -> int:
    """How many of these photos :func:`in_order` may work on at once: 1 on a GPU."""
    return at_once(max(map(pixels_of, photos), default=0), device)


def at_once(pixels: int, device: torch.device) -> int:
    """The same for pieces of work of at most so many pixels."""
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    return max(1, min(cores, PIXELS // max(pixels, 1)))


def in_order(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results of ``work``, in the order of the items, which are drawn when they are needed.

    Each worker is a thread and has its part of PyTorch's threads. What ``work`` raises is raised
    here; other items that were begun are then finished, and no more are begun.

    Args:
        work: has to be safe beside itself, and to set PyTorch's modes, such as ``no_grad``, itself.
        items: arguments of ``work``.
        workers: items in work at once; 1: in this thread.
    """
    if workers == 1:
        yield from map(work, items)
        return
    cores, waiting = torch.get_num_threads(), deque[Future[R]]()
    pool = ThreadPoolExecutor(
        workers, initializer=torch.set_num_threads, initargs=(max(1, cores // workers),)
    )
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


def pixels_of(photo: Path) -> int:
    """Height times width; 0 of a file that is no photo."""
    return math.prod(size_or_zero(photo))
