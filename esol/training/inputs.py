"""Training inputs by index, and the endless, stateless order in which they are drawn."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from esol.data.batch import Batch
from esol.data.images import image_size, load_image, load_mask
from esol.data.memory import enough_memory
from esol.data.normalisation import Normalisation
from esol.data.sample import Sample
from esol.data.transforms import draw_crop, squash, squash_mask, squash_planes, to_tensor
from esol.errors import InputError
from esol.settings import Input
from esol.system.distributed import processes, rank


class Example(NamedTuple):
    """One view of a photo.

    Attributes:
        input: (3, H, W) augmented image, or (C, h, w) features.
        mask: (H, W) int64 mask of the same view.
        planes: (P, h, w) uint8 planes of the same view, of an image at a quarter of its sides.
    """

    input: Tensor
    mask: Tensor | None = None
    planes: Tensor | None = None


Planes = Callable[[Sample], NDArray[np.uint8]]
"""A photo's (P, h, w) planes, 0 .. 255, which cover the photo at any resolution. P may differ from
photo to photo where they are those of its tagged classes (``Inputs.by_tag``)."""

Masks = Callable[[Sample], NDArray[np.uint8]]
"""A photo's (H, W) mask: 0 background, class index + 1, 255 ignored."""

Draw = tuple[int, int]
"""Position in the sequence of all drawn examples, index of the photo."""


@dataclass(frozen=True)
class Inputs:
    """Training examples.

    Attributes:
        samples: the photos.
        classes: K.
        load: (sample, random generator) -> example.
        cached: whether ``load`` gives features.
        by_tag: planes are those of the photo's tagged classes; the batch has one per class, 0 where
            the photo has not the tag.
    """

    samples: tuple[Sample, ...]
    classes: int
    load: Callable[[Sample, np.random.Generator], Example]
    cached: bool = False
    by_tag: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def batches(
        self, batch: int, *, seed: int, start: int, stop: int, workers: int
    ) -> Iterator[Batch]:
        """Batches of the steps start .. stop - 1.

        A step's photos and their augmentation depend on (seed, step) alone: not on earlier steps,
        nor on the number of workers. Each of several processes gets an equal part of every batch.

        Raises:
            ValueError: the processes cannot have equal parts.
        """
        if batch % processes():
            raise ValueError(f"a batch of {batch} has no equal parts for {processes()} processes")
        loader = DataLoader(
            _Drawn(self, seed),
            batch_sampler=_Steps(len(self.samples), batch, seed, start, stop),
            collate_fn=self._collate,
            num_workers=workers,
            # Its own generator: by default the loader draws from the global one when it starts,
            # which a resumed run would do once more than an uninterrupted one.
            generator=torch.Generator().manual_seed(seed),
        )
        return _sound(iter(loader))

    def _collate(self, items: list[tuple[Example, Sample] | InputError]) -> Batch | InputError:
        """A batch of the examples, or what is wrong with the first that has none."""
        examples = [item for item in items if not isinstance(item, InputError)]
        error = next((item for item in items if isinstance(item, InputError)), None)
        return error or self._batch(examples)

    def _batch(self, items: list[tuple[Example, Sample]]) -> Batch:
        tags = torch.zeros(len(items), self.classes)
        for row, (_, sample) in enumerate(items):
            tags[row, list(sample.tags)] = 1
        masks = [example.mask for example, _ in items if example.mask is not None]
        planes = [self._placed(*item) for item in items if item[0].planes is not None]
        return Batch(
            inputs=torch.stack([example.input for example, _ in items]),
            tags=tags,
            names=tuple(sample.name for _, sample in items),
            cached=self.cached,
            masks=torch.stack(masks) if masks else None,
            targets=torch.stack(planes).float() / 255 if planes else None,
        )

    def _placed(self, example: Example, sample: Sample) -> Tensor:
        assert example.planes is not None
        if not self.by_tag:
            return example.planes
        places = example.planes.new_zeros(self.classes, *example.planes.shape[1:])
        places[list(sample.tags)] = example.planes
        return places


@dataclass(frozen=True)
class MaskFolder:
    """Masks NAME.png of a folder, by sample; photos named in ``replaced`` have theirs elsewhere."""

    folder: Path
    replaced: Mapping[str, Path] = field(default_factory=dict)

    def path(self, sample: Sample) -> Path:
        """File of a photo's mask."""
        return self.replaced.get(sample.name, self.folder / f"{sample.name}.png")

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """(H, W) mask of a photo."""
        return load_mask(self.path(sample))


