"""Photos and masks on disk: all reading and writing of images."""

import io
import json
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from esol.data import packed
from esol.data.kinds import FORMATS, unread_advice, unread_content
from esol.errors import InputError, one_line
from esol.system.files import atomic

PIXEL_LIMIT = 178_956_970
"""Photos with more pixels are refused before they are decoded; Pillow's own limit."""

SPARE = 3
"""A photo that is going to be made smaller is decoded at this many times its new size or more."""

Photo = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8]
"""A photo in any form that one may hold it in; :func:`open_photo` reads them all."""

_TAKEN = (
    "a path (str or Path), a PIL image, a uint8 array of (H, W, 3) RGB or (H, W) grey values, the"
    " file's bytes, a file opened with 'rb', or a list of these"
)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_EXACT = ("PNG", "BMP", "TIFF", "GIF")
"""Formats that keep the values of masks. WebP, AVIF and HEIF may or may not."""

_OPENING = threading.Lock()
"""``catch_warnings`` changes the filters of all threads: one at a time."""


def load_image(path: Path | str, size: tuple[int, int] | None = None) -> Image.Image:
    """Read a photo as upright 8-bit RGB, without metadata.

    EXIF orientation is applied, 16-bit grey is scaled from 0 .. 65535 to 0 .. 255, transparent
    pixels become white, an animation gives its first frame. Colour profiles are not applied.

    Args:
        path: the file.
        size: (width, height) to which the caller will resize the upright photo. A JPEG of twice
            ``SPARE`` times that size or more is decoded at a half, a quarter or an eighth, never
            below ``SPARE`` times, if both of its sides are multiples. None: always whole.

    Raises:
        InputError: the file is missing, damaged, of an unsupported kind, or over ``PIXEL_LIMIT``.
    """
    return _loaded(Path(path), str(path), size)


def open_photo(photo: Photo, name: str = "photo") -> Image.Image:
    """Any form of a photo as upright 8-bit RGB, without metadata.

    Args:
        photo: a path; the bytes of an image file, or a file opened with "rb"; a PIL image of any
            mode; an array of (H, W, 3) RGB or (H, W) grey values, uint8. Files, bytes and PIL
            images are treated alike, by the rules of :func:`load_image`.
        name: what messages call a photo that has no path.

    Raises:
        InputError: as :func:`load_image`, and for anything else than these.
    """
    if isinstance(photo, str | os.PathLike):
        return load_image(Path(photo))
    if isinstance(photo, Image.Image):
        with _refusing(name):
            return _upright(_to_rgb(photo, name), _orientation(photo))
    if isinstance(photo, np.ndarray):
        grey_or_rgb = photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] == 3)
        if photo.dtype == np.uint8 and grey_or_rgb and photo.size:
            return Image.fromarray(photo).convert("RGB")
    content: Any = photo.read() if hasattr(photo, "read") else photo
    if isinstance(content, bytes | bytearray | memoryview):
        return _loaded(io.BytesIO(content), name)
    raise InputError(f"{name}: {_described(content)} is not a photo: give {_TAKEN}")


