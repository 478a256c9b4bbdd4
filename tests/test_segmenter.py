"""Segmentation networks: sizes, strides, statistics, weights from files, messages."""

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from esol.data.batch import Batch
from esol.errors import InputError
from esol.networks.segmenter import NETWORKS, Segmenter
from esol.settings import Segment

CONVOLUTIONAL = sorted(set(NETWORKS) - {"DPT", "head"})
BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm


def segmenter(network: str = "DeepLabV3", encoder: str = "tu-test_resnet", **changes) -> Segmenter:
    stride = 16 if network == "PAN" else 8
    settings = {"weights": "none", "stride": stride, "norm": "frozen", **changes}
    labels = settings.pop("labels", 3)
    return Segmenter(Segment(network=network, encoder=encoder, **settings), labels)


def batch_of(images: torch.Tensor) -> Batch:
    return Batch(images, torch.zeros(len(images), 2), ("a", "b")[: len(images)], cached=False)


@pytest.mark.parametrize("network", CONVOLUTIONAL)
def test_any_size_gives_logits_of_that_size(network):
    net = segmenter(network).eval()
    with torch.inference_mode():
        for size in ((32, 32), (57, 83)):
            logits = net(torch.randn(1, 3, *size))
            assert logits.shape == (1, 3, *size)
            assert logits.isfinite().all()
    mine = len(net.encoder_parameters()), len(net.head_parameters())
    assert min(mine) > 0
    assert sum(mine) == len(list(net.parameters()))


def test_vision_transformers_take_any_size():
    net = segmenter("DPT", "tu-test_vit").eval()
    assert net(torch.randn(1, 3, 40, 70)).shape == (1, 3, 40, 70)


def test_encoders_of_the_library_itself():
    net = segmenter("DeepLabV3Plus", "resnet18", stride=16).eval()
    assert net(torch.randn(1, 3, 40, 33)).shape == (1, 3, 40, 33)


def test_padding_changes_nothing_where_none_is_needed():
    net = segmenter("Unet").eval()
    images = torch.randn(1, 3, 64, 96)
    assert torch.equal(net(images), net.body(images))


