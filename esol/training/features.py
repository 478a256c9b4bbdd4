"""Feature cache: a backbone's features of each photo and its mirror image, computed once."""

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esol.data import packed
from esol.data.at_once import at_once, in_order
from esol.data.images import image_size, load_image
from esol.data.memory import enough_memory
from esol.data.sample import Sample
from esol.data.transforms import squash, squash_mask, squash_planes, to_tensor
from esol.errors import InputError
from esol.networks.backbone import Backbone, features_of_photos
from esol.networks.feature_head import FINER
from esol.networks.identity import network_identity
from esol.settings import Settings
from esol.system.distributed import all_from_main, all_wait, device_of, my_share
from esol.system.files import atomic, make_folder
from esol.system.precision import resolved
from esol.system.progress import log, track
from esol.training.inputs import Example, Inputs, Masks, Planes, check_mask, mirrored

BATCH = 8

OWN = "cache"
"""Folder in a run for its own caches."""


@dataclass(frozen=True)
class FeatureCache:
    """Features on disk, one float16 file per photo: (2, C, h, w), the photo and its mirror image.

    A file is named by a hash of the photo's content, so an edited photo is computed again, and a
    renamed, moved or copied one is not.
    """

    folder: Path

    def path(self, sample: Sample) -> Path:
        """File of a photo's features."""
        return self.folder / f"{packed.digest(sample.image)[:32]}.npy"

    def has(self, sample: Sample, earlier: Sequence[Path] = ()) -> bool:
        """Whether a photo's features are here, if need be after they were linked from elsewhere.

        Args:
            sample: the photo.
            earlier: folders of other caches of the same network.
        """
        path = self.path(sample)
        if path.exists():
            return True
        names = (path.name, _former_name(sample))
        places = [folder / name for folder in (self.folder, *earlier) for name in names]
        there = next((place for place in places if place.exists()), None)
        if there is not None:
            _link(there, path)
        return there is not None

    def missing(self, samples: Sequence[Sample], earlier: Sequence[Path] = ()) -> list[int]:
        """Places of the photos that are not cached, ``earlier`` as in :meth:`has`.

        All processes get what the main one sees, as another may have begun to write.
        """
        return all_from_main(
            lambda: [n for n, sample in enumerate(samples) if not self.has(sample, earlier)]
        )

    def read(self, sample: Sample, mirrored: bool) -> Tensor:
        """(C, h, w) float16 features of the photo, or of its mirror image."""
        return torch.from_numpy(np.array(self._stored(sample)[int(mirrored)]))

    def both(self, sample: Sample) -> Tensor:
        """(2, C, h, w) float16 features of the photo and of its mirror image."""
        return torch.from_numpy(np.array(self._stored(sample)))

    def _stored(self, sample: Sample) -> NDArray[np.float16]:
        path = self.path(sample)
        try:
            array: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.ndim != 4 or len(array) != 2 or array.dtype != np.float16:
                raise ValueError("other features")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read; delete it and run again") from error
        return array

    def inputs(
        self,
        samples: tuple[Sample, ...],
        classes: int,
        *,
        flip: bool,
        masks: Masks | None = None,
        planes: Planes | None = None,
        by_tag: bool = False,
    ) -> Inputs:
        """Training inputs from the cache; planes have the features' resolution, masks that of
        :class:`esol.networks.feature_head.FeatureHead`.
        """
        load = _Cached(self, flip, masks, planes)
        return Inputs(samples, classes, load, cached=True, by_tag=by_tag)


def _former_name(sample: Sample) -> str:
    """What versions up to 0.1.0 called the file of a photo's features."""
    stat = packed.stat(sample.image)
    key = f"{sample.name}|{stat.st_size}|{stat.st_mtime_ns}"
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"


