"""ONNX: equal to predict at any size, self-contained, described. Model files: loadable."""

import builtins
import functools
import importlib
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from esol.cli.main import main
from esol.data.images import palette
from esol.data.normalisation import IMAGENET
from esol.data.transforms import to_tensor
from esol.errors import InputError
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import load_bundle
from esol.predict.graph import prediction_graph
from esol.predict.model import Model, load
from esol.predict.onnx import (
    composed,
    export_bundle,
    export_onnx,
    network_graph,
    torch_is_too_old,
)
from esol.settings import BackboneSettings, Segment

CLASSES = ["cat", "Schäfer hund"]
DESCRIPTION = {
    "classes": CLASSES,
    "resize": "crop",
    "size": 64,
    "longest": 96,
    "scales": [1.0],
    "flip": True,
    "crf": {"iterations": 0},
    "initial_weights": "none",
}


def model(network: str = "DeepLabV3", encoder: str = "tu-test_resnet", **changes) -> Model:
    """A network whose random weights find every class."""
    torch.manual_seed(3)
    own = BackboneSettings(name="test_resnet", weights="none", stride=8)
    net = Segmenter(
        Segment(network=network, encoder=encoder, weights="none", stride=8, norm="frozen"),
        len(CLASSES) + 1,
        Backbone.fixed(own) if network == "head" else None,
    )
    for parameter in net.head_parameters():
        parameter.data *= 3
    *_, bias = (p for p in net.head_parameters() if p.shape == (len(CLASSES) + 1,))
    with torch.no_grad():
        bias -= net.eval()(to_tensor(noise(96, 64), IMAGENET)[None]).mean((0, 2, 3))
    description = {**DESCRIPTION, "network": network, "encoder": encoder, "stride": 8}
    return Model(net, {**description, "norm": "frozen", **changes})


def noise(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


needs_exporter = pytest.mark.skipif(torch_is_too_old(), reason="this torch's exporter is too old")


@functools.cache
def exported(network: str) -> Any:
    """The network's graph by PyTorch's exporter, which takes most of the time of an export."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    return network_graph(model(network))


SIZES = [(96, 72), (72, 96), (150, 150), (131, 300), (61, 40), (20, 9), (640, 427)]
"""Photos larger and smaller than the network's 96 pixels, square and not; some need padding."""


def assert_equals_predict(net: Model, graph: bytes) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    different, pixels, found = 0, 0, set[str]()
    for width, height in SIZES:
        photo = noise(width, height)
        mask, scores = session.run(["mask", "scores"], {"photo": np.asarray(photo)})
        expected = net.predict(photo)
        assert (mask.dtype, mask.shape) == (np.uint8, (height, width))
        assert np.abs(scores - expected.scores).max() < 1e-3
        assert np.array_equal(scores.argmax(0), mask)
        different, pixels = different + (mask != expected.mask).sum(), pixels + mask.size
        found.update(expected.classes)
    assert found
    assert different <= 0.001 * pixels


@needs_exporter
@pytest.mark.parametrize("network", ["DeepLabV3", "DeepLabV2", "head"])
def test_onnx_equals_predict_at_any_size(network, tmp_path, monkeypatch):
    graph, net = exported(network), model(network)
    onnx, path = importlib.import_module("onnx"), tmp_path / "net.onnx"
    monkeypatch.setattr("esol.predict.onnx.network_graph", lambda whole: graph)
    before = {key: value.clone() for key, value in net.segmenter.state_dict().items()}
    found = export_onnx(net, path)
    assert found["largest_difference"] <= 1e-3
    assert found["equal_pixels"] >= 0.999
    assert (found["bytes"], found["not_contained"]) == (path.stat().st_size, [])
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert all(torch.equal(v, before[k]) for k, v in net.segmenter.state_dict().items())
    assert_equals_predict(net, path.read_bytes())
    stored = {e.key: json.loads(e.value) for e in onnx.load(path).metadata_props}
    assert stored["classes"] == CLASSES
    assert stored["palette"] == palette()[:3].tolist()
    assert (stored["longest"], stored["not_contained"]) == (96, [])
    assert "(H, W, 3) uint8" in stored["input"]
    assert "Apache-2.0" in stored["licence"]


@needs_exporter
def test_a_network_that_sees_squares_is_exported_for_their_size_alone():
    """Formulas for all sizes take many minutes of networks like tf_efficientnet_lite2."""
    pytest.importorskip("onnxscript")
    net = model(encoder="tu-test_efficientnet", resize="squash", size=71)
    network = network_graph(net)
    sides = network.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_value for side in sides] == [0, 3, 71, 71]
    assert_equals_predict(net, composed(network, net).SerializeToString())


