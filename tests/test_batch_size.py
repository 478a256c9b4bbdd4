"""Photos alone and photos in batches of 16: the same results but for the last bits."""

import numpy as np
import pytest
import torch
from PIL import Image

import esol.features
from esol.cam import batches_of_one_size, localize
from esol.data.images import load_image
from esol.data.sample import Sample
from esol.features import compute_features
from esol.models.backbone import Backbone
from esol.models.classifier import Classifier, Head
from esol.models.samplers import Expansion, Localizer, Shrinkage
from esol.models.segmenter import Segmenter
from esol.predict import Model
from esol.settings import Backbone as BackboneSettings
from esol.settings import Cams, Input, Settings

PHOTOS = 16
BOUND = 1e-5
DESCRIPTION = {
    "classes": ["one", "two"],
    "resize": "crop",
    "size": 64,
    "longest": 80,
    "scales": [1.0, 0.5],
    "flip": True,
    "crf": {"iterations": 0},
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    made = []
    for number in range(PHOTOS):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        path = folder / f"{number:02d}.png"
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(path)
        made.append(Sample(path.stem, path, ((0, 2), (1,))[number % 2]))
    return tuple(made)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return Backbone("test_resnet", weights="none", stride=8, learn=(), norm="frozen").eval()


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_maps(samples, backbone, resize):
    head = Head(backbone.channels, 16, 3, 3)
    torch.nn.init.normal_(head.v.weight)
    expansion = Expansion(head.w1.weight, None, clip=0.5)
    shrinkage = Shrinkage(head.w2.weight, head.v.weight, None)
    networks = [Localizer(Classifier(backbone, head), expansion, shrinkage).eval()]
    settings, inputs = Cams(scales=(1.0, 0.5)), Input(size=64, resize=resize)

    def maps(limit: int) -> dict[tuple[str, str], np.ndarray]:
        batches = batches_of_one_size(samples, same=resize == "squash", limit=limit)
        assert [len(batch) for batch in batches] == [limit] * (PHOTOS // limit)
        return {
            (sample.name, kind): one
            for batch in batches
            for sample, _, kinds in localize(networks, batch, settings, inputs, None)
            for kind, one in kinds.items()
        }

    alone, together = maps(1), maps(PHOTOS)
    assert len(alone) == PHOTOS * 3
    for key, one in alone.items():
        assert one.max() == 1
        np.testing.assert_allclose(together[key], one, rtol=0, atol=BOUND, err_msg=str(key))


def test_predictions(samples):
    torch.manual_seed(0)
    net = Segmenter(
        "DeepLabV3Plus", "tu-test_resnet", weights="none", stride=16, norm="frozen", labels=3
    )
    for parameter in net.head_parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model, photos = Model(net, DESCRIPTION), [load_image(sample.image) for sample in samples]
    together = model.working(photos)
    for photo, many in zip(photos, together, strict=True):
        (one,) = model.working([photo])
        assert one.amax() - one.amin() > 0.1
        torch.testing.assert_close(many, one, rtol=0, atol=BOUND)


def test_cached_features(samples, backbone, tmp_path, monkeypatch):
    chosen = BackboneSettings(name="test_resnet", weights="none", stride=8, learn=(), cache=True)
    settings = Settings(input=Input(size=64, resize="squash"), backbone=chosen)
    caches = []
    for batch in (1, PHOTOS):
        monkeypatch.setattr(esol.features, "BATCH", batch)
        caches.append(compute_features(backbone, samples, settings, tmp_path / str(batch)))
    for sample in samples:
        one, many = (np.load(cache.path(sample)) for cache in caches)
        assert one.max() > 0.1
        # Kept as float16: what differs by a last bit may be rounded to the neighbour.
        np.testing.assert_array_max_ulp(one, many, 1)
