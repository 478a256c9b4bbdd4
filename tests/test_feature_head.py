"""segment.network: head, a few convolutions on the classifier's backbone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_pipeline import SMOKE, done, photos  # noqa: F401
from test_stage_parts import unread

import esol
from esol.data.batch import Batch
from esol.data.images import load_image, load_mask
from esol.data.transforms import squash, to_tensor
from esol.errors import InputError
from esol.networks.backbone import Backbone
from esol.networks.identity import network_identity
from esol.networks.segmenter import MOST_WEIGHT, Segmenter, label_weights, segment_losses
from esol.predict.bundle import load_bundle, save_bundle
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings import BackboneSettings, Segment
from esol.settings.load import load_settings
from esol.stages import reads, run
from esol.training.features import FeatureCache

FLAGS = ("--segment.network=head", "--segment.fit.steps=20")


def segmenter(labels: int = 3, **backbone) -> Segmenter:
    torch.manual_seed(0)
    own = BackboneSettings(**{"name": "test_resnet", "weights": "none", "stride": 8} | backbone)
    return Segmenter(Segment("head", own.name), labels, Backbone.fixed(own)).eval()


def described(classes: int = 2) -> dict:
    names = [f"class {index}" for index in range(classes)]
    test = {"size": 64, "longest": 64, "scales": [1.0], "flip": True, "crf": {"iterations": 0}}
    return {"classes": names, "resize": "crop", **test}


def test_photos_and_their_features_give_the_same_loss():
    network, generator = segmenter(), torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    masks = torch.randint(0, 3, (2, 32, 32), generator=generator)
    of_photos = Batch(images, torch.zeros(2, 2), ("a", "b"), cached=False, masks=masks)
    features = of_photos._replace(inputs=network.body.encoder(images), cached=True)
    losses = [segment_losses(network, batch)["loss"].value() for batch in (of_photos, features)]
    assert torch.equal(*losses)
    losses[0].backward()
    assert all(p.grad is not None for p in network.head_parameters())
    assert all(p.grad is None for p in network.encoder_parameters())


@pytest.mark.parametrize("size", [(64, 64), (50, 61), (33, 97)])
def test_logits_cover_the_photo(size):
    network = segmenter()
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    logits = network(images)
    assert logits.shape == (1, 3, *size)
    # What is learned from features lies on the same grid as what is predicted.
    batch = Batch(images, torch.zeros(1, 2), ("a",), cached=False)
    (learned,) = network.all_logits(batch)
    wide = torch.nn.functional.interpolate(learned, size, mode="bilinear")
    torch.testing.assert_close(logits, wide)


@pytest.mark.parametrize(
    "backbone",
    [{"stride": 8}, {"stride": 16, "power": 0.5, "mean": (0.5,) * 3, "std": (0.2,) * 3}],
)
def test_a_model_file_holds_the_backbone_as_it_was(backbone, tmp_path):
    network = segmenter(**backbone)
    save_bundle(tmp_path / "one.safetensors", network, described())
    again, description = load_bundle(tmp_path / "one.safetensors")
    photo = torch.randn(1, 3, 64, 72, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(photo), again(photo))
    assert again.normalisation == network.normalisation
    assert description["backbone"]["power"] == backbone.get("power", 1)
    assert description["stride"] == backbone["stride"]


@pytest.fixture(scope="module")
def with_head(done, photos, tmp_path_factory) -> Path:  # noqa: F811
    """The last stage made again, by a head on the classifier's backbone."""
    copy = RunFolder(tmp_path_factory.mktemp("head") / "run")
    before = [stage for stage in STAGES if stage not in ("peer", "segment", "evaluate")]
    for stage in before:
        shutil.copytree(RunFolder(done).stage(stage), copy.stage(stage))
    return run(load_settings(str(SMOKE), *FLAGS), photos, copy.path, first="segment")


def test_a_run_ends_with_a_head_on_its_classifier(with_head, photos):  # noqa: F811
    folder = RunFolder(with_head)
    stored, classifier = (load_file(folder.weights(s)) for s in ("segment", "classify"))
    of_backbone = {key: value for key, value in stored.items() if key.startswith("body.encoder.")}
    assert of_backbone
    for key, value in of_backbone.items():
        assert torch.equal(value, classifier[key.replace("body.encoder.", "backbone.")]), key
    model = esol.load(with_head)
    for path in sorted((photos / "images").iterdir())[::9]:
        mask = load_mask(next(folder.masks("segmentation").rglob(f"{path.stem}.png")))
        assert np.array_equal(model.predict(path).mask, mask)
    measured = folder.metrics()["lists"]["val"]["segmentation"]
    assert measured["fixed"]["miou"] > 0


def test_every_key_of_its_identity_is_read_by_a_part(with_head):
    identity = json.loads((RunFolder(with_head).stage("segment") / "identity.json").read_text())
    assert identity["backbone"]["name"] == identity["segment"]["encoder"] == "test_resnet"
    assert identity["after"].keys() == {"masks", "classify"}
    assert unread(identity, reads._SEGMENT) == {"after.masks"}