def photo_inputs(
    samples: tuple[Sample, ...],
    classes: int,
    settings: Input,
    normalisation: Normalisation,
    masks: Masks | None = None,
    planes: Planes | None = None,
    *,
    by_tag: bool = False,
) -> Inputs:
    """Photos, with their masks or planes if given, augmented as ``settings`` say."""
    load = _Augmented(settings, normalisation, masks, planes)
    return Inputs(samples, classes, load, by_tag=by_tag)


@dataclass(frozen=True)
class _Augmented:
    """Reads and augments a photo; an object, so that loader processes can copy it."""

    settings: Input
    normalisation: Normalisation
    masks: Masks | None
    planes: Planes | None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Example:
        (height, width), settings = image_size(sample.image), self.settings
        mask = self.masks(sample) if self.masks else None
        planes = self.planes(sample) if self.planes else None
        if mask is not None:
            check_mask(sample, mask, (height, width))
        if settings.resize == "crop":
            crop = draw_crop((width, height), settings.size, settings.longest, rng, settings.flip)
            return Example(
                crop.image(load_image(sample.image, crop.size), self.normalisation),
                None if mask is None else crop.mask(mask),
                None if planes is None else _quarter(crop.planes(planes)),
            )
        image = load_image(sample.image, (settings.size, settings.size))
        whole = Example(
            to_tensor(squash(image, settings.size), self.normalisation),
            None if mask is None else squash_mask(mask, settings.size),
            None if planes is None else squash_planes(planes, -(-settings.size // 4)),
        )
        return mirrored(whole) if settings.flip and rng.random() < 0.5 else whole


def check_mask(sample: Sample, mask: NDArray[np.uint8], size: tuple[int, int]) -> None:
    """Refuse a mask of another size than its photo's (H, W)."""
    if mask.shape != size:
        raise InputError(
            f"{sample.name}: a mask of {mask.shape} pixels for a photo of {size}; make the masks"
            " again"
        )


def _quarter(planes: Tensor) -> Tensor:
    """Means over 4 x 4 pixels: no map is finer, and a batch has a plane for every class."""
    # One channel each: there may be no plane, but not no channel.
    means = F.avg_pool2d(planes[:, None].float(), 4, ceil_mode=True, count_include_pad=False)
    return means[:, 0].round().to(torch.uint8)


def mirrored(view: Example) -> Example:
    """The view mirrored left to right."""
    return Example(*(None if part is None else part.flip(-1) for part in view))  # type: ignore[arg-type]


def _sound(batches: Iterator[Batch | InputError]) -> Iterator[Batch]:
    """The batches, up to the first that could not be read."""
    for batch in batches:
        if isinstance(batch, InputError):
            raise batch
        yield batch


class _Drawn(torch.utils.data.Dataset[tuple[Example, Sample] | InputError]):
    """Map-style view on the inputs, keyed by draw.

    An InputError is returned, not raised: out of a loader's process it would come with a traceback
    in its message.
    """

    def __init__(self, inputs: Inputs, seed: int) -> None:
        self.inputs = inputs
        self.seed = seed

    def __getitem__(self, draw: Draw) -> tuple[Example, Sample] | InputError:
        position, index = draw
        sample = self.inputs.samples[index]
        try:
            with enough_memory([sample.image]):
                rng = np.random.default_rng((self.seed, 1, position))
                return self.inputs.load(sample, rng), sample
        except InputError as error:
            return error


class _Steps:
    """Draws of each step: epoch after epoch in fresh random order, with no gap between epochs."""

    def __init__(self, photos: int, batch: int, seed: int, start: int, stop: int) -> None:
        self.photos = photos
        self.batch = batch
        self.seed = seed
        self.range = range(start, stop)

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[list[Draw]]:
        order: dict[int, np.ndarray] = {}
        for step in self.range:
            draws = []
            for position in range(step * self.batch, (step + 1) * self.batch):
                epoch, place = divmod(position, self.photos)
                if epoch not in order:
                    rng = np.random.default_rng((self.seed, 0, epoch))
                    order = {epoch: rng.permutation(self.photos)}
                draws.append((position, int(order[epoch][place])))
            part = self.batch // processes()
            yield draws[rank() * part : (rank() + 1) * part]
