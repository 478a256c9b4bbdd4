"""From photos to network inputs. Stateless: all randomness comes from the generator passed in."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from esol.data.images import SPARE
from esol.data.normalisation import Normalisation
from esol.data.sample import IGNORE


def to_tensor(image: Image.Image, normalisation: Normalisation) -> Tensor:
    """RGB photo to a normalised (3, H, W) float32 tensor.

    A value v of 0 .. 255 becomes (v / 255 - mean) / std: for ImageNet's, roughly -2.1 .. 2.7.
    """
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()
    mean = torch.tensor(normalisation.mean).view(3, 1, 1)
    std = torch.tensor(normalisation.std).view(3, 1, 1)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)


def squash_mask(mask: NDArray[np.uint8], side: int) -> Tensor:
    """(H, W) mask to (side, side) int64 by nearest neighbour."""
    small = Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(small, dtype=np.int64))


def squash_planes(planes: NDArray[np.uint8], side: int) -> Tensor:
    """(P, h, w) planes to (P, side, side) uint8, bilinearly; P may be 0."""
    small = [Image.fromarray(p).resize((side, side), Image.Resampling.BILINEAR) for p in planes]
    return torch.from_numpy(np.array(small, np.uint8).reshape(len(planes), side, side))


def squash(image: Image.Image, side: int) -> Image.Image:
    """Resize to ``side`` x ``side`` pixels (bicubic), whatever the photo's proportions.

    A photo of 2 * ``SPARE`` times that size or more is first reduced by means of whole pixels.
    """
    return image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=SPARE)


def scaled(image: Image.Image, scale: float) -> Image.Image:
    """Resize both sides by ``scale`` (bicubic), rounded half up, to at least one pixel."""
    return resized(image, image.size if scale == 1 else _scaled_size(image.size, scale))


def reduced(photo: Image.Image, longest: int) -> Image.Image:
    """The photo, made smaller if its longest side is over ``longest`` pixels (0: never)."""
    return resized(photo, reduced_size(photo.size, longest))


def reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(width, height) after :func:`reduced`."""
    return _scaled_size(size, longest / max(size)) if 0 < longest < max(size) else size


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to ``size`` (width, height), bicubic; an image of that size is returned itself."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Crop:
    """One random scale, flip and square window, the same for a photo and its mask.

    The photo is resized to ``size`` (width, height) and perhaps mirrored left to right. ``x`` and
    ``y``: offset in the window of ``side`` pixels, offset in the photo, pixels to copy.
    """

    side: int
    size: tuple[int, int]
    mirrored: bool
    x: tuple[int, int, int]
    y: tuple[int, int, int]

    def image(self, image: Image.Image, normalisation: Normalisation) -> Tensor:
        """(3, side, side) float32, normalised as by ``to_tensor``, 0 outside the photo."""
        part = self._cut(image, Image.Resampling.BICUBIC)
        return self._placed(to_tensor(part, normalisation), 0.0)

    def mask(self, mask: NDArray[np.uint8]) -> Tensor:
        """(side, side) int64 of an (H, W) mask by nearest neighbour, 255 outside the photo."""
        part = self._cut(Image.fromarray(mask), Image.Resampling.NEAREST)
        values = torch.from_numpy(np.array(part, dtype=np.int64))
        return self._placed(values[None], IGNORE)[0]

    def planes(self, planes: NDArray[np.uint8]) -> Tensor:
        """(P, side, side) uint8 of (P, h, w) planes over the photo, bilinearly; 0 outside it.

        P may be 0.
        """
        parts = [self._cut(Image.fromarray(plane), Image.Resampling.BILINEAR) for plane in planes]
        values = np.array(parts, np.uint8).reshape(len(planes), self.y[2], self.x[2])
        return self._placed(torch.from_numpy(values), 0)

    def _cut(self, image: Image.Image, how: Image.Resampling) -> Image.Image:
        (_, left, width), (_, top, height) = self.x, self.y
        if image.size != self.size:
            image = image.resize(self.size, how)
        image = image.crop((left, top, left + width, top + height))
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else image

    def _placed(self, values: Tensor, rest: float) -> Tensor:
        (left, _, width), (top, _, height) = self.x, self.y
        out = torch.full((len(values), self.side, self.side), rest, dtype=values.dtype)
        out[:, top : top + height, left : left + width] = values
        return out


def draw_crop(
    size: tuple[int, int],
    side: int,
    longest: tuple[int, int],
    rng: np.random.Generator,
    flip: bool = True,
) -> Crop:
    """Draw a crop by IRN's recipe: random scale, random flip, random square window.

    The longest side becomes a whole number of pixels drawn uniformly from ``longest``, both ends
    included; half of the photos are mirrored if ``flip``; a ``side`` x ``side`` window is drawn
    uniformly. A photo smaller than the window is placed at random in it; the rest is 0, the mean
    colour after normalisation.

    Args:
        size: (width, height) of the photo.
        side: side of the crop in pixels.
        longest: least and greatest length of the longest side in pixels.
        rng: source of four numbers, whatever the photo and the settings.
        flip: whether photos are mirrored.
    """
    target = int(rng.integers(longest[0], longest[1], endpoint=True))
    mirrored = bool(rng.random() < 0.5) and flip
    places = rng.random(2)
    width, height = _scaled_size(size, target / max(size))
    x = _window(width, side, float(places[0]))
    y = _window(height, side, float(places[1]))
    return Crop(side, (width, height), mirrored, x, y)


def _window(length: int, side: int, place: float) -> tuple[int, int, int]:
    """Along one axis: offset in the crop, offset in the photo, and pixels to copy."""
    offset = int(place * (abs(length - side) + 1))
    return (0, offset, side) if length >= side else (offset, 0, length)


def _scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = (max(1, int(side * scale + 0.5)) for side in size)
    return width, height
