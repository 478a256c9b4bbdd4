"""The cache of class activation maps: one small file per photo and kind of map."""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esol.errors import InputError, one_line
from esol.ops.cells import cells
from esol.system.files import write_atomic

WHOLE = 1 << 24
"""Values of a photo's maps at its size that are computed at once, 64 MB. Above, rows are computed
band by band: 20 classes of a photo of 12 megapixels take 1 GB."""

MAP_STRIDE = 4
"""Photo pixels per cell of the cached grid, in each direction."""

_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, zlib.error)
"""What NumPy and zipfile raise for damaged files, besides BadZipFile."""


@dataclass(frozen=True)
class Maps:
    """The maps of one photo's tagged classes.

    Attributes:
        classes: (K',) int64, strictly increasing class indices in 0 .. K-1; K' may be 0.
        maps: (K', ceil(H / 4), ceil(W / 4)) float32, multiples of 1/255 in 0 .. 1.
        size: (H, W) of the photo in pixels.
    """

    classes: NDArray[np.int64]
    maps: NDArray[np.float32]
    size: tuple[int, int]

    def full(self) -> NDArray[np.float32]:
        """The maps at photo size, (K', H, W) float32 in 0 .. 1: bilinear, edge to edge (IRN)."""
        if not len(self.classes):
            return np.zeros((0, *self.size), np.float32)
        # Not above: the report and metrics import this module, and PyTorch takes seconds.
        import torch

        from esol.ops.grids import resize

        full = resize(torch.from_numpy(self.maps)[None], self.size)
        # Interpolation may leave the range by one unit in the last place.
        return full[0].clamp(0, 1).numpy()

    def bands(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The maps at photo size part by part: rows, and (K', rows, W) of ``full`` there.

        Photos of usual size are one part. The values of several parts differ from those of
        ``full`` by rounding, less than 1e-5.
        """
        if len(self.classes) * math.prod(self.size) <= WHOLE:
            yield slice(0, self.size[0]), self.full()
            return
        import torch

        from esol.ops.grids import stretched

        for rows, values in stretched(torch.from_numpy(self.maps)[None], self.size):
            yield rows, values[0].clamp(0, 1).numpy()


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """Cells of the cached grid, (h, w), for a photo of ``size`` (H, W) pixels."""
    return cells(size, MAP_STRIDE)


def save_maps(
    path: Path, maps: NDArray[np.floating], classes: NDArray[np.integer], size: tuple[int, int]
) -> None:
    """Store one photo's :class:`Maps`, rounded to 8 bits (error at most 1/510) and compressed.

    The file, usually "NAME.npz", is written atomically. Equal maps give equal bytes.

    Raises:
        ValueError: shapes, order or range are not those of ``Maps``, NaN included.
        InputError: the file cannot be written.
    """
    if (fault := _fault(maps, classes, size)) is not None:
        raise ValueError(f"{path}: {fault}")
    if not np.all((maps >= 0) & (maps <= 1)):
        raise ValueError(f"{path}: map values outside 0 .. 1")
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        classes=np.asarray(classes, np.uint8),
        maps=np.rint(maps * 255.0).astype(np.uint8),
        size=np.asarray(size, np.int32),
    )
    write_atomic(path, buffer.getvalue())


def load_maps(path: Path | str) -> Maps:
    """Read what :func:`save_maps` wrote; pickled objects are refused.

    Raises:
        InputError: the file is missing, damaged or of another kind.

    Examples:
        >>> maps = load_maps(Path("runs/mine/04-cams/shrinkage/00001.npz"))
        >>> maps.size, maps.maps.shape, maps.full().shape  # a photo with one tag
        ((62, 64), (1, 16, 16), (1, 62, 64))
    """
    try:
        stored, classes, size = _read(Path(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such map file; run esol cams first") from error
    except (*_DAMAGE, zipfile.BadZipFile) as error:
        fault = f"not a readable map file ({one_line(error)}); delete it and run esol cams again"
        raise InputError(f"{path}: {fault}") from error
    maps = stored.astype(np.float32) / np.float32(255)
    return Maps(classes.astype(np.int64), maps, (int(size[0]), int(size[1])))


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]]:
    with path.open("rb") as stream:
        content = np.load(stream, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("a single array")  # noqa: TRY004
        maps, classes, size = content["maps"], content["classes"], content["size"]
    if [maps.dtype, classes.dtype, size.dtype] != [np.dtype(kind) for kind in ("u1", "u1", "i4")]:
        raise ValueError("other number types")
    if size.shape != (2,) or size.min() < 1:
        raise ValueError("no photo size")
    if (fault := _fault(maps, classes, (int(size[0]), int(size[1])))) is not None:
        raise ValueError(fault)
    return maps, classes, size


def _fault(
    maps: NDArray[np.generic], classes: NDArray[np.integer], size: tuple[int, int]
) -> str | None:
    if classes.ndim != 1 or maps.shape != (len(classes), *grid(size)):
        return f"{maps.shape} maps for {classes.shape} classes and a photo of {size} pixels"
    if len(classes) and (classes[0] < 0 or classes[-1] > 253 or np.any(np.diff(classes * 1) <= 0)):
        return "class indices not strictly increasing in 0 .. 253"
    return None
