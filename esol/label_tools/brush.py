"""Label Studio's brush format: run lengths of an RGBA image as a stream of bits.

A stream begins with the number of bytes of the image (32 bits), the bits of a word less 1 (5) and
four lengths less 1 (4 bits each). Blocks follow: 1 bit (1: one word repeated, 0: single words),
2 bits that choose one of the four lengths, the number of words less 1 in so many bits, the words.
"""

import numpy as np
from numpy.typing import NDArray

LENGTHS = (3, 4, 8, 16)
"""Bits of a block's count, as in Label Studio's own encoder."""

_CHANNELS = 4


def encode(region: NDArray[np.bool_]) -> list[int]:
    """Bytes of an (H, W) region: all four channels are 255 inside and 0 outside."""
    flat = region.ravel()
    turns = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate(([0], turns, [flat.size]))
    bits = [f"{flat.size * _CHANNELS:032b}", f"{7:05b}", *(f"{n - 1:04b}" for n in LENGTHS)]
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        word = "1" * 8 if flat[start] else "0" * 8
        rest = (stop - start) * _CHANNELS
        while rest:
            count = min(rest, 1 << LENGTHS[-1])
            which = next(i for i, n in enumerate(LENGTHS) if count <= 1 << n)
            bits.append(f"1{which:02b}{count - 1:0{LENGTHS[which]}b}{word}")
            rest -= count
    stream = np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")
    return np.packbits(stream).tolist()


def decode(coded: list[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Region of a stream of bytes: where the fourth channel, opacity, is not 0.

    A damaged stream, or one of another (height, width), is a ValueError.
    """
    reader = _Bits(coded)
    total, word = reader.take(32), reader.take(5) + 1
    lengths = [reader.take(4) + 1 for _ in range(4)]
    if total != size[0] * size[1] * _CHANNELS or word != 8:
        raise ValueError(f"{total} bytes of {word} bits for {size[1]} x {size[0]} pixels")
    values, at = np.zeros(total, np.uint8), 0
    while at < total:
        repeated, which = reader.take(1), reader.take(2)
        count = reader.take(lengths[which]) + 1
        if at + count > total:
            raise ValueError("longer than its image")
        values[at : at + count] = reader.take(8) if repeated else reader.words(count)
        at += count
    return values.reshape(*size, _CHANNELS)[..., 3] > 0


class _Bits:
    """Reads numbers from a stream of bits."""

    def __init__(self, coded: list[int]) -> None:
        self.bits = np.unpackbits(np.asarray(coded, np.uint8))
        self.text = (self.bits + ord("0")).tobytes().decode()
        self.at = 0

    def take(self, count: int) -> int:
        """The next number of so many bits."""
        return int(self._next(count), 2)

    def words(self, count: int) -> NDArray[np.uint8]:
        """The next so many bytes."""
        start = self.at
        self._next(8 * count)
        return np.packbits(self.bits[start : self.at])

    def _next(self, count: int) -> str:
        if self.at + count > len(self.text):
            raise ValueError("cut off")
        self.at += count
        return self.text[self.at - count : self.at]
