"""From photos to network inputs. Stateless: all chance comes from the generator passed in."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_tensor(image: Image.Image) -> Tensor:
    """RGB photo to a (3, H, W) float32 tensor, normalised by ImageNet's mean and deviation.

    A value v of 0 .. 255 becomes (v / 255 - mean) / std, roughly -2.1 .. 2.7.
    """
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
    mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return ((pixels.to(torch.float32) / 255 - mean) / std).contiguous()


def squash(image: Image.Image, side: int) -> Image.Image:
    """Resize to ``side`` x ``side`` pixels (bicubic), whatever the photo's proportions."""
    return image.resize((side, side), Image.Resampling.BICUBIC)


def scaled(image: Image.Image, scale: float) -> Image.Image:
    """Resize both sides by ``scale`` (bicubic), to at least one pixel; 1 returns the photo itself.

    Sides are rounded to whole pixels, halves up.
    """
    if scale == 1:
        return image
    width, height = (max(1, int(side * scale + 0.5)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def random_crop_scale(
    image: Image.Image,
    side: int,
    longest: tuple[int, int],
    rng: np.random.Generator,
    flip: bool = True,
) -> Tensor:
    """Training input by IRN's recipe: random scale, random flip, random square crop.

    The longest side becomes a whole number of pixels drawn evenly from ``longest``, both ends
    included; half of the photos are mirrored if ``flip``; a ``side`` x ``side`` window is drawn
    evenly. Where the photo is smaller than the window it is placed at random and the rest is 0,
    the mean colour after normalisation: that is why this returns a tensor and not an image.

    Args:
        image: RGB photo.
        side: side of the crop in pixels.
        longest: least and greatest length of the longest side in pixels.
        rng: source of the four numbers drawn, always four whatever the photo and the settings.
        flip: whether photos are mirrored.

    Returns:
        (3, side, side) float32, normalised as by ``to_tensor``.
    """
    target = int(rng.integers(longest[0], longest[1], endpoint=True))
    mirrored = bool(rng.random() < 0.5) and flip
    places = rng.random(2)
    image = scaled(image, target / max(image.size))
    left, from_x, width = _window(image.width, side, float(places[0]))
    top, from_y, height = _window(image.height, side, float(places[1]))
    image = image.crop((from_x, from_y, from_x + width, from_y + height))
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    out = torch.zeros(3, side, side)
    out[:, top : top + height, left : left + width] = to_tensor(image)
    return out


def _window(length: int, side: int, place: float) -> tuple[int, int, int]:
    """Along one axis: offset in the crop, offset in the photo, and pixels to copy."""
    offset = int(place * (abs(length - side) + 1))
    return (0, offset, side) if length >= side else (offset, 0, length)