def _link(source: Path, path: Path) -> None:
    """A second name for a file, which takes no room; a copy on another file system."""
    with atomic(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


@dataclass(frozen=True)
class _Cached:
    """Reads features, mirrored by chance; an object, so that loader processes can copy it."""

    cache: FeatureCache
    flip: bool
    masks: Masks | None
    planes: Planes | None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Example:
        is_mirrored = self.flip and bool(rng.random() < 0.5)
        features = self.cache.read(sample, is_mirrored)
        # Cached features are those of a square input.
        side = features.shape[-1]
        mask = self._mask(sample, FINER * side)
        planes = squash_planes(self.planes(sample), side) if self.planes else None
        example = Example(features, mask, planes)
        return mirrored(example)._replace(input=features) if is_mirrored else example

    def _mask(self, sample: Sample, side: int) -> Tensor | None:
        if self.masks is None:
            return None
        mask = self.masks(sample)
        check_mask(sample, mask, image_size(sample.image))
        return squash_mask(mask, side)


def cache_folder(settings: Settings, run: Path, trained: str = "") -> Path:
    """Folder of the cache: its name holds what the features depend on besides the photo.

    Args:
        settings: all settings.
        run: run folder.
        trained: digest of the backbone's weights if it has learned.
    """
    precision = resolved(settings.machine.precision, device_of(settings.machine.device))
    depends = {
        **network_identity(settings.backbone, "backbone", settings.input.one_side),
        "size": settings.input.size,
        # Random weights are those of the seed.
        "seed": settings.seed if settings.backbone.weights == "none" else None,
        "version": 1,
        **({"trained": trained} if trained else {}),
        **({"precision": precision} if precision == "bf16" else {}),
    }
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    parent = Path(settings.machine.cache) if settings.machine.cache else run / OWN
    return parent / f"features-{key}"


def compute_features(
    backbone: Backbone,
    samples: tuple[Sample, ...],
    settings: Settings,
    run: Path,
    trained: str = "",
) -> FeatureCache:
    """Fill the cache with the photos that it lacks; several processes share them.

    What the run has that classify.init names is taken from there.

    Args:
        backbone: on its device, in evaluation mode.
        samples: the photos.
        settings: all settings.
        run: run folder.
        trained: digest of the backbone's weights if it has learned.

    Raises:
        InputError: the disk has no room for it.
    """
    cache = FeatureCache(cache_folder(settings, run, trained))
    init = settings.classify.init
    earlier = [Path(init) / OWN / cache.folder.name] if init else []
    missing = cache.missing(samples, earlier)
    if not missing:
        return cache
    make_folder(cache.folder)
    device = next(backbone.parameters()).device
    backbone = copy.deepcopy(backbone).fold()  # the caller's may have to be saved yet
    _check_room(backbone, len(missing), settings, cache.folder, device)
    todo = [samples[place] for place in missing]
    groups = my_share([todo[start : start + BATCH] for start in range(0, len(todo), BATCH)])

    @torch.no_grad()
    def compute(group: Sequence[Sample]) -> None:
        with enough_memory([sample.image for sample in group], "input.size"):
            side = settings.input.size
            images = [squash(load_image(sample.image, (side, side)), side) for sample in group]
            # Always as many: the last bit of a photo may depend on how many are computed at once,
            # and must not depend on what was there before.
            images += [images[-1]] * (BATCH - len(group))
            tensors = [to_tensor(image, backbone.normalisation) for image in images]
            batch = torch.stack(tensors).to(device)
            views, precision = (batch, batch.flip(3)), settings.machine.precision
            found = [features_of_photos(backbone, view, precision) for view in views]
            both = torch.stack(found, dim=1)
        for sample, pair in zip(group, both.half().cpu().numpy()[: len(group)], strict=True):
            with atomic(cache.path(sample)) as temporary:
                np.save(temporary, pair, allow_pickle=False)

    done = in_order(compute, groups, at_once(BATCH * settings.input.size**2, device))
    for _ in track(done, "features", total=len(groups), unit="batches"):
        pass
    all_wait()
    return cache


def _check_room(
    backbone: Backbone, photos: int, settings: Settings, folder: Path, device: torch.device
) -> None:
    side = settings.input.size
    one = backbone(torch.zeros(1, 3, side, side, device=device)).numel()
    need, free = photos * 2 * 2 * one, shutil.disk_usage(folder).free
    if need > 0.9 * free:
        raise InputError(
            f"{folder}: the feature cache needs {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are"
            " free; set machine.cache to another disk, or lower data.limit or input.size"
        )
    what = "1 photo" if photos == 1 else f"{photos} photos"
    log.info("computing features of %s, %.1f GiB in %s", what, need / 2**30, folder)