def are_photos(photos: Photo | Iterable[Photo]) -> TypeGuard[Iterable[Photo]]:
    """Whether these are several photos, one after the other, and not a photo's own parts."""
    one = isinstance(photos, str | bytes | bytearray | memoryview | os.PathLike | Mapping)
    # Files yield lines; arrays and tensors yield rows.
    one |= hasattr(photos, "read") or hasattr(photos, "shape")
    return isinstance(photos, Iterable) and not one


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width in pixels of the upright photo, from the file's header.

    Raises:
        InputError: the file is missing, empty, not an image, or over ``PIXEL_LIMIT``.
    """
    with reading(Path(path)) as image:
        width, height = image.size
        # Orientations 5 to 8 turn by a quarter.
        return (width, height) if _orientation(image) >= 5 else (height, width)


def load_mask(path: Path | str) -> NDArray[np.uint8]:
    """Read a mask whose pixel values are class numbers.

    Args:
        path: a palette or grey image, usually PNG; a palette image gives its indices.

    Returns:
        (H, W) uint8 array of the stored values.

    Raises:
        InputError: the file is missing or unreadable, is a colour image, has values above 255, or
            is of a format that does not keep values.
    """
    values = load_values(path)
    if values.dtype not in (np.uint8, np.bool_) and (values.min() < 0 or values.max() > 255):
        raise InputError(f"{path}: mask values must lie in 0 .. 255: found {values.max()}")
    return values.astype(np.uint8)


def load_values(path: Path | str) -> NDArray[Any]:
    """Read the (H, W) values of a palette or grey image, of any number of bits.

    Raises:
        InputError: the file is missing or unreadable, or is a colour image.
    """
    with reading(Path(path)) as image:
        if image.mode in ("RGB", "RGBA"):
            raise InputError(
                f"{path}: a mask in colours ({image.mode}), which do not say which class they mean:"
                " add a table of colours, such as labelmap.txt (docs/data.md), or save it as a"
                " palette or grey PNG whose pixel values are class numbers"
            )
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            advice = "save it as a palette or grey PNG whose pixel values are class numbers"
            raise InputError(f"{path}: a mask in mode {image.mode}: {advice}")
        require_exact(image, path)
        return np.asarray(image)


def require_exact(image: Image.Image, path: Path | str) -> None:
    """Raise an InputError if the format of an opened mask may have changed its values."""
    compression = str(image.info.get("compression", ""))
    if image.format not in _EXACT or "jpeg" in compression:
        raise InputError(
            f"{path}: {image.format} inside, which may not keep the values of a mask: export it"
            " from its source as PNG"
        )


def save_mask(mask: NDArray[np.uint8], path: Path | str, names: Sequence[str] = ()) -> None:
    """Write a mask as PNG with the VOC colours, whole or not at all; make its folder if needed.

    Args:
        mask: (H, W) uint8 class numbers, 255 ignored.
        path: file to write or replace.
        names: what the values 0, 1, .. mean, stored in the file as its text "classes", a JSON list.

    Raises:
        ValueError: the array is not two-dimensional uint8.
        InputError: the file cannot be written.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"a mask is an (H, W) uint8 array: got {mask.shape} {mask.dtype}")
    text = PngInfo()
    if names:
        text.add_itxt("classes", json.dumps(list(names), ensure_ascii=False))
    with atomic(Path(path)) as temporary:
        colour(mask).save(temporary, format="PNG", pnginfo=text)


