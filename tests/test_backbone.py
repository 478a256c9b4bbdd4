"""Backbones: weights from files, strides, what learns, messages."""

import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from esol.errors import InputError, one_line
from esol.networks.backbone import SIDE, Backbone, feature_map
from esol.networks.dilation import dilate
from esol.networks.weights import weights_digest
from esol.settings import BackboneSettings
from esol.system.files import sha256

NAME = "test_resnet"


def backbone(**changes) -> Backbone:
    settings = {"weights": "none", "stride": 8, "learn": (), "norm": "frozen", **changes}
    return Backbone(BackboneSettings(name=settings.pop("name", NAME), **settings))


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
        (
            {"name": "vit_tiny_patch16_224"},
            r"'vit_tiny_patch16_224': does not take photos of any size.*such as resnet50",
        ),
        ({"name": "vit_tiny_r_s16_p8_224"}, "such as resnet50"),
        (
            {"name": "convnext_atto", "stride": 4},
            r"'convnext_atto', backbone\.stride = 4: .*; set backbone\.stride: 8 or 16 or 32, or",
        ),
        ({"name": "hrnet_w18_small"}, r"set backbone\.stride: 32, or take"),
        ({"learn": ("layer9",)}, r"layer9.*layer1.*'\*' for all"),
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


def checkpoint(path):
    """As training with DataParallel writes it."""
    state = timm.create_model("test_resnet").state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)


def bare_state(path):
    torch.save(timm.create_model("test_resnet").state_dict(), path)


def old_pickle(path):
    state = timm.create_model("test_resnet").state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=False)


def with_prefix(path):
    state = timm.create_model("test_resnet").state_dict()
    save_file({f"module.{k}": v for k, v in state.items()}, path)


@pytest.mark.parametrize("write", [checkpoint, bare_state, old_pickle, with_prefix])
def test_weights_of_ones_own_the_message_converts_them(write, tmp_path):
    path = tmp_path / "mine's.pth"
    write(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="in Python: ") as refusal:
        backbone(weights=str(path))
    exec(str(refusal.value).partition("in Python: ")[2], {})
    (other,) = set(tmp_path.iterdir()) - {path}
    backbone(weights=str(other))
    assert path.read_bytes() == before


def test_a_prefix_that_is_not_the_only_fault_is_not_named(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"module.conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="does not fit") as refusal:
        backbone(weights=str(path))
    assert "in Python" not in str(refusal.value)


def test_download_that_fails_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def refuse(*arguments, **keywords):
        if keywords["pretrained"]:
            raise OSError("no route to host")

    monkeypatch.setattr("esol.networks.backbone.timm.create_model", refuse)
    with pytest.raises(InputError, match=r"could not be downloaded.*safetensors"):
        backbone(weights="imagenet")


def test_features_that_are_no_map_are_refused(monkeypatch):
    """As a vision transformer's that takes photos of any size."""
    network = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, num_classes=0)
    monkeypatch.setattr("esol.networks.backbone.timm.create_model", lambda *_, **__: network)
    with pytest.raises(InputError, match=r"gives no feature maps .* but \(1, 17, 192\).*resnet50"):
        backbone(name="vit_tiny_patch16_224")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100"])
@pytest.mark.parametrize("stride", [8, 16])
def test_dilating_is_what_timm_does_where_it_can(name, stride):
    torch.manual_seed(0)
    theirs = timm.create_model(name, output_stride=stride).eval()
    ours = timm.create_model(name).eval()
    ours.load_state_dict(theirs.state_dict())
    dilate(ours, stride, feature_map, SIDE)
    photo = torch.rand(1, 3, 96, 61)
    assert torch.equal(ours.forward_features(photo), theirs.forward_features(photo))


@pytest.mark.parametrize("name", ["vgg11", "densenet121"])
@pytest.mark.parametrize("stride", [4, 16])
def test_a_dilated_network_keeps_the_cells_that_it_had(name, stride):
    """Timm cannot dilate these; without layers that see the whole map each old cell is the same."""
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    photo = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        before = network.forward_features(photo)
        dilate(network, stride, feature_map, SIDE)
        after = network.forward_features(photo)
    assert after.shape[-2:] == (96 // stride, 64 // stride)
    every = 32 // stride
    torch.testing.assert_close(after[..., ::every, ::every], before, rtol=1e-4, atol=1e-5)
    assert not torch.equal(after[..., 1::every, 1::every], before)


def test_measuring_a_network_changes_nothing_in_it():
    network = timm.create_model("test_resnet")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    feature_map(network)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


def test_real_weights_fit(shared):
    weights = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    network = backbone(name="mobilenetv2_100", weights=str(weights), stride=16)
    assert network.channels == 1280


def test_weights_are_hashed_once_until_they_change(tmp_path, monkeypatch):
    read: list[Path] = []

    def counted(path):
        read.append(path)
        return sha256(path)

    monkeypatch.setattr("esol.system.files.sha256", counted)
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
    assert one_line(OSError(" first \n\n second\nthird"), 1) == "first"
    assert one_line(OSError(" first \n\n second\nthird"), lines=2) == "first second"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 999), length=200)) == 200