def test_it_learns_from_cached_features(with_head, photos, tmp_path, monkeypatch):  # noqa: F811
    """The cache has 16 bits a value, and the maps come from it too: nearly the same network."""
    settings = load_settings(str(SMOKE), *FLAGS, "--backbone.cache=true")
    cached = run(settings, photos, tmp_path / "run")
    folders = list((cached / "cache").iterdir())
    assert len(folders) == 1
    # Predictions come from the cache too, and are those of the model but for 16 bits.
    model, folder = esol.load(cached), RunFolder(cached)
    different = []
    for path in sorted((photos / "images").iterdir()):
        mask = load_mask(next(folder.masks("segmentation").rglob(f"{path.stem}.png")))
        different.append((model.predict(path).mask != mask).mean())
    assert max(different) < 0.02
    assert len(list(folders[0].iterdir())) == 40
    losses = [
        RunFolder(folder).manifest("segment")["results"]["loss"] for folder in (with_head, cached)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    # Where all is cached, prediction needs no backbone.
    shutil.rmtree(folder.masks("segmentation"))
    (folder.stage("segment") / "manifest.json").unlink()
    monkeypatch.setattr("esol.stages.segment.trained_backbone", None)
    run(settings, photos, cached)
    assert len(list(folder.masks("segmentation").rglob("*.png"))) == 40


def test_settings_of_another_encoder_do_not_concern_it(with_head, photos, capsys):  # noqa: F811
    before = (RunFolder(with_head).weights("segment")).stat().st_mtime_ns
    flags = ["--segment.encoder=resnet18", "--segment.weights=imagenet", "--segment.stride=16"]
    run(load_settings(str(SMOKE), *FLAGS, *flags), photos, with_head)
    assert RunFolder(with_head).weights("segment").stat().st_mtime_ns == before


def test_a_published_backbone_is_refused():
    with pytest.raises(InputError, match=r"segment.network = 'head'.*hf-hub"):
        load_settings(str(SMOKE), *FLAGS, "--backbone.name=hf-hub:someone/net")


def test_a_damaged_description_is_told(tmp_path):
    network = segmenter()
    path = tmp_path / "one.safetensors"
    save_bundle(path, network, described())
    content = path.read_bytes()
    for old, new, said in (
        (b'\\"backbone\\"', b'\\"backbean\\"', "damaged description .*backbone"),
        (b'\\"power\\"', b'\\"pawer\\"', "damaged description .*power"),
        (b'\\"test_resnet\\"', b'\\"hf-hub:some\\"', "damaged description .*hf-hub:some"),
    ):
        changed = content.replace(old, new)
        assert changed != content
        path.write_bytes(changed)
        with pytest.raises(InputError, match=said):
            load_bundle(path)


def test_mirrored_photos_have_mirrored_masks(photos, tmp_path):  # noqa: F811
    """A photo's mask and features go together, plain and mirrored."""
    data = esol.open_dataset(photos, load_settings(str(SMOKE)).data)
    sample = data.samples("val")[0]
    cache, side = FeatureCache(tmp_path), 8
    image = to_tensor(squash(load_image(sample.image), 64), segmenter().normalisation)
    coarse = torch.nn.functional.avg_pool2d(image, 64 // side)
    np.save(cache.path(sample), torch.stack([coarse, coarse.flip(2)]).half().numpy())
    truth = data.truth(sample)
    inputs = cache.inputs((sample,), 6, flip=True, masks=lambda one: truth)
    seen = [inputs.load(sample, np.random.default_rng(seed)) for seed in range(8)]
    plain = [one for one in seen if torch.equal(one.input, coarse.half())]
    turned = [one for one in seen if torch.equal(one.input, coarse.flip(2).half())]
    assert len(plain) + len(turned) == 8
    assert plain
    assert turned
    assert plain[0].mask.shape == (4 * side, 4 * side)
    assert torch.equal(plain[0].mask, turned[0].mask.flip(1))
    assert not torch.equal(plain[0].mask, turned[0].mask)


def test_its_normalisation_is_the_backbones():
    network = segmenter(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    assert network.normalisation == network.body.encoder.normalisation
    assert network.normalisation.mean == (0.1, 0.2, 0.3)


def test_rare_labels_weigh_more():
    weights = label_weights([0.3, 0.02, 0.001, 0.0])
    mean = 0.321 / 3
    torch.testing.assert_close(weights, torch.tensor([1, 1, mean / 0.02, MOST_WEIGHT, MOST_WEIGHT]))
    assert label_weights([0.0, 0.0]).isfinite().all()


def test_weighted_loss_by_hand():
    network, weights = segmenter(), torch.tensor([1.0, 1.0, 5.0])
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    masks = torch.randint(0, 3, (2, 32, 32), generator=generator)
    masks[0, :5] = 255
    batch = Batch(images, torch.zeros(2, 2), ("a", "b"), cached=False, masks=masks)
    (logits,) = network.all_logits(batch)
    labels = batch.labels(logits)
    known = labels != 255
    scores = logits.log_softmax(1).permute(0, 2, 3, 1)[known]
    of_pixel = weights[labels[known]]
    wanted = -(of_pixel * scores.gather(1, labels[known][:, None])[:, 0]).sum() / of_pixel.sum()
    torch.testing.assert_close(segment_losses(network, batch, weights)["loss"].value(), wanted)
    alike = segment_losses(network, batch, torch.ones(3))["loss"].value()
    torch.testing.assert_close(alike, segment_losses(network, batch)["loss"].value())
    assert not torch.isclose(alike, wanted)


def test_runs_from_before_the_balance_stay_valid():
    assert "balance" not in network_identity(Segment(weights="none"), "segment")
    assert network_identity(Segment(weights="none", balance=True), "segment")["balance"] is True
