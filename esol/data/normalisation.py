"""Mean and deviation of a network's inputs; plain numbers, known without PyTorch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Normalisation:
    """How photos are normalised for a network: as those that its weights were learned from.

    Attributes:
        mean: of red, green and blue, of values 0 .. 1; the default is ImageNet's.
        std: their standard deviation.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


IMAGENET = Normalisation()
