"""Out of memory, on the CPU or a GPU, as one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from esol.data.images import image_size
from esol.errors import InputError, is_shortage


@contextmanager
def enough_memory(photos: Sequence[Path], *settings: str) -> Iterator[None]:
    """Around work on photos: where memory runs out, the message names them and what helps.

    Args:
        photos: files of those in work, the largest of which is named.
        *settings: keys of settings, or flags, whose lower values need less memory; none: nothing
            but a smaller photo helps.

    Raises:
        InputError: in the place of what Python, NumPy, Pillow or PyTorch raise without memory.
    """
    try:
        yield
    except Exception as error:
        if not is_shortage(error):
            raise
        raise InputError(
            f"not enough memory for {_named(photos)}: {_advice(photos, settings)}"
        ) from error


def _named(photos: Sequence[Path]) -> str:
    sizes = {photo: size_or_zero(photo) for photo in photos}
    largest = max(sizes, key=lambda photo: sizes[photo][0] * sizes[photo][1])
    height, width = sizes[largest]
    name = f"{largest} ({width} x {height})"
    if others := len(sizes) - 1:
        name += f" and {others} more photo{'s' * (others > 1)} at once"
    return name


def size_or_zero(photo: Path) -> tuple[int, int]:
    """(H, W) in pixels; (0, 0) of a file that is no photo, which is another's to say."""
    try:
        return image_size(photo)
    except InputError:
        return 0, 0


def _advice(photos: Sequence[Path], settings: Sequence[str]) -> str:
    smaller = "make the photo smaller" if len(photos) == 1 else "make the photos smaller"
    if not settings:
        return f"{smaller}, or give more memory"
    *others, last = settings
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"lower {listed}, or {smaller}"
