"""Photos are normalised as weights want it, and old runs go on as before; licences are said."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from esol.cli.main import main
from esol.data.images import load_image
from esol.data.normalisation import IMAGENET, Normalisation
from esol.data.synthetic import write_synthetic
from esol.data.transforms import squash
from esol.networks.backbone import Backbone
from esol.networks.identity import network_identity
from esol.networks.initial import weights_digest
from esol.networks.pretrained import (
    licence_of,
    licensed,
    normalisation_of,
    notes,
)
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import KEY, load_bundle, save_bundle
from esol.predict.model import Model
from esol.predict.onnx import export_onnx, torch_is_too_old
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings, Segment, Settings
from esol.settings.load import load_settings
from esol.stages import run
from esol.training.features import cache_folder

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SMOKE = Path(__file__).parent / "smoke.yaml"


@pytest.fixture
def weights(tmp_path) -> Path:
    """Weights of test_resnet, whose configuration says 0.5 and 0.5."""
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", IMAGENET),
        ("resnet50.fb_ssl_yfcc100m_ft_in1k", IMAGENET),
        ("tf_efficientnet_lite2", HALF),
        ("tf_efficientnet_b0.ap_in1k", HALF),
        ("tf_efficientnet_b0.ns_jft_in1k", IMAGENET),
        ("vit_small_patch16_224", HALF),
        ("vit_small_patch14_dinov2", IMAGENET),
        ("vit_base_patch16_clip_224", CLIP),
        ("mobilevit_xs", Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))),
        ("resnet14", IMAGENET),
    ],
)
def test_timm_says_what_a_network_wants(name, expected):
    """Also where the weights are a file: the tag decides, or timm's default."""
    for weights in ("imagenet", "mine.safetensors"):
        assert normalisation_of(BackboneSettings(name=name, weights=weights)) == expected
        segment = Segment(encoder=f"tu-{name}", weights=weights)
        assert normalisation_of(segment) == expected
        assert normalisation_of(Segment("DeepLabV2", name, weights)) == expected
    assert normalisation_of(BackboneSettings(name=name, weights="none")) == IMAGENET


def test_encoders_of_the_segmentation_library_and_what_is_set():
    assert normalisation_of(Segment(encoder="resnet101")) == IMAGENET
    assert normalisation_of(Segment(encoder="inceptionv4")) == HALF
    assert normalisation_of(Segment(encoder="dpn68")).mean[0] == pytest.approx(124 / 255)
    only_mean = BackboneSettings(name="vit_base_patch16_clip_224", mean=(0.1, 0.2, 0.3))
    assert normalisation_of(only_mean) == Normalisation((0.1, 0.2, 0.3), CLIP.std)
    assert normalisation_of(Segment(weights="none", mean=HALF.mean, std=HALF.std)) == HALF


def test_identities_of_imagenets_numbers_are_those_of_earlier_versions(weights):
    settings = BackboneSettings(name="test_resnet", weights="none", stride=8)
    assert network_identity(settings, "backbone") == {
        **{"name": "test_resnet", "weights": "none", "stride": 8, "norm": "frozen"},
        **{"learn": ("layer3", "layer4"), "cache": False},
    }
    segment = network_identity(Segment(weights="none"), "segment")
    assert segment.keys() == asdict(Segment()).keys() - {"mean", "std", "balance"}
    own = BackboneSettings(name="test_resnet", weights=str(weights), stride=8)
    assert network_identity(own, "backbone")["mean"] == HALF.mean
    imagenets = BackboneSettings(**{**asdict(own), **asdict(IMAGENET)})
    assert "mean" not in network_identity(imagenets, "backbone")
    folders = {cache_folder(Settings(backbone=b), weights.parent) for b in (own, imagenets)}
    assert len(folders) == 2


