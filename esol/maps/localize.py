"""Localization maps of any method: multi-scale, flipped, batched."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from esol.data.batch import together
from esol.data.images import image_size, load_image
from esol.data.normalisation import IMAGENET, Normalisation
from esol.data.sample import Sample
from esol.data.transforms import reduced_size, resized, scaled, squash, to_tensor
from esol.maps.files import grid
from esol.networks.backbone import Backbone, features_of_photos
from esol.ops.grids import resize
from esol.settings import Cams, Input
from esol.system.precision import Asked, half
from esol.training.features import FeatureCache

Located = tuple[Sample, tuple[int, int], dict[str, NDArray[np.float32]]]
"""A photo, its (H, W), and per kind its (K', h, w) maps in 0 .. 1 on the stride-4 grid."""


class Network(Protocol):
    """A module with a backbone that computes maps from the backbone's features."""

    @property
    def backbone(self) -> Backbone:
        """From images to features."""

    def maps(self, features: Tensor) -> Mapping[str, Tensor]:
        """(N, C, h, w) features -> kind -> (N, K, h, w) maps of the classes, before ReLU."""


BATCH = 16


@dataclass(frozen=True)
class SizedSample:
    """A photo to be mapped and its size in pixels, (H, W)."""

    sample: Sample
    size: tuple[int, int]


def batches_of_one_size(
    samples: tuple[Sample, ...], *, same: bool, limit: int = BATCH
) -> list[list[SizedSample]]:
    """Group photos so that a batch needs no padding, which would change the maps at its borders.

    With ``same`` every photo enters the network at one size anyway. A batch has at most ``limit``,
    and fewer of large photos.
    """
    buckets: dict[tuple[int, int], list[tuple[SizedSample, int]]] = {}
    for sample in samples:
        photo = SizedSample(sample, image_size(sample.image))
        # Both the photo and its maps, of which there is one for each tag, are held.
        pixels = math.prod(photo.size) * max(1, len(sample.tags))
        buckets.setdefault((0, 0) if same else photo.size, []).append((photo, pixels))
    return [batch for bucket in buckets.values() for batch in together(bucket, limit)]


@dataclass(frozen=True)
class View:
    """A photo as a network gets it: at a scale, plain or mirrored left to right."""

    scale: float
    mirrored: bool


@torch.no_grad()
def localize(
    networks: Sequence[Network],
    photos: list[SizedSample],
    settings: Cams,
    inputs: Input,
    cache: FeatureCache | None,
    precision: Asked = "no",
) -> Iterator[Located]:
    """Maps of a batch of photos of one size.

    At every scale, and for its mirror image, ReLU of the tagged classes' maps is resized to the
    photo's stride-4 grid; the sum is divided by its maximum (IRN's recipe, without subtracting the
    minimum). A map that is 0 everywhere stays 0.

    Args:
        networks: on their device, in evaluation mode; their kinds of maps differ.
        photos: one batch from ``batches_of_one_size``.
        settings: scales and flip.
        inputs: resize and size.
        cache: features at scale 1, or None.
        precision: in which the networks compute.
    """
    sums: list[dict[str, Tensor]] = [{} for _ in photos]
    reader = Reader(photos, inputs, cache, precision)
    mirrored = (False, True) if settings.flip else (False,)
    for view in (View(scale, mirror) for scale in settings.scales for mirror in mirrored):
        for network in networks:
            features = reader.features(network.backbone, view)
            with half(features.device, precision):
                maps = network.maps(features)
            for row, (photo, total) in enumerate(zip(photos, sums, strict=True)):
                for kind, values in maps.items():
                    tagged = values[row, list(photo.sample.tags)].relu()[None]
                    tagged = tagged.flip(3) if view.mirrored else tagged
                    scores = resize(tagged, grid(photo.size))[0]
                    total[kind] = total[kind] + scores if kind in total else scores
    for photo, total in zip(photos, sums, strict=True):
        yield photo.sample, photo.size, {kind: _normalised(maps) for kind, maps in total.items()}


class Reader:
    """Features of a batch of photos, from the cache or computed; each photo is read once.

    The arguments are those of :func:`localize`.
    """

    def __init__(
        self,
        photos: list[SizedSample],
        inputs: Input,
        cache: FeatureCache | None,
        precision: Asked = "no",
    ) -> None:
        self.photos, self.inputs, self.cache, self.precision = photos, inputs, cache, precision
        self.images: list[Image.Image] = []
        self._last = (0.0, IMAGENET, torch.empty(0))

    def features(self, backbone: Backbone, view: View) -> Tensor:
        """(N, C, h, w) float32 features of one view, on the backbone's device."""
        device = next(backbone.parameters()).device
        if self.cache is not None and view.scale == 1:
            rows = [self.cache.read(photo.sample, view.mirrored).float() for photo in self.photos]
            return torch.stack(rows).to(device)
        batch = self.pixels(view.scale, backbone.normalisation)
        batch = (batch.flip(3) if view.mirrored else batch).to(device)
        return features_of_photos(backbone, batch, self.precision)

    def pixels(self, scale: float, normalisation: Normalisation) -> Tensor:
        """(N, 3, H, W) photos at a scale; those of the last scale are stored for the mirror."""
        if (scale, normalisation) != self._last[:2]:
            self.images = self.images or [self._shown(photo) for photo in self.photos]
            resized = (_resized(image, scale, self.inputs) for image in self.images)
            pixels = torch.stack([to_tensor(image, normalisation) for image in resized])
            self._last = (scale, normalisation, pixels)
        return self._last[2]

    def _shown(self, photo: SizedSample) -> Image.Image:
        whole = photo.size[::-1]
        size = reduced_size(whole, self.inputs.shown(max(whole)))
        image = load_image(photo.sample.image, size)
        return image if size == whole else resized(image, size)


def _resized(image: Image.Image, scale: float, inputs: Input) -> Image.Image:
    if inputs.resize == "squash":
        return squash(image, max(32, round(inputs.size * scale)))
    return scaled(image, scale)


def _normalised(total: Tensor) -> NDArray[np.float32]:
    peak = total.amax(dim=(1, 2), keepdim=True).clamp_min(1e-5)
    return (total / peak).cpu().numpy()
