"""A network for benchmarks: a backbone, and a linear classifier fitted in closed form."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from esol.data import open_dataset
from esol.data.images import load_image
from esol.data.sample import Dataset, Sample
from esol.data.synthetic import write_synthetic
from esol.data.transforms import to_tensor
from esol.networks.backbone import Backbone
from esol.settings import BackboneSettings, Data
from esol.system.precision import single

TRAIN, RIDGE = 64, 1e-2
ANIMALS = ("cat", "chair", "cow", "dog", "horse", "person", "sheep", "sofa")


class Linear(nn.Module):
    """Backbone and a 1 x 1 convolution, as ``esol.maps.localize.Network`` wants it."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.v = nn.Conv2d(backbone.channels, classes, 1, bias=False)

    def maps(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, h, w) features -> (N, K, h, w) maps, before ReLU."""
        return {"cam": single(self.v(features))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images -> (N, K, h, w) maps, before ReLU; as timm's network computes it."""
        maps: Tensor = self.v(self.backbone.network.forward_features(images))
        return maps


def add_data(parser: ArgumentParser, backbone: str) -> None:
    """Flags that name photos and network."""
    parser.add_argument("data", nargs="?", type=Path, help="data folder; drawn photos without it")
    parser.add_argument("--kind", default="auto", help="layout of the data folder")
    parser.add_argument("--list", default="train", help="list of photos, with tags and masks")
    parser.add_argument("--classes", nargs="*", default=ANIMALS, help="used classes")
    parser.add_argument("--photos", type=int, default=48, help="how many of them")
    parser.add_argument("--backbone", default=backbone, help="timm's name")
    parser.add_argument("--weights", default="none", help="none, imagenet, or a file")


def read(options: Namespace, folder: str) -> Dataset:
    """The data set, or one drawn into ``folder``."""
    if options.data is None:
        write_synthetic(Path(folder), photos=8, size=96, seed=0, hard=True)
        return open_dataset(folder, Data(train=options.list))
    classes = tuple(options.classes)
    return open_dataset(
        options.data,
        Data(
            kind=options.kind,
            train=options.list,
            evaluate=(options.list,),
            classes=classes,
            limit=options.photos,
        ),
    )


@torch.no_grad()
def fitted(options: Namespace, samples: Sequence[Sample], classes: int) -> Linear:
    """The network; its classifier is the ridge regression of tags on mean features.

    Good enough for maps that look like maps; training would change no time measured here.
    """
    torch.manual_seed(0)
    name, weights = options.backbone, options.weights
    backbone = Backbone(
        BackboneSettings(name=name, weights=weights, stride=16, learn=(), norm="frozen")
    )
    network = Linear(backbone, classes).eval().to(options.device)
    chosen = samples[:: max(1, len(samples) // TRAIN)]
    means = [
        backbone(
            to_tensor(load_image(sample.image), backbone.normalisation)[None].to(options.device)
        ).mean((2, 3))
        for sample in chosen
    ]
    seen = torch.cat(means).double()
    tags = torch.full((len(chosen), classes), -1.0, dtype=torch.float64, device=seen.device)
    for row, sample in enumerate(chosen):
        tags[row, list(sample.tags)] = 1
    # Without a bias, as CAM's classifier.
    square = seen.T @ seen
    square.diagonal().add_(RIDGE * square.diagonal().mean())
    network.v.weight.copy_(torch.linalg.solve(square, seen.T @ tags).T[:, :, None, None])
    return network
