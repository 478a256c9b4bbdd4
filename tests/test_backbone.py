"""Backbones: weights from files, strides, what learns, messages."""

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from esol.data.normalisation import Normalisation
from esol.errors import InputError, one_line
from esol.networks.backbone import SIDE, Backbone, feature_map
from esol.networks.dilation import dilate
from esol.networks.identity import network_identity
from esol.networks.initial import weights_digest
from esol.settings import BackboneSettings
from esol.settings.load import load_settings
from esol.stages.fitting import new_peer
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
            {"name": "inception_v3"},
            r"'inception_v3': does not take photos of any size.*such as resnet50",
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


def reference() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return timm.create_model("test_resnet").state_dict()


def renamed(prefix: str, by: float = 0) -> dict[str, torch.Tensor]:
    return {prefix + k: v + by if v.is_floating_point() else v for k, v in reference().items()}


CHECKPOINTS = {
    "bare": lambda: reference(),
    "with an epoch": lambda: {"state_dict": renamed("module."), "epoch": 3, "args": Namespace(a=1)},
    "compiled": lambda: {"model": renamed("_orig_mod.module.")},
    "a detector's": lambda: {"model_state_dict": renamed("backbone."), "best": 0.5},
    "self-distilled": lambda: {
        "student": renamed("module.backbone.", by=1),
        "teacher": {**renamed("backbone."), "head.mlp.0.weight": torch.zeros(2)},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
    },
    "flat": lambda: {
        **renamed("student.backbone.", by=1),
        **renamed("teacher.backbone."),
    },
    "averaged": lambda: {"state_dict": renamed("", by=1), "state_dict_ema": renamed("")},
    "half": lambda: {k: v.half() if v.is_floating_point() else v for k, v in reference().items()},
}


@pytest.mark.parametrize("write", ["pth", "old", "safetensors"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_files_of_other_programs_are_read_as_they_are(kind, write, tmp_path, caplog):
    caplog.set_level("INFO")
    content, path = CHECKPOINTS[kind](), tmp_path / "mine's.bin"
    if write == "safetensors":
        groups = [part for part in (content, *content.values()) if isinstance(part, dict)]
        tensors = groups[-1 if kind == "averaged" else 0 if kind in ("bare", "half", "flat") else 1]
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path)
        if kind == "self-distilled":
            return
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "pth")
    loaded = backbone(weights=str(path)).network.state_dict()
    dtype = torch.float16 if kind == "half" else torch.float32
    for name, value in reference().items():
        if not name.startswith("fc."):
            assert torch.equal(loaded[name], value.to(dtype).float() if value.ndim else value)
    if kind == "self-distilled":
        assert (
            "its tensors under 'teacher'; 1 tensor is not used, of no part of test_resnet: head"
            in (caplog.text)
        )

    if kind == "flat":
        assert (
            "its tensors under 'teacher.backbone.', while those under 'student.backbone.' fit as"
            in caplog.text
        )


