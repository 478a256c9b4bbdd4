"""Photos with maps and masks, encoded for the page's script."""

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from esol.data.images import palette
from esol.data.selection import spaced
from esol.maps.files import Maps
from esol.system.progress import log

LONGEST = 320
"""Longest side of a drawn photo, in pixels."""

GRID = 160
"""Longest side of drawn maps, in cells: cached ones of photos above 640 pixels take megabytes."""

BUDGET = 36_000_000
"""Limit for the bytes of all photos in the page; browsers on phones fail above it."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One photo of the gallery.

    Attributes:
        name: of the photo.
        lists: positions of its lists in :attr:`Gallery.lists`.
        tags: strictly increasing class indices, 0 .. K-1.
        data: input of the script as plain values (:func:`shot`).
    """

    name: str
    lists: Sequence[int]
    tags: Sequence[int]
    data: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Length of the encoded pictures."""
        return sum(len(value) for value in self.data.values() if isinstance(value, str))


@dataclass(frozen=True, eq=False)
class Gallery:
    """Photos shown at a threshold that the reader moves.

    Attributes:
        shots: the photos, in order.
        lists: names of the evaluated lists.
        kinds: titles of the maps, in the order of the maps in each shot.
        fixed: titles of the finished masks, which have no threshold.
        seed: position in ``kinds`` of the maps that become seeds.
        starts: one per kind: where the run cuts it, out of ``thresholds``.
        origins: one per kind: who chose that ("given", "chosen by rule").
        thresholds: those of the slider, ascending.
    """

    shots: Sequence[Shot]
    lists: Sequence[str]
    kinds: Sequence[str]
    fixed: Sequence[str]
    seed: int
    starts: Sequence[float]
    origins: Sequence[str]
    thresholds: Sequence[float]

    def plain(self, classes: Sequence[str]) -> dict[str, Any]:
        """Everything as JSON values; photos beyond the budget are left out evenly."""
        shots = self._within_budget()
        return {
            "classes": list(classes),
            "colours": palette()[: len(classes) + 1].tolist(),
            "unsure": palette()[255].tolist(),
            "lists": list(self.lists),
            "kinds": list(self.kinds),
            "fixed": list(self.fixed),
            "seed": self.seed,
            "starts": [list(self.thresholds).index(start) for start in self.starts],
            "origins": list(self.origins),
            "thresholds": list(self.thresholds),
            "left_out": len(self.shots) - len(shots),
            "photos": [
                {"name": s.name, "lists": list(s.lists), "tags": list(s.tags), **s.data}
                for s in shots
            ],
        }

    def _within_budget(self) -> Sequence[Shot]:
        shots = self.shots
        while (total := sum(shot.bytes for shot in shots)) > BUDGET:
            # Photos differ in size: this part may still be too large, and shrinks again.
            shots = spaced(self.shots, min(len(shots) - 1, int(len(shots) * BUDGET / total)))
        if len(shots) < len(self.shots):
            message = "report: %d photos would make the page larger than %d MB; it shows %d"
            log.warning(message, len(self.shots), BUDGET // 1_000_000, len(shots))
        return shots


def shot(
    name: str,
    lists: Sequence[int],
    photo: Image.Image,
    maps: Sequence[Maps],
    masks: Mapping[int, NDArray[np.uint8]],
    truth: NDArray[np.uint8] | None,
) -> Shot:
    """Encode one photo at reduced size.

    The photo becomes JPEG. Maps (kinds, then tags, row by row, 0 .. 255) and masks (the truth
    first, then the finished ones) are deflated bytes, which scripts of every browser read back
    exactly, unlike a PNG.

    Args:
        name: of the photo.
        lists: positions of its lists.
        photo: W x H pixels.
        maps: one per kind, of the same tags.
        masks: position in :attr:`Gallery.fixed` -> (H, W) mask.
        truth: (H, W), or None.

    Raises:
        ValueError: maps of different tags, or maps or masks of another size than the photo.
    """
    tags = maps[0].classes.tolist()
    if any(other.classes.tolist() != tags for other in maps):
        raise ValueError(f"{name}: maps of different tags")
    drawn = [*([] if truth is None else [truth]), *masks.values()]
    if {*(kind.size for kind in maps), *(mask.shape for mask in drawn)} != {photo.size[::-1]}:
        raise ValueError(f"{name}: maps or masks of another size than the photo's")
    small = reduced(photo)
    size = small.size
    grid = _within((maps[0].maps.shape[2], maps[0].maps.shape[1]), GRID)
    planes = [_reduced(plane, grid) for kind in maps for plane in kind.maps]
    data = {
        "size": list(size),
        "grid": list(grid),
        "truth": truth is not None,
        "fixed": list(masks),
        "photo": jpeg(small),
        "maps": _packed(planes),
        "masks": _packed(
            [np.asarray(Image.fromarray(m).resize(size, Image.Resampling.NEAREST)) for m in drawn]
        ),
    }
    return Shot(name, lists, tags, data)


def reduced(photo: Image.Image, longest: int = LONGEST) -> Image.Image:
    """A photo as RGB with its longest side at most ``longest``."""
    size = _within(photo.size, longest)
    return photo.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def jpeg(picture: Image.Image) -> str:
    """An RGB picture as base64 of a JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return base64.b64encode(buffer.getvalue()).decode()


def _within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Size with the longest side at most ``longest``, of nearly the same shape."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _reduced(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A map's cached values, 0 .. 255, averaged where the grid shrinks."""
    cells = np.rint(plane * 255).astype(np.uint8)
    if cells.shape == (size[1], size[0]):
        return cells
    return np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BOX))


def _packed(planes: Sequence[NDArray[np.uint8]]) -> str:
    content = b"".join(plane.tobytes() for plane in planes)
    return base64.b64encode(zlib.compress(content, 9)).decode()