def palette() -> NDArray[np.uint8]:
    """The VOC colour map: (256, 3) uint8, row v is the RGB colour of mask value v.

    The bits of the value, lowest first, go to red, green and blue in turn and fill each channel
    from its highest bit downwards.
    """
    values = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.int64)
    for bit in range(8):
        colours[:, bit % 3] |= ((values >> bit) & 1) << (7 - bit // 3)
    return colours.astype(np.uint8)


@contextmanager
def reading(file: Path | BinaryIO, name: str = "") -> Iterator[Image.Image]:
    """Open an image of ``FORMATS``; any error while it is open becomes an InputError naming it."""
    name = name or str(file)
    with _refusing(name):
        file = packed.opened(file) if isinstance(file, Path) else file
    with _refusing(name, file):
        # Opening a named pipe would block for ever.
        if isinstance(file, Path) and file.exists() and not file.is_file():
            raise OSError("not a regular file")
        with _OPENING, warnings.catch_warnings():
            # Pillow warns at half of PIXEL_LIMIT.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(file, formats=list(FORMATS))
        with opened as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise Image.DecompressionBombError
            yield image


@contextmanager
def _refusing(name: str, file: Path | BinaryIO | None = None) -> Iterator[None]:
    """Turn any error of reading an image into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name}: more than {PIXEL_LIMIT / 1e6:.0f} megapixels: make the image smaller"
        ) from error
    except MemoryError as error:
        raise InputError(
            f"{name}: not enough memory to read it: make the image smaller, or give more memory"
        ) from error
    # Pillow's decoders raise almost anything for corrupt bytes: struct.error, SyntaxError,
    # KeyError, zlib.error and more have been seen.
    except Exception as error:
        if isinstance(error, UnidentifiedImageError) and (kind := _kind_inside(file)):
            advice = unread_advice((kind,))
            raise InputError(f"{name}: {kind} inside, whatever its name: {advice}") from error
        raise InputError(f"{name}: {_reason(file, error)}: replace or remove the file") from error


def _reason(file: Path | BinaryIO | None, error: Exception) -> str:
    if isinstance(file, Path):
        if file.is_dir():
            return "a folder, not an image"
        if isinstance(error, PermissionError):
            return "not allowed to read it"
        if not file.is_file():
            return "not a regular file"
    size = file.stat().st_size if isinstance(file, Path) else file and file.seek(0, os.SEEK_END)
    if size == 0:
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of a known format ({', '.join(FORMATS)})"
    return f"corrupt or truncated image ({one_line(error)})"


def _kind_inside(file: Path | BinaryIO | None) -> str:
    """Suffix of a kind of photo that is not read here, by its first bytes; else ""."""
    if file is None:
        return ""
    try:
        with file.open("rb") if isinstance(file, Path) else nullcontext(file) as stream:
            stream.seek(0)
            return unread_content(stream.read(16))
    except OSError:
        return ""


def _described(thing: Any) -> str:
    """A thing's type, and its shape and the type of its values if it has them."""
    parts = [f"{type(thing).__module__.partition('.')[0]}.{type(thing).__qualname__}"]
    parts += [str(tuple(thing.shape))] if hasattr(thing, "shape") else []
    parts += [str(thing.dtype)] if hasattr(thing, "dtype") else []
    return " ".join(parts).removeprefix("builtins.")


def _loaded(file: Path | BinaryIO, name: str, size: tuple[int, int] | None = None) -> Image.Image:
    with reading(file, name) as image:
        orientation = _orientation(image)
        if size:
            # Orientations 5 to 8 turn by a quarter.
            _decode_smaller(image, size[::-1] if orientation >= 5 else size)
        image.load()
        rgb = _to_rgb(image, name)
    # A large photo takes as much memory as the rest of the program: keep two copies at most.
    del image
    return _upright(rgb, orientation)


def _decode_smaller(image: Image.Image, size: tuple[int, int]) -> None:
    """Let a JPEG, which has not been decoded yet, be decoded at a fraction; others stay whole."""
    most = min(old // (SPARE * new) for old, new in zip(image.size, size, strict=True))
    for parts in (8, 4, 2):
        # Where a side is not a multiple, the decoder pads it, and the photo would be shifted.
        if parts <= most and not image.width % parts and not image.height % parts:
            image.draft(None, (image.width // parts, image.height // parts))
            return


def _upright(rgb: Image.Image, orientation: int) -> Image.Image:
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    # The next reader would turn the photo again if it found the metadata.
    rgb.info = {}
    return rgb


def _orientation(image: Image.Image) -> int:
    # Pillow turns TIFF files itself. PNG's own getexif would decode the whole file to find a block
    # that may be at its end.
    if image.format == "TIFF":
        return 1
    return int(Image.Image.getexif(image).get(_ORIENTATION_TAG, 1))


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if 0 in image.size:
        raise InputError(f"{name}: has no pixels")
    if image.mode.startswith("I"):
        return _grey16(image, name).convert("RGB")
    if image.mode == "F":
        raise InputError(f"{name}: floating-point pixels: save the image with 8 or 16 bits")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _grey16(image: Image.Image, name: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{name}: grey values outside 0 .. 65535: save it with 8 or 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def colour(mask: NDArray[np.uint8]) -> Image.Image:
    """Picture of a mask in the VOC colours.

    Args:
        mask: (H, W): 0 background, class index + 1, 255 ignored.

    Returns:
        W x H picture in mode "P"; its pixel values are the mask's.
    """
    picture = Image.fromarray(mask)
    picture.putpalette(palette().tobytes())
    return picture