@needs_exporter
@pytest.mark.parametrize(
    "changes",
    [
        {"flip": False},
        {"resize": "squash", "scales": [1.0, 0.3]},
        {"scales": [0.5, 1.5]},
        {"scales": [1.0, 0.75]},
    ],
    ids=str,
)
def test_every_test_setting_is_in_the_graph(changes):
    graph = composed(exported("DeepLabV3"), model(**changes))
    assert_equals_predict(model(**changes), graph.SerializeToString())
    weights = sum(w.ByteSize() for w in exported("DeepLabV3").graph.initializer)
    assert graph.ByteSize() < 1.1 * weights, "the weights are there twice"


@needs_exporter
def test_what_the_graph_lacks_is_said(tmp_path, monkeypatch, capsys):
    graph, bundle = exported("DeepLabV3"), tmp_path / "net.safetensors"
    monkeypatch.setattr("esol.predict.onnx.network_graph", lambda whole: graph)
    export_bundle(model(crf={"iterations": 3}), bundle)
    monkeypatch.setattr(Model.__init__, "__defaults__", ("cpu", None, 64))
    assert main(["export", str(bundle), str(tmp_path / "net.onnx"), "--to", "onnx"]) == 0
    path = tmp_path / "net.onnx"
    out, err = capsys.readouterr()
    assert f"{path}: the CRF, which this model's settings ask for, is not in the graph" in err
    assert "photos whole, at 96 pixels, where esol predict computes tiles of 64 pixels" in err
    assert "equal to esol predict on 100.00 % of pixels of 2 random photos" in out
    stored = {e.key: e.value for e in importlib.import_module("onnx").load(path).metadata_props}
    assert len(json.loads(stored["not_contained"])) == 2


@needs_exporter
def test_a_graph_that_lacks_a_step_is_refused(tmp_path, monkeypatch):
    graph = exported("DeepLabV3")
    monkeypatch.setattr("esol.predict.onnx.network_graph", lambda whole: graph)
    monkeypatch.setattr(
        "esol.predict.onnx.prediction_graph",
        lambda description, *more: prediction_graph({**description, "flip": False}, *more),
    )
    with pytest.raises(InputError, match=r"differ from PyTorch's by 0\.\d+, more than 0\.01"):
        export_onnx(model(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_torch_that_is_too_old_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("esol.predict.onnx.OLDEST_TORCH", (99, 1))
    with pytest.raises(
        InputError, match=r"needs torch 99\.1 or newer, this is \d.*--upgrade torch"
    ):
        export_onnx(model(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def any_torch(monkeypatch):
    """For tests that leave out the exporter."""
    monkeypatch.setattr("esol.predict.onnx.OLDEST_TORCH", (1, 0))


@pytest.mark.usefixtures("any_torch")
@pytest.mark.parametrize("part", ["network_graph", "_compared"])
def test_networks_without_a_form_in_onnx_are_named(part, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def fail(*arguments):
        raise RuntimeError("adaptive pooling\nand more")

    monkeypatch.setattr("esol.predict.onnx.network_graph", lambda whole: None)
    monkeypatch.setattr("esol.predict.onnx.composed", lambda *parts: onnx.ModelProto())
    monkeypatch.setattr("onnx.checker.check_model", lambda graph: None)
    monkeypatch.setattr(f"esol.predict.onnx.{part}", fail)
    with pytest.raises(InputError, match=r"DeepLabV3 cannot be exported.*adaptive pooling\)$"):
        export_onnx(model(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("any_torch")
def test_missing_packages_are_named(tmp_path, monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return builtins if name.startswith("onnx") else real(name, *rest)

    monkeypatch.setattr("esol.predict.onnx.importlib.import_module", without)
    with pytest.raises(InputError, match=r"onnxruntime.*pip install 'esol\[onnx\]'"):
        export_onnx(model(), tmp_path / "net.onnx")


def test_model_file_predicts_the_same(tmp_path):
    net = model("FPN")
    found = export_bundle(net, tmp_path / "net.safetensors")
    assert found["classes"] == CLASSES
    _, description = load_bundle(tmp_path / "net.safetensors")
    assert description["initial_weights"] == "none"
    photo = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    again = load(tmp_path / "net.safetensors", "cpu").predict(photo)
    assert np.array_equal(again.scores, net.predict(photo).scores)
    with pytest.raises(ValueError, match="Segmenter is needed"):
        export_bundle(Model(torch.nn.Identity(), DESCRIPTION), tmp_path / "x.safetensors")
