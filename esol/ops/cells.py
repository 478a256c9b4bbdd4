"""Rows and cells of photos: plain numbers."""

from collections.abc import Iterator

BAND = 128
"""Rows of a photo computed at a time: bounds the memory of large photos."""


def bands(height: int) -> Iterator[slice]:
    """Rows of a photo, ``BAND`` at a time."""
    for start in range(0, height, BAND):
        yield slice(start, min(start + BAND, height))


def cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Cells (h, w) of ``stride`` x ``stride`` pixels that cover a photo of ``size`` (H, W)."""
    return -(-size[0] // stride), -(-size[1] // stride)
