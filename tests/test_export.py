"""ONNX: equal to PyTorch at other sizes, self-contained, described. Model files: loadable."""

import builtins
import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

from esol.data.transforms import IMAGENET, to_tensor
from esol.errors import InputError
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import load_bundle
from esol.predict.model import Model, load
from esol.predict.onnx import export_bundle, export_onnx, torch_is_too_old
from esol.settings import Segment

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


def model(network: str = "DeepLabV3", encoder: str = "tu-test_resnet") -> Model:
    torch.manual_seed(3)
    net = Segmenter(
        Segment(network=network, encoder=encoder, weights="none", stride=8, norm="frozen"),
        len(CLASSES) + 1,
    )
    for parameter in net.head_parameters():
        parameter.data *= 3
    description = {**DESCRIPTION, "network": network, "encoder": encoder, "stride": 8}
    return Model(net, {**description, "norm": "frozen"})


@pytest.mark.skipif(torch_is_too_old(), reason="the exporter of this torch is too old")
@pytest.mark.parametrize("network", ["DeepLabV3", "DeepLabV2"])
def test_onnx_gives_the_same_probabilities_at_any_size(network, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net = model(network)
    before = {key: value.clone() for key, value in net.segmenter.state_dict().items()}
    path = tmp_path / "net.onnx"
    found = export_onnx(net, path)
    assert found["largest_difference"] <= 1e-4
    assert found["bytes"] == path.stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert all(torch.equal(v, before[k]) for k, v in net.segmenter.state_dict().items())
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for count, height, width in ((1, 32, 49), (2, 130, 64)):
        pixels = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        image = pixels.transpose(0, 3, 1, 2).astype(np.float32)
        (got,) = session.run(["probabilities"], {"image": image})
        inputs = torch.stack([to_tensor(Image.fromarray(one), IMAGENET) for one in pixels])
        expected = net.segmenter(inputs).softmax(1).detach().numpy()
        assert got.shape == (count, 3, height, width)
        assert np.abs(got - expected).max() <= 1e-4
        assert expected.std() > 1e-3
    stored = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert json.loads(stored["classes"]) == CLASSES
    assert json.loads(stored["longest"]) == 96


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
@pytest.mark.parametrize("part", ["_write", "_difference"])
def test_networks_without_a_form_in_onnx_are_named(part, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def fail(*arguments):
        raise RuntimeError("adaptive pooling\nand more")

    monkeypatch.setattr("esol.predict.onnx._write", lambda whole, path: path.write_bytes(b""))
    monkeypatch.setattr("onnx.checker.check_model", lambda graph: None)
    monkeypatch.setattr(f"esol.predict.onnx.{part}", fail)
    with pytest.raises(InputError, match=r"DeepLabV3 cannot be exported.*adaptive pooling\)$"):
        export_onnx(model(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("any_torch")
def test_difference_beyond_the_tolerance_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("esol.predict.onnx._write", lambda whole, path: path.write_bytes(b""))
    monkeypatch.setattr("onnx.checker.check_model", lambda graph: None)
    monkeypatch.setattr("esol.predict.onnx._difference", lambda *arguments: 2e-4)
    with pytest.raises(InputError, match=r"differ from PyTorch's by 0\.0002"):
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
