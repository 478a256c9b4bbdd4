"""Photos alone and in batches of 16, on the CPU and on a GPU: the same results within bounds."""

import numpy as np
import pytest
import torch
from PIL import Image

import esol.training.features
from esol.data.images import load_image
from esol.data.sample import Sample
from esol.maps.localize import batches_of_one_size, localize
from esol.method.classifier import Classifier, Head
from esol.method.expansion import Expansion
from esol.method.localizer import Localizer
from esol.method.shrinkage import Shrinkage
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter
from esol.ops.crf import dense_crf, unary_from_probabilities
from esol.ops.walk import random_walk
from esol.predict.model import Model
from esol.settings import (
    BackboneSettings,
    Cams,
    Crf,
    Expand,
    HeadSettings,
    Input,
    Segment,
    Settings,
    Shrink,
)
from esol.training.features import compute_features

PHOTOS = 16
BOUND = 1e-5
"""Of maps and probabilities (0 .. 1), a photo alone against 16 together."""

GPU_BOUND = 5e-3
"""Of the same, GPU against CPU: cuDNN's convolutions round their factors to 10 bits (TF32)."""

GPU_BOUND_OPS = 1e-4
"""Of CRF and random walk, which compute in float32 on both."""

DESCRIPTION = {
    "classes": ["one", "two"],
    "resize": "crop",
    "size": 64,
    "longest": 80,
    "scales": [1.0, 0.5],
    "flip": True,
    "crf": {"iterations": 0},
}


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    photos = []
    for number in range(PHOTOS):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        path = folder / f"{number:02d}.png"
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(path)
        photos.append(Sample(path.stem, path, ((0, 2), (1,))[number % 2]))
    return tuple(photos)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return Backbone(
        BackboneSettings(name="test_resnet", weights="none", stride=8, learn=(), norm="frozen")
    ).eval()


def localizer(backbone: Backbone) -> Localizer:
    head = Head(backbone.channels, 3, HeadSettings(width=16, kernel=3))
    torch.nn.init.normal_(head.v.weight)
    expansion = Expansion(head.w1.weight, Expand(clip=0.5, learn="nothing"))
    shrinkage = Shrinkage(head.w2.weight, head.v.weight, Shrink(learn="nothing"))
    return Localizer(Classifier(backbone, head), expansion, shrinkage).eval()


def maps(network: Localizer, samples, resize: str, limit: int) -> dict[str, np.ndarray]:
    """Photo -> its maps of all kinds, in batches of at most so many photos."""
    settings, inputs = Cams(scales=(1.0, 0.5)), Input(size=64, resize=resize)
    batches = batches_of_one_size(samples, same=resize == "squash", limit=limit)
    assert [len(batch) for batch in batches] == [limit] * (PHOTOS // limit)
    result = (
        one for batch in batches for one in localize([network], batch, settings, inputs, None)
    )
    return {sample.name: np.concatenate(list(kinds.values())) for sample, _, kinds in result}


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_maps_of_a_batch(samples, backbone, resize):
    network = localizer(backbone)
    alone, together = (maps(network, samples, resize, limit) for limit in (1, PHOTOS))
    assert len(alone) == PHOTOS
    for name, one in alone.items():
        assert one.max() == 1
        np.testing.assert_allclose(together[name], one, rtol=0, atol=BOUND, err_msg=name)


def segmenter() -> Segmenter:
    torch.manual_seed(0)
    net = Segmenter(
        Segment(
            network="DeepLabV3Plus",
            encoder="tu-test_resnet",
            weights="none",
            stride=16,
            norm="frozen",
        ),
        3,
    )
    for parameter in net.head_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def test_predictions_of_a_batch(samples):
    model, photos = Model(segmenter(), DESCRIPTION), [load_image(s.image) for s in samples]
    together = model.probabilities(photos)
    for photo, many in zip(photos, together, strict=True):
        (one,) = model.probabilities([photo])
        assert one.amax() - one.amin() > 0.1
        torch.testing.assert_close(many, one, rtol=0, atol=BOUND)


@gpu
def test_maps_on_a_gpu(samples, backbone):
    network = localizer(backbone)
    expected = maps(network, samples, "crop", PHOTOS)
    result = maps(network.cuda(), samples, "crop", PHOTOS)
    for name, one in expected.items():
        np.testing.assert_allclose(result[name], one, rtol=0, atol=GPU_BOUND, err_msg=name)


@gpu
def test_predictions_on_a_gpu(samples):
    photos = [load_image(sample.image) for sample in samples]
    expected = Model(segmenter(), DESCRIPTION).probabilities(photos)
    result = Model(segmenter(), DESCRIPTION, "cuda").probabilities(photos).cpu()
    torch.testing.assert_close(result, expected, rtol=0, atol=GPU_BOUND)


@gpu
def test_crf_and_walk_on_a_gpu():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 48, 64, generator=generator)
    photo = torch.randint(0, 256, (48, 64, 3), generator=generator, dtype=torch.uint8)
    edge = torch.rand(48, 64, generator=generator)
    unary = unary_from_probabilities(scores / scores.sum(0))
    results = [
        (
            dense_crf(unary.to(device), photo.to(device), **Crf().kernels()).cpu(),
            random_walk(scores.to(device), edge.to(device), radius=5, beta=10, steps=64).cpu(),
        )
        for device in ("cpu", "cuda")
    ]
    for expected, result in zip(*results, strict=True):
        torch.testing.assert_close(result, expected, rtol=GPU_BOUND_OPS, atol=GPU_BOUND_OPS)


def test_cached_features(samples, backbone, tmp_path, monkeypatch):
    extractor = BackboneSettings(name="test_resnet", weights="none", stride=8, learn=(), cache=True)
    settings = Settings(input=Input(size=64, resize="squash"), backbone=extractor)
    caches = []
    for batch in (1, PHOTOS):
        monkeypatch.setattr(esol.training.features, "BATCH", batch)
        caches.append(compute_features(backbone, samples, settings, tmp_path / str(batch)))
    for sample in samples:
        one, many = (np.load(cache.path(sample)) for cache in caches)
        assert one.max() > 0.1
        # Kept as float16: what differs by a last bit may be rounded to the neighbour.
        np.testing.assert_array_max_ulp(one, many, 1)
