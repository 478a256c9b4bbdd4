"""Sheets of pictures: photos down, what was made of them across, captions above."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from esol.system.files import atomic

SIDE = 160
"""Side of the square into which each picture is fitted, pixels."""

_GAP, _HEAD = 4, 22


def write_sheet(path: Path, captions: Sequence[str], rows: Sequence[Sequence[Image.Image]]) -> None:
    """Write a sheet as PNG.

    Args:
        path: the file.
        captions: one per column.
        rows: pictures of any size and mode, one per caption.

    Raises:
        ValueError: a row has another number of pictures.
    """
    if any(len(row) != len(captions) for row in rows):
        raise ValueError(f"rows of {sorted({len(row) for row in rows})} for {len(captions)}")
    step = SIDE + _GAP
    sheet = Image.new("RGB", (_GAP + step * len(captions), _HEAD + step * len(rows)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, caption in enumerate(captions):
        middle = _GAP + column * step + SIDE / 2
        draw.text((middle, _HEAD / 2), caption, fill="black", font=font, anchor="mm")
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            fitted = _fitted(picture)
            x = _GAP + across * step + (SIDE - fitted.width) // 2
            sheet.paste(fitted, (x, _HEAD + down * step + (SIDE - fitted.height) // 2))
    with atomic(path) as temporary:
        sheet.save(temporary)


def _fitted(picture: Image.Image) -> Image.Image:
    """The picture with its longer side at SIDE. Masks keep their colours: nearest neighbour."""
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if picture.mode == "P":
        return picture.resize(size, Image.Resampling.NEAREST).convert("RGB")
    return picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