def test_position_embeddings_of_another_size_are_resampled_by_timm(tmp_path, caplog):
    caplog.set_level("INFO")
    source = timm.create_model("test_vit", img_size=224)
    torch.save(source.state_dict(), tmp_path / "vit.pth")
    loaded = backbone(name="test_vit", weights=str(tmp_path / "vit.pth"), stride=16).network
    assert loaded.pos_embed.shape == timm.create_model("test_vit").pos_embed.shape
    assert torch.equal(loaded.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
    assert "its names or position embeddings converted by timm" in caplog.text


def test_what_is_not_needed_may_be_anything(tmp_path):
    content: dict[str, object] = {"state_dict": reference(), "best": torch.ones(2) * 1j}
    content["state_dict"]["bn1.num_batches_tracked"] = torch.zeros(5)
    content["state_dict"]["fc.weight"] = torch.ones(2, 2).to_sparse()
    content["trainer"] = {"of": content}
    torch.save(content, tmp_path / "w.pth")
    loaded = backbone(weights=str(tmp_path / "w.pth")).network.state_dict()
    assert torch.equal(loaded["bn1.weight"], reference()["bn1.weight"])
    assert loaded["bn1.num_batches_tracked"] == 0


class Runs:
    """Unpickling one would write a file."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_what_a_file_holds_besides_tensors_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content, message in (
        ({"state_dict": reference(), "hook": Runs()}, "holds more than tensors and plain values"),
        (
            timm.create_model("test_resnet"),
            r"save its tensors alone: torch\.save\(network\.state_d",
        ),
        ([1, 2], "holds no tensors with names"),
    ):
        torch.save(content, "w.pth")
        with pytest.raises(InputError, match=message):
            backbone(weights="w.pth")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn1.weight": None}, r"first that does not, bn1\.weight, is \(32,\) in the network and"
         " nothing in the file; give"),
        ({"bn1.weight": torch.zeros(5)}, r"and \(5,\) in the file"),
        ({"bn1.weight": torch.ones(32).to_sparse()}, r"and not dense \(torch.sparse_coo\) in the"),
        ({"bn1.weight": torch.ones(32, device="meta")}, r"and without numbers \(meta\) in"),
        ({"bn1.weight": torch.ones(32) * 1j}, r"and torch.complex64 in the file"),
        ({"bn1.weight": torch.ones(32).to(torch.float8_e4m3fn)}, r"and torch.float8_e4m3fn in the"),
        ({"bn1.weight": torch.ones(32).to(torch.int8)}, r"and torch.int8 in the file"),
    ],
)  # fmt: skip
def test_the_first_tensor_that_does_not_fit_is_named(changes, message, tmp_path):
    state = {k: v for k, v in {**reference(), **changes}.items() if v is not None}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(
        InputError, match=r"w\.pth does not fit test_resnet: \d+ of \d+ ten.*" + message
    ):
        backbone(weights=str(tmp_path / "w.pth"))


def test_networks_of_timms_folders_are_read(tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    config = {"architecture": "test_resnet", "num_classes": 5, "pretrained_cfg": {
        "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "classifier": "fc", "num_classes": 5,
        "input_size": [3, 64, 64], "license": "mit"}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    source = timm.create_model("test_resnet", num_classes=5)
    save_file(source.state_dict(), folder / "model.safetensors")
    loaded = backbone(name=f"local-dir:{folder}", weights="imagenet")
    assert torch.equal(loaded.network.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert loaded.normalisation.mean == (0.1, 0.2, 0.3)
    settings = BackboneSettings(name=f"local-dir:{folder}")
    before = network_identity(settings, "backbone")
    save_file(
        timm.create_model("test_resnet", num_classes=5).state_dict(), folder / "model.safetensors"
    )
    assert network_identity(settings, "backbone") != before
    with pytest.raises(InputError, match=r"backbone\.name = 'local-dir:nowhere': cannot be read"):
        backbone(name="local-dir:nowhere", weights="none")
    with pytest.raises(InputError, match=r"backbone\.name = 'moon:x': cannot be read"):
        backbone(name="moon:x", weights="none")


def test_download_that_fails_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def refuse(*arguments, **keywords):
        if keywords["pretrained"]:
            raise OSError("no route to host")

    monkeypatch.setattr("esol.networks.backbone.timm.create_model", refuse)
    with pytest.raises(InputError, match=r"could not be downloaded.*file of weights"):
        backbone(weights="imagenet")


def test_features_that_are_no_map_are_refused(monkeypatch):
    """As tokens of a network of whose levels timm knows nothing."""

    class Tokens(nn.Linear):
        def forward_features(self, images: torch.Tensor) -> torch.Tensor:
            return images.new_zeros(len(images), 17, 192)

    monkeypatch.setattr("esol.networks.backbone.timm.create_model", lambda *_, **__: Tokens(1, 1))
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


def test_features_to_a_power_keep_their_signs_and_have_slopes_at_0():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(1)
    plain = backbone(learn=("*",)).eval()
    torch.manual_seed(1)
    raised = backbone(learn=("*",), power=0.5).eval()
    assert plain.state_dict().keys() == raised.state_dict().keys()
    features = plain(images)
    assert (features == 0).any()
    assert torch.allclose(raised(images), features.sign() * features.abs().sqrt(), atol=1e-5)
    raised(images).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in raised.parameters() if p.grad is not None)


def test_a_power_is_part_of_the_identity_and_1_is_as_before():
    settings = BackboneSettings(name=NAME, weights="none")
    assert "power" not in network_identity(settings, "backbone")
    assert network_identity(replace(settings, power=0.5), "backbone")["power"] == 0.5


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kind", ["drs", "sccam", "drs_refined"])
def test_networks_that_trained_weights_are_loaded_into_normalise_as_these_learned(kind, fixed):
    settings = load_settings(
        *("demo", "--backbone.name=tf_efficientnet_lite0", "--backbone.weights=imagenet"),
        *("--backbone.learn=[]", "--backbone.norm=frozen", "--drs.everywhere=false"),
    )
    network = new_peer(settings, 3, kind, fixed=fixed, loaded=True)
    assert network.backbone.normalisation == Normalisation((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("name", "stride"), [("test_resnet", 16), ("swin_tiny_patch4_window7_224", 16)]
)
def test_a_last_norm_where_there_is_none_is_refused(name, stride):
    with pytest.raises(InputError, match=r"^backbone\.final_norm = False: .* set it to auto$"):
        backbone(name=name, stride=stride, final_norm=False)
