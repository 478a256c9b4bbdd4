"""Localization maps of all three phases: multi-scale, flipped, batched."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from esol.data.images import image_size, load_image
from esol.data.sample import Sample
from esol.data.transforms import scaled, squash, to_tensor
from esol.features import FeatureCache
from esol.maps import grid
from esol.models.samplers import Localizer
from esol.settings import MAP_KINDS, Cams, Input, MapKind

Located = tuple[Sample, tuple[int, int], dict[MapKind, NDArray[np.float32]]]
"""A photo, its (H, W), and per phase its (K', h, w) maps in 0 .. 1 on the stride-4 grid."""

BATCH = 16


@dataclass(frozen=True)
class Photo:
    """A photo to be mapped and its size in pixels, (H, W)."""

    sample: Sample
    size: tuple[int, int]


def batches_of_one_size(
    samples: tuple[Sample, ...], *, same: bool, limit: int = BATCH
) -> list[list[Photo]]:
    """Group photos so that a batch needs no padding, which would change the maps at its borders.

    Args:
        samples: the photos.
        same: every photo enters the network at one size anyway.
        limit: photos per batch.
    """
    photos = [Photo(sample, image_size(sample.image)) for sample in samples]
    buckets: dict[tuple[int, int], list[Photo]] = {}
    for photo in photos:
        buckets.setdefault((0, 0) if same else photo.size, []).append(photo)
    return [
        bucket[i : i + limit] for bucket in buckets.values() for i in range(0, len(bucket), limit)
    ]


@torch.no_grad()
def localize(
    localizer: Localizer,
    photos: list[Photo],
    settings: Cams,
    inputs: Input,
    cache: FeatureCache | None,
) -> Iterator[Located]:
    """Maps of a batch of photos of one size.

    For every scale, and its mirror image, ReLU of the tagged classes' maps is resized to the
    photo's stride-4 grid; the sum is divided by its maximum (PEERS: the recipe of IRN, without
    subtracting the minimum). A map that is 0 everywhere stays 0.

    Args:
        localizer: on its device, in evaluation mode.
        photos: one batch from ``batches_of_one_size``.
        settings: scales and flip.
        inputs: resize and size.
        cache: features at scale 1, or None.
    """
    sums: list[dict[MapKind, Tensor]] = [{} for _ in photos]
    images = (
        [load_image(photo.sample.image) for photo in photos]
        if _needs_images(settings, cache)
        else []
    )
    for scale in settings.scales:
        for mirrored in (False, True) if settings.flip else (False,):
            if cache is not None and scale == 1:
                rows = [cache.read(photo.sample, mirrored).float() for photo in photos]
                features = torch.stack(rows).to(_device(localizer))
            else:
                batch = torch.stack([to_tensor(_resized(image, scale, inputs)) for image in images])
                batch = batch.flip(3) if mirrored else batch
                features = localizer.classifier.backbone(batch.to(_device(localizer)))
            maps = localizer.maps(features)
            for kind, values in zip(MAP_KINDS, maps, strict=True):
                _add(sums, kind, values.flip(3) if mirrored else values, photos)
    for photo, total in zip(photos, sums, strict=True):
        yield photo.sample, photo.size, {kind: _normalised(total[kind]) for kind in MAP_KINDS}


def _needs_images(settings: Cams, cache: FeatureCache | None) -> bool:
    return cache is None or any(scale != 1 for scale in settings.scales)


def _device(localizer: Localizer) -> torch.device:
    return next(localizer.parameters()).device


def _resized(image, scale: float, inputs: Input):  # type: ignore[no-untyped-def]
    if inputs.resize == "squash":
        return squash(image, max(32, round(inputs.size * scale)))
    return scaled(image, scale)


def _add(
    sums: list[dict[MapKind, Tensor]], kind: MapKind, maps: Tensor, photos: list[Photo]
) -> None:
    for total, own, photo in zip(sums, F.relu(maps), photos, strict=True):
        tagged = own[list(photo.sample.tags)][None]
        resized = F.interpolate(tagged, grid(photo.size), mode="bilinear", align_corners=False)[0]
        total[kind] = total[kind] + resized if kind in total else resized


def _normalised(total: Tensor) -> NDArray[np.float32]:
    peak = total.amax(dim=(1, 2), keepdim=True).clamp_min(1e-5)
    maps: NDArray[np.float32] = (total / peak).cpu().numpy()
    return maps
