"""A mask drawn over its photo, with a legend below."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from esol.data.images import colour, palette
from esol.ops.cells import bands

_LEAST, _SHARE = 12, 0.022
"""Height of the legend's letters: at least so many pixels, and this share of the longest side."""

_NONE = "background alone"


def draw_overlay(
    photo: Image.Image, mask: NDArray[np.uint8], classes: Sequence[str] = ()
) -> Image.Image:
    """Blend the colours of an (H, W) mask into an RGB photo; not those of background and 255.

    Args:
        photo: W x H pixels.
        mask: 0 background, class index + 1, 255 ignored.
        classes: K names; with them a strip below the photo names the classes that are in the mask,
            with their mask values.

    Returns:
        RGB picture of the photo's width; higher than the photo by the strip.
    """
    shown = classes_in(mask, len(classes))
    named = [(value, f"{value} {_drawable(classes[value - 1])}") for value in shown]
    legend = _Legend.of(named or [(0, _NONE)], photo.size)
    height = photo.height + (legend.height if classes else 0)
    result = Image.new("RGB", (photo.width, height), "white")
    result.paste(photo)
    for rows in bands(photo.height):
        box, part = (0, rows.start, photo.width, rows.stop), mask[rows]
        tinted = Image.blend(photo.crop(box), colour(part).convert("RGB"), 0.5)
        result.paste(tinted, box, Image.fromarray((part > 0) & (part < 255)))
    if classes:
        legend.draw(result, photo.height)
    return result


def classes_in(mask: NDArray[np.uint8], number: int) -> list[int]:
    """Values of the classes in an (H, W) mask, ascending; ``number``: K, of all classes."""
    counts = Image.fromarray(mask).histogram()
    return [value for value in range(1, number + 1) if counts[value]]


@dataclass(frozen=True)
class _Legend:
    """Entries of a legend, laid out in a strip.

    Attributes:
        font: of the entries.
        size: height of the letters, and side of the coloured squares, pixels.
        entries: mask value, text, and its place in the strip.
    """

    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    size: int
    entries: Sequence[tuple[int, str, tuple[int, int]]]

    @property
    def height(self) -> int:
        """Of the strip, pixels."""
        return self.entries[-1][2][1] + 2 * self.size

    @staticmethod
    def of(named: Sequence[tuple[int, str]], photo: tuple[int, int]) -> "_Legend":
        """As large as the photo allows: the longest name fits into its width."""
        size = max(_LEAST, round(_SHARE * max(photo)))
        widest = max(_width(size, text) for _, text in named)
        size = max(_LEAST, min(size, int(size * photo[0] / widest)))
        entries: list[tuple[int, str, tuple[int, int]]] = []
        x = y = size // 2
        for value, text in named:
            shown = _cut(size, text, photo[0])
            width = _width(size, shown)
            if x + width > photo[0] and entries:
                x, y = size // 2, y + size * 3 // 2
            entries.append((value, shown, (x, y)))
            x += width
        return _Legend(_font(size), size, entries)

    def draw(self, picture: Image.Image, top: int) -> None:
        """Draw the entries into the strip that begins at row ``top``."""
        pen = ImageDraw.Draw(picture)
        for value, text, (x, y) in self.entries:
            box = (x, top + y, x + self.size, top + y + self.size)
            pen.rectangle(box, tuple(palette()[value].tolist()), "black", max(1, self.size // 16))
            place = (x + self.size * 3 // 2, top + y + self.size // 2)
            pen.text(place, text, "black", self.font, anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _drawable(name: str) -> str:
    """A name in the letters that Pillow's own font has: accents go, others become "?"."""
    letters = (c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in letters)


def _width(size: int, text: str) -> int:
    """Of an entry with its square and the space to the next one, pixels."""
    return round(_font(size).getlength(text)) + size * 5 // 2


def _cut(size: int, text: str, width: int) -> str:
    """A text without its end where it is wider than the strip."""
    end = len(text)
    while end > 1 and _width(size, text[:end] + "..." * (end < len(text))) > width:
        end -= 1
    return text[:end] + "..." * (end < len(text))
