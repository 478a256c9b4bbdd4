"""Backbones: weights from files, strides, what learns, messages."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from esol.errors import InputError
from esol.files import sha256
from esol.models.backbone import Backbone
from esol.models.weights import reason, weights_digest

NAME = "test_resnet"


def backbone(**changes) -> Backbone:
    settings = {"weights": "none", "stride": 8, "learn": (), "norm": "frozen", **changes}
    return Backbone(settings.pop("name", NAME), **settings)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_stride_is_the_cell_size(stride):
    network = backbone(stride=stride).eval()
    assert network(torch.zeros(1, 3, 96, 64)).shape == (
        1,
        network.channels,
        96 // stride,
        64 // stride,
    )


def test_frozen_backbone_never_moves():
    network = backbone()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network.train()
    assert not network(torch.randn(2, 3, 64, 64)).requires_grad
    assert network.frozen
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_learned_prefixes_and_frozen_statistics():
    network = backbone(learn=("layer4",)).train()
    learning = {n for n, p in network.network.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith("layer4") for name in learning)
    statistics = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in statistics)
    assert any(
        m.training
        for m in backbone(learn=("*",), norm="learned").train().modules()
        if isinstance(m, nn.BatchNorm2d)
    )


def test_weights_from_a_file_with_or_without_classifier(tmp_path):
    source = backbone()
    state = {k: v.contiguous() for k, v in source.network.state_dict().items()}
    for name, extra in (("plain", {}), ("full", {"fc.weight": torch.zeros(5, 3)})):
        path = tmp_path / f"{name}.safetensors"
        save_file({**state, **extra}, path)
        loaded = backbone(weights=str(path))
        assert all(torch.equal(v, state[k]) for k, v in loaded.network.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "resnet5000"}, "no such network"),
        ({"name": "vit_tiny_patch16_224"}, "vit_tiny"),
        ({"learn": ("layer9",)}, "layer9.*layer1"),
        ({"weights": "missing.safetensors"}, "no such file"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        backbone(**changes)


def test_files_of_other_networks_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not weights at all")
    with pytest.raises(InputError, match="not a safetensors file"):
        backbone(weights=str(path))
    save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="does not fit"):
        backbone(weights=str(path))


def test_download_that_fails_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def refuse(*arguments, **keywords):
        if keywords["pretrained"]:
            raise OSError("no route to host")

    monkeypatch.setattr("esol.models.backbone.timm.create_model", refuse)
    with pytest.raises(InputError, match=r"could not be downloaded.*safetensors"):
        backbone(weights="imagenet")


def test_real_weights_fit(shared):
    weights = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    network = backbone(name="mobilenetv2_100", weights=str(weights), stride=16)
    assert network.channels == 1280


def test_weights_are_hashed_once_until_they_change(tmp_path, monkeypatch):
    read: list[Path] = []

    def counted(path):
        read.append(path)
        return sha256(path)

    monkeypatch.setattr("esol.models.weights.sha256", counted)
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"one")
    assert {weights_digest(str(path)) for _ in range(3)} == {sha256(path)}
    assert len(read) == 1
    path.write_bytes(b"longer")
    assert weights_digest(str(path)) == sha256(path)
    os.utime(path, ns=(1, 1))
    path.write_bytes(b"LONGER")
    os.utime(path, ns=(2, 2))
    assert weights_digest(str(path)) == sha256(path)
    assert (weights_digest("none"), weights_digest("imagenet")) == ("none", "imagenet")
    with pytest.raises(InputError, match=r"segment\.weights = no\.file: no such file"):
        weights_digest("no.file", "segment.weights")


def test_reasons_are_one_short_line():
    assert reason(OSError(" first \n\n second\nthird")) == "first"
    assert reason(OSError(" first \n\n second\nthird"), lines=2) == "first second"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 999))) == 200
