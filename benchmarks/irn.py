"""IRN's way from a photo to its class activation maps: photo by photo, all scales and flips."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from networks import Linear
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from esol.data.images import load_image
from esol.data.normalisation import IMAGENET
from esol.data.sample import Sample
from esol.data.transforms import scaled


class Found(NamedTuple):
    """What IRN stores of a photo: tagged classes, (K', h, w) at stride 4 and (K', H, W) maps."""

    keys: NDArray[np.int64]
    coarse: NDArray[np.float32]
    full: NDArray[np.float32]

    def file(self) -> bytes:
        """The pickled dictionary of NumPy arrays."""
        stream = io.BytesIO()
        np.save(stream, {"keys": self.keys, "cam": self.coarse, "high_res": self.full})  # type: ignore[arg-type]
        return stream.getvalue()


@torch.no_grad()
def locate(network: Linear, sample: Sample, scales: Sequence[float], device: str) -> Found:
    """One batch of two, photo and mirror image, per scale; every class's map is resized."""
    image = load_image(sample.image)
    height, width = image.height, image.width
    coarse, full = [], []
    for scale in scales:
        both = pair(scaled(image, scale)).to(device)
        maps = F.relu(network(both))
        total = (maps[0] + maps[1].flip(-1))[None]
        grid = (-(-height // 4), -(-width // 4))
        padded = (-(-height // 16) * 16, -(-width // 16) * 16)
        coarse.append(F.interpolate(total, grid, mode="bilinear", align_corners=False))
        full.append(F.interpolate(total, padded, mode="bilinear", align_corners=False))
    keys = torch.tensor(sample.tags)
    sums = torch.stack(coarse).sum(0)[0], torch.stack(full).sum(0)[0, :, :height, :width]
    found = []
    for one in sums:
        tagged = one[keys.to(device)]
        found.append((tagged / (tagged.amax((1, 2), keepdim=True) + 1e-5)).cpu().numpy())
    return Found(keys.numpy(), *found)


def pair(image: Image.Image) -> torch.Tensor:
    """(2, 3, H, W) normalised photo and mirror image."""
    pixels = np.asarray(image, np.float32) / 255
    plain = ((pixels - np.float32(IMAGENET.mean)) / np.float32(IMAGENET.std)).transpose(2, 0, 1)
    return torch.from_numpy(np.stack([plain, plain[:, :, ::-1]]))