@pytest.mark.parametrize("stride", [8, 16])
def test_stride_reaches_the_encoder(stride):
    for network in ("DeepLabV3", "DeepLabV2"):
        net = segmenter(network, stride=stride).eval()
        features = net.body.encoder(torch.zeros(1, 3, 64, 32))
        last = features if network == "DeepLabV2" else features[-1]
        assert last.shape[-2:] == (64 // stride, 32 // stride)


def test_one_output_to_learn_from():
    net = segmenter().eval()
    images = torch.randn(2, 3, 40, 50)
    (logits,) = net.all_logits(batch_of(images))
    assert torch.equal(logits, net(images))


def test_deeplab2_learns_from_three_scales_and_their_maximum():
    net = segmenter("DeepLabV2", "test_resnet").eval()
    images = torch.randn(2, 3, 64, 96)
    full, three_quarters, half, highest = net.all_logits(batch_of(images))
    assert [t.shape[-2:] for t in (full, three_quarters, half, highest)] == [
        (8, 12), (6, 9), (4, 6), (8, 12)
    ]  # fmt: skip
    smaller = F.interpolate(images, (32, 48), mode="bilinear", align_corners=False)
    assert torch.allclose(half, net.all_logits(batch_of(smaller))[0], atol=1e-5)
    candidates = torch.stack(
        [F.interpolate(t, (8, 12), mode="bilinear") for t in (full, three_quarters, half)]
    )
    assert torch.equal(highest, candidates.amax(0))
    assert torch.equal(net(images), F.interpolate(highest, (64, 96), mode="bilinear"))


def test_deeplab2_sums_its_four_dilated_convolutions():
    net = segmenter("DeepLabV2").eval()
    features = net.body.encoder(torch.randn(1, 3, 64, 64))
    assert [c.dilation for c in net.body.aspp] == [(6, 6), (12, 12), (18, 18), (24, 24)]
    total = sum(c(features) for c in net.body.aspp)
    net.body.encoder.forward = lambda images: features
    assert torch.allclose(net.body._logits(features), total, atol=1e-6)


@pytest.mark.parametrize("network", ["DeepLabV3", "DeepLabV2"])
def test_frozen_statistics_stay_and_learned_ones_move(network):
    images = torch.randn(2, 3, 64, 64)
    for norm in ("frozen", "learned"):
        net = segmenter(network, norm=norm).train()
        encoder = net.body.encoder
        before = {k: v.clone() for k, v in encoder.state_dict().items() if "running" in k}
        net.all_logits(batch_of(images))
        after = encoder.state_dict()
        assert all(torch.equal(v, after[k]) for k, v in before.items()) == (norm == "frozen")
        assert all(p.requires_grad for p in net.parameters())
        head = [m for m in net.body.modules() if isinstance(m, BATCH_NORM)]
        assert network == "DeepLabV2" or any(m.training for m in head)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_weights_in_timms_naming(name, tmp_path):
    torch.manual_seed(1)
    source = timm.create_model(name, num_classes=5).eval()
    path = tmp_path / "w.safetensors"
    save_file(source.state_dict(), path)
    net = segmenter("FPN", f"tu-{name}", weights=str(path)).eval()
    images = torch.randn(1, 3, 64, 64)
    _, expected = source.forward_intermediates(images)
    features = net.body.encoder(images)[-len(expected) :]
    for ours, theirs in zip(features[-3:], expected[-3:], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(segmenter("FPN", f"tu-{name}").eval().body.encoder(images)[-1],
                              expected[-1], atol=1e-5)  # fmt: skip


def test_weights_of_a_vision_transformer_and_of_deeplab2(tmp_path):
    for network, name in (("DPT", "test_vit"), ("DeepLabV2", "test_resnet")):
        source = timm.create_model(name, num_classes=0)
        path = tmp_path / f"{name}.safetensors"
        save_file(source.state_dict(), path)
        net = segmenter(network, f"tu-{name}", weights=str(path))
        loaded = net.body.encoder.state_dict()
        prefix = "model." if network == "DPT" else "network."
        assert all(torch.equal(v, loaded[prefix + k]) for k, v in source.state_dict().items())


def test_weights_of_the_librarys_encoders(tmp_path):
    source = segmenter("Unet", "resnet18").body.encoder.state_dict()
    path = tmp_path / "w.safetensors"
    save_file({**source, "fc.weight": torch.zeros(4, 512), "fc.bias": torch.zeros(4)}, path)
    loaded = segmenter("DeepLabV3", "resnet18", weights=str(path)).body.encoder.state_dict()
    assert all(torch.equal(v, source[k]) for k, v in loaded.items())


def test_weights_that_do_not_fit_are_refused(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    first = "layer1.0.conv1.weight"
    cases = {
        "nothing": {k: v for k, v in state.items() if k != first},
        r"\(1,\)": {**state, first: torch.zeros(1)},
    }
    for message, content in cases.items():
        path = tmp_path / "w.safetensors"
        save_file(content, path)
        fault = (
            r"fit tu-test_resnet: 74 of 75 tensors fit; the first that does not, layer1\.0\.conv1"
        )
        with pytest.raises(InputError, match=f"{fault}.* and {message} in the file"):
            segmenter(weights=str(path))
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"segment\.weights.*not a safetensors file"):
        segmenter(weights=str(path))


def test_weights_of_other_programs_are_read_and_what_is_of_no_use_is_named(tmp_path, caplog):
    """By the loader of the backbones."""
    caplog.set_level("INFO")
    state, path = timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth"
    more = {**{f"module.{k}": v for k, v in state.items()}, "blocks.7.x": torch.zeros(1)}
    torch.save({"state_dict": more, "epoch": 2}, path)
    loaded = segmenter(weights=str(path)).body.encoder.get_submodule("model").state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert "1 tensor is not used, of no part of tu-test_resnet: blocks.7.x" in caplog.text


def test_real_weights_give_timms_features(shared):
    path = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path}")
    net = segmenter("FPN", "tu-mobilenetv2_100", weights=str(path)).eval()
    source = timm.create_model("mobilenetv2_100", num_classes=0, checkpoint_path=str(path)).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = source.forward_intermediates(images, intermediates_only=True)
    features = net.body.encoder(images)[1:]
    for ours, theirs in zip(features, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("network", "encoder", "changes", "message"),
    [
        ("deeplabv3", "resnet18", {}, r"segment\.network = 'deeplabv3'.*DeepLabV3Plus"),
        ("nn", "resnet18", {}, r"segment\.network"),
        ("FPN", "resnet1", {}, r"segment\.encoder = 'resnet1'.*resnet18"),
        ("FPN", "test_resnet", {}, "near: tu-test_resnet"),
        ("FPN", "tu-test_resnett", {}, "near: tu-test_resnet"),
        ("FPN", "tu-hf-hub:some/thing", {}, "no such encoder"),
        ("FPN", "resnet18", {"stride": 16}, "FPN with resnet18 has stride 32"),
        ("DeepLabV3", "tu-test_resnet", {"stride": 32}, r"segment\.stride = 32.*8 or 16"),
        ("DeepLabV3", "tu-test_vit", {}, "'tu-test_vit'.*cannot be combined"),
        ("PAN", "tu-test_resnet", {"stride": 8}, r"segment\.stride = 8"),
        ("DPT", "tu-test_resnet", {}, "vision transformer"),
        ("DeepLabV2", "resnet5000", {}, r"segment\.encoder = 'resnet5000'"),
        ("DeepLabV2", "test_resnet", {"weights": "no.safetensors"}, r"segment\.weights.*no such"),
        ("FPN", "resnet18", {"weights": "no.safetensors"}, r"segment\.weights.*no such file"),
    ],
)
def test_mistakes_are_named(network, encoder, changes, message):
    with pytest.raises(InputError, match=message):
        segmenter(network, encoder, **changes)


def test_strides_that_need_no_choice():
    assert segmenter("FPN", stride=32).stride == 32
    assert segmenter("FPN", stride=8).stride == 8


@pytest.mark.parametrize("encoder", ["resnet18", "tu-test_resnet"])
def test_download_that_fails_says_what_to_do(encoder, monkeypatch):
    def refuse(*arguments, **keywords):
        raise OSError("no route to host\nsecond line")

    # The Hub answers, and then the download fails.
    monkeypatch.setattr("esol.networks.downloads.try_to_load_from_cache", lambda *_, **__: "here")
    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", refuse)
    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    with pytest.raises(InputError, match=r"could not be downloaded \(no route to host.*file"):
        segmenter(encoder=encoder, weights="imagenet")