@pytest.mark.parametrize("cache", [False, True])
def test_training_and_maps_read_the_pixels_as_the_weights_want_them(
    weights, tmp_path, cache, monkeypatch
):
    write_synthetic(tmp_path / "photos", photos=8, size=64, seed=0)
    flags = (f"--backbone.weights={weights}", f"--backbone.cache={cache}", "--cams.scales=[0.5,1]")
    frozen = ("--backbone.learn=[]", "--backbone.norm=frozen", "--input.flip=false")
    settings = load_settings(SMOKE, *flags, *frozen)
    seen: list[torch.Tensor] = []
    forward = Backbone.forward

    def watched(network: Backbone, images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return forward(network, images)

    monkeypatch.setattr(Backbone, "forward", watched)
    out = run(settings, tmp_path / "photos", tmp_path / "out", last="cams")
    photo = next((tmp_path / "photos" / "images").iterdir())
    pixels = np.array(squash(load_image(photo), 64), np.float32).transpose(2, 0, 1)
    expected = torch.from_numpy(pixels / 255 * 2 - 1)
    same = [
        torch.isclose(image, expected, atol=1e-6).all()
        for batch in seen
        if batch.shape[-1] == 64
        for image in batch
    ]
    assert any(same)
    assert all(batch.min() >= -1 and batch.max() <= 1 for batch in seen)
    stored = json.loads((RunFolder(out).stage("classify") / "identity.json").read_text())
    assert stored["backbone"]["mean"] == [0.5, 0.5, 0.5]


def test_a_run_begun_with_imagenets_numbers_goes_on_with_them(weights, tmp_path, caplog):
    """As one of version 0.1.0, which knew no others: its identities have no mean."""
    write_synthetic(tmp_path / "photos", photos=8, size=64, seed=0)
    old = [f"--backbone.{key}={list(value)}" for key, value in asdict(IMAGENET).items()]
    flags = (f"--backbone.weights={weights}", "--refine.methods=[]", "--masks.source=seeds")
    segment = (f"--segment.weights={weights}",)
    old += [flag.replace("backbone", "segment") for flag in old]
    run(load_settings(SMOKE, *flags, *segment, *old), tmp_path / "photos", tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("0*/**/*") if p.is_file()}
    auto = load_settings(SMOKE, *flags, *segment)
    run(auto, tmp_path / "photos", tmp_path / "out")
    assert before == {
        p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("0*/**/*") if p.is_file()
    }
    for group in ("backbone", "segment"):
        assert (
            f"goes on with ImageNet's mean and deviation, with which it was begun, though the \
weights of its {group} want others"
            in " ".join(caplog.text.split())
        )
    stored = RunFolder(tmp_path / "out").settings()
    assert normalisation_of(stored.backbone) == IMAGENET
    # A run that is begun now takes the weights' own, and so does another network in its place.
    for settings, out, more in (
        (auto, "new", {}),
        (load_settings(SMOKE, *flags, "--backbone.name=test_resnet.r160_in1k"), "out", {}),
    ):
        run(settings, tmp_path / "photos", tmp_path / out, last="classify", overwrite=True, **more)
        found = RunFolder(tmp_path / out).manifest("classify")["identity"]["backbone"]
        assert found["mean"] == [0.5, 0.5, 0.5]


def description(settings: Segment) -> dict:
    return {
        **{"classes": ["red", "green"], "network": settings.network, "encoder": settings.encoder},
        **{"stride": 8, "norm": "frozen", "resize": "crop", "size": 64, "longest": 64},
        **{"scales": [1.0], "flip": False, "crf": {"iterations": 0}},
    }


def test_a_model_file_says_how_its_photos_are_normalised(weights, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for start, expected, version in ((str(weights), HALF, 2), ("none", IMAGENET, 1)):
        settings = Segment("FPN", "tu-test_resnet", weights=start)
        torch.manual_seed(0)
        network, path = Segmenter(settings, 3).eval(), tmp_path / f"{version}.safetensors"
        save_bundle(path, network, description(settings))
        with safe_open(path, "pt") as file:
            stored = json.loads(file.metadata()[KEY])
        assert (stored["version"], "mean" in stored) == (version, version == 2)
        loaded, content = load_bundle(path)
        model = Model(loaded, content)
        assert loaded.normalisation == model.normalisation == expected
        pixels = torch.from_numpy(photo.astype(np.float32).transpose(2, 0, 1) / 255)
        mean, std = (torch.tensor(n).view(3, 1, 1) for n in (expected.mean, expected.std))
        with torch.no_grad():
            logits = network((pixels - mean)[None] / std)
        scores = model.predict(Image.fromarray(photo)).scores
        np.testing.assert_allclose(scores, logits.softmax(1)[0].numpy(), atol=1e-5)


@pytest.mark.skipif(torch_is_too_old(), reason="the exporter of this torch is too old")
def test_an_exported_graph_normalises_as_its_network_wants_it(weights, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    settings = Segment("FPN", "tu-test_resnet", weights=str(weights))
    network = Segmenter(settings, 3).eval()
    content = {**description(settings), "mean": HALF.mean, "std": HALF.std}
    export_onnx(Model(network, content), tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    # At the size that the network sees, nothing is resized.
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = session.run(["scores"], {"photo": image})[0]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = network(pixels / 127.5 - 1).softmax(1).numpy()[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_check_and_run_say_what_is_used_where_it_is_not_imagenets(tmp_path, capsys):
    write_synthetic(tmp_path / "photos", photos=4, size=64, seed=0)
    lite = "--backbone.name=tf_efficientnet_lite0"
    config = str(Path(__file__).parent / "smoke.yaml")
    lite = (lite, "--backbone.weights=imagenet", "--backbone.stride=16")
    main(["check", config, str(tmp_path / "photos"), *lite, "--segment.network=none"])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "backbone: photos are normalised for tf_efficientnet_lite0 by mean 0.5 0.5 0.5, deviation"
        " 0.5 0.5 0.5, as its weights want it, not by ImageNet's"
    ) in said
    licence = "backbone: licence of the weights of tf_efficientnet_lite0: apache-2.0"
    assert said.count(licence) == said.count("licence of") == 1
    assert not any("normalised" in line for line in notes(Settings()))
    line, _ = notes(load_settings("demo", "--segment.weights=imagenet", "--segment.mean=[0, 0, 0]"))
    assert "normalised for tu-test_resnet by mean 0 0 0, deviation 0.5 0.5 0.5, though its" in line


def test_the_digest_of_weights_is_that_of_the_file(weights):
    settings = BackboneSettings(name="test_resnet", weights=str(weights))
    assert network_identity(settings, "backbone")["weights"] == weights_digest(str(weights))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (BackboneSettings(name="mobilenetv2_100"), "apache-2.0"),
        (BackboneSettings(name="convnextv2_atto"), "cc-by-nc-4.0, NON-COMMERCIAL use only"),
        (
            BackboneSettings(name="vit_small_patch16_dinov3"),
            "dinov3-license, its maker's own terms, to be accepted at the source (gated)",
        ),
        (Segment(encoder="tu-fastvit_t8"), "fastvit-license, its maker's own terms"),
        (Segment(encoder="resnet101"), "licence not stated"),
        (BackboneSettings(weights="none"), ""),
    ],
)
def test_the_licence_of_weights_is_said_and_what_to_mind(settings, expected):
    assert licence_of(settings) == expected
    assert licensed(settings) == ({"licence": expected} if expected else {})


def test_the_licence_stands_in_manifest_report_and_model_file(weights, tmp_path):
    write_synthetic(tmp_path / "photos", photos=8, size=64, seed=0)
    flags = (f"--backbone.weights={weights}", f"--segment.weights={weights}")
    bare = ("--refine.methods=[]", "--masks.source=seeds")
    settings = load_settings(SMOKE, *flags, *bare)
    assert notes(settings)[1] == (
        "backbone: licence of weights.safetensors, if it holds the weights of test_resnet:"
        " apache-2.0"
    )
    out = RunFolder(run(settings, tmp_path / "photos", tmp_path / "out"))
    for stage, name in (("classify", "test_resnet"), ("segment", "tu-test_resnet")):
        assert out.manifest(stage)["results"]["licence"] == f"apache-2.0, if they are {name}'s"
        assert "licence" not in json.dumps(out.manifest(stage)["identity"])
    assert "(licence: apache-2.0" in (out.path / "report.html").read_text()
    assert load_bundle(out.weights("segment"))[1]["licence"].startswith("apache-2.0")
