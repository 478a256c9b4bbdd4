"""Training inputs by index, and the endless, stateless order in which they are drawn."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from esol.data.images import load_image
from esol.data.sample import Sample
from esol.data.transforms import random_crop_scale, squash, to_tensor
from esol.losses import Batch
from esol.settings import Input

Draw = tuple[int, int]
"""Position in the sequence of all drawn examples, index of the photo."""


@dataclass(frozen=True)
class Inputs:
    """Training examples.

    Attributes:
        samples: the photos.
        classes: K.
        load: (sample, random generator) -> augmented (3, H, W) image or (C, h, w) features.
        cached: whether ``load`` gives features.
    """

    samples: tuple[Sample, ...]
    classes: int
    load: Callable[[Sample, np.random.Generator], Tensor]
    cached: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def batches(
        self, batch: int, *, seed: int, start: int, stop: int, workers: int
    ) -> Iterator[Batch]:
        """Batches of the steps start .. stop - 1.

        A step's photos and their augmentation depend on (seed, step) alone: not on earlier steps,
        nor on the number of workers.
        """
        loader = DataLoader(
            _Drawn(self, seed),
            batch_sampler=_Steps(len(self.samples), batch, seed, start, stop),
            collate_fn=self._collate,
            num_workers=workers,
            # Its own generator: by default the loader draws from the global one when it starts,
            # which a resumed run would do once more than an uninterrupted one.
            generator=torch.Generator().manual_seed(seed),
        )
        return iter(loader)

    def _collate(self, items: list[tuple[Tensor, Sample]]) -> Batch:
        tags = torch.zeros(len(items), self.classes)
        for row, (_, sample) in enumerate(items):
            tags[row, list(sample.tags)] = 1
        inputs = torch.stack([tensor for tensor, _ in items])
        return Batch(inputs, tags, tuple(sample.name for _, sample in items), self.cached)


def photo_inputs(samples: tuple[Sample, ...], classes: int, settings: Input) -> Inputs:
    """Photos, augmented as ``settings`` say."""
    return Inputs(samples, classes, _Augmented(settings))


@dataclass(frozen=True)
class _Augmented:
    """Reads and augments a photo; an object, so that loader processes can copy it."""

    settings: Input

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Tensor:
        image, chosen = load_image(sample.image), self.settings
        if chosen.resize == "crop":
            return random_crop_scale(image, chosen.size, chosen.longest, rng, chosen.flip)
        tensor = to_tensor(squash(image, chosen.size))
        return tensor.flip(2) if chosen.flip and rng.random() < 0.5 else tensor


class _Drawn(torch.utils.data.Dataset[tuple[Tensor, Sample]]):
    """Map-style view on the inputs, keyed by draw."""

    def __init__(self, inputs: Inputs, seed: int) -> None:
        self.inputs = inputs
        self.seed = seed

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Sample]:
        position, index = draw
        sample = self.inputs.samples[index]
        return self.inputs.load(sample, np.random.default_rng((self.seed, 1, position))), sample


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
            yield draws
