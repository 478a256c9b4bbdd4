"""Backbones of every family: timm's own features, aligned with pixels, frozen and learning."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.utils import AttentionExtract
from torch import Tensor, nn
from torch.nn import functional as F

from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.networks.affinity import AffinityNet
from esol.networks.backbone import Backbone
from esol.networks.similarity import CellSimilarity
from esol.ops.affinity import attention_affinity
from esol.ops.grids import cut
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings, Similarity
from esol.settings.load import load_settings
from esol.stages import run

CREATE = timm.create_model
SMOKE = Path(__file__).parent / "smoke.yaml"


def tokens(network: Any, images: Tensor, stride: int) -> Tensor:
    """What timm's forward_features gives, without class and register tokens, as a map."""
    patches = network.forward_features(images)[:, network.num_prefix_tokens :]
    height, width = (side // stride for side in images.shape[-2:])
    return patches.transpose(1, 2).unflatten(2, (height, width))


def third_level(network: Any, images: Tensor, stride: int) -> Tensor:
    """What Swin's third stage gives; its layout is (N, h, w, C)."""
    x = network.patch_embed(images)
    for layer in network.layers[:3]:
        x = layer(x)
    return x.permute(0, 3, 1, 2)


def cells(network: Any, images: Tensor, stride: int) -> Tensor:
    """What XCiT's blocks give, before those that read the class token, after its norm."""
    x, (height, width) = network.patch_embed(images)
    places = network.pos_embed(len(x), height, width).reshape(len(x), -1, x.shape[1])
    x = x + places.permute(0, 2, 1)
    for block in network.blocks:
        x = block(x, height, width)
    return network.norm(x).transpose(1, 2).unflatten(2, (height, width))


def whole(network: Any, images: Tensor, stride: int) -> Tensor:
    """What a convolutional network's forward_features gives."""
    return network.forward_features(images.contiguous(memory_format=torch.channels_last))


@dataclass(frozen=True)
class Family:
    """One network of a family, made small: arguments that leave out blocks; stride; timm's way."""

    name: str
    small: dict[str, Any] = field(default_factory=dict)
    stride: int = 16
    theirs: Callable[[Any, Tensor, int], Tensor] = tokens
    any_size: dict[str, Any] = field(default_factory=lambda: {"dynamic_img_size": True})
    learn: str = "blocks.1"


SHALLOW = {"depth": 2}
NOT_STRICT = {"strict_img_size": False}
SWIN = {"depths": (1, 1, 2, 1)}
FAMILIES = {
    "ViT": Family("test_vit"),
    "ViT, patch 8": Family("vit_small_patch8_224", SHALLOW, 8),
    "DeiT": Family("deit_tiny_distilled_patch16_224", SHALLOW),
    "DINO": Family("vit_small_patch16_224.dino", SHALLOW),
    "DINOv2": Family("vit_small_patch14_dinov2", SHALLOW, 14),
    "DINOv2, registers": Family("vit_small_patch14_reg4_dinov2", SHALLOW, 14),
    "DINOv3": Family("vit_small_patch16_dinov3", SHALLOW),
    "CLIP": Family("vit_base_patch32_clip_224", SHALLOW, 32),
    "SigLIP": Family("vit_base_patch16_siglip_224", SHALLOW),
    "EVA-02": Family("eva02_tiny_patch14_224", SHALLOW, 14),
    "Swin": Family(
        "swin_tiny_patch4_window7_224",
        SWIN,
        16,
        third_level,
        NOT_STRICT,
        "layers.2",
    ),
    "Swin v2": Family("swinv2_tiny_window8_256", SWIN, 16, third_level, NOT_STRICT, "layers.2"),
    "XCiT": Family("xcit_nano_12_p16_224", SHALLOW, 16, cells, {}),
    "ConvNeXt V2": Family("convnextv2_atto", {}, 32, whole, {}, "stages.3"),
    "MobileNetV4": Family("mobilenetv4_conv_small", {}, 32, whole, {}, "blocks.4"),
    "EfficientViT": Family("efficientvit_b0", {}, 32, whole, {}, "stages.3"),
}


@pytest.fixture
def backbone(monkeypatch):
    """Makes a family's small network."""

    def make(family: Family, side: int = 0, **changes) -> Backbone:
        monkeypatch.setattr(
            "esol.networks.backbone.timm.create_model",
            lambda name, **arguments: CREATE(name, **family.small, **arguments),
        )
        torch.manual_seed(0)
        settings = {"weights": "none", "stride": family.stride, "learn": (), **changes}
        return Backbone(BackboneSettings(name=family.name, **settings), side=side).eval()

    return make


def timms(family: Family, ours: Backbone) -> nn.Module:
    """timm's whole network with our weights."""
    theirs = CREATE(family.name, num_classes=0, **family.small, **family.any_size)
    found = theirs.load_state_dict(ours.network.state_dict(), strict=False)
    assert not found.unexpected_keys
    return theirs.eval()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@torch.no_grad()
def test_features_are_timms(family, backbone):
    ours = backbone(family)
    theirs = timms(family, ours)
    for size in ((224, 224), (224, 448)):
        images = torch.randn(2, 3, *size)
        features = ours(images)
        assert features.shape == (2, ours.channels, *(side // family.stride for side in size))
        expected = family.theirs(theirs, images, family.stride)
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
        folded = backbone(family).fold()(images)
        torch.testing.assert_close(folded, features, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_family_learns_what_is_named_and_takes_any_side(family, backbone):
    ours = backbone(family, learn=(family.learn,)).train()
    features = ours(torch.randn(1, 3, 100, 75))
    sides = (-(-100 // family.stride), -(-75 // family.stride))
    # Patches of ConvNeXt that are not whole are left out.
    assert features.shape[2:] == ((3, 2) if "convnext" in family.name else sides)
    features.square().sum().backward()
    learning = {name for name, p in ours.network.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith(family.learn) for name in learning)
    assert any(p.grad is not None and p.grad.any() for p in ours.parameters())


@pytest.mark.parametrize("stride", [14, 16])
def test_cells_lie_where_their_pixels_are(stride):
    """Each cell's value is its place in the padded photo; after the cut, its place in the photo."""
    height, width = 75, 100
    rows, columns = -(-height // stride), -(-width // stride)
    y = (torch.arange(rows) + 0.5) * stride
    x = (torch.arange(columns) + 0.5) * stride
    places = torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]
    found = cut(places, (height, width), stride)
    # Before the middle of the first cell there is nothing to read between.
    for values, side in ((found[0, 0, :, 0], height), (found[0, 1, 0], width)):
        centres = (torch.arange(len(values)) + 0.5) * side / len(values)
        torch.testing.assert_close(values, centres.clamp(min=stride / 2))
    exact = cut(places, (rows * stride, columns * stride), stride)
    assert torch.equal(exact, places)


def test_the_last_norm_can_be_left_out(backbone):
    family, images = FAMILIES["DINOv2"], torch.randn(1, 3, 56, 56)
    plain = backbone(family, final_norm=False)
    assert not [name for name, _ in plain.network.named_parameters() if name.startswith("norm.")]
    with torch.no_grad():
        raw, normed = plain(images), backbone(family)(images)
    expected = F.layer_norm(raw.permute(0, 2, 3, 1), (384,), eps=1e-6).permute(0, 3, 1, 2)
    torch.testing.assert_close(normed, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "stride", "expected"),
    [
        ("test_vit", "auto", 16),
        ("vit_small_patch14_dinov2", "auto", 14),
        ("swin_tiny_patch4_window7_224", "auto", 16),
        ("swin_tiny_patch4_window7_224", 8, 8),
        ("swin_tiny_patch4_window7_224", 32, 32),
        ("test_resnet", "auto", 16),
        ("hrnet_w18_small", "auto", 32),
        ("vit_small_patch14_dinov2", 16, r"backbone\.stride = 16: out of .* backbone\.stride: 14,"),
        ("test_vit", 8, r"out of reach of this network; set backbone\.stride: 16, or take"),
    ],
)
def test_the_stride_is_the_networks_own_where_it_cannot_be_chosen(name, stride, expected, backbone):
    small = SWIN if "swin" in name else SHALLOW if "dinov2" in name else {}
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            backbone(Family(name, small), stride=stride)
    else:
        assert backbone(Family(name, small), stride=stride).stride == expected


@pytest.mark.parametrize(
    ("name", "small"),
    [("hiera_tiny_224", {"stages": (1, 1, 2, 1)}), ("beit_base_patch16_224", SHALLOW)],
)
def test_networks_for_one_size_take_squashed_photos(name, small, backbone):
    family = Family(name, small)
    with pytest.raises(InputError, match=r"photos of one size only; set input\.resize: squash"):
        backbone(family)
    network = backbone(family, side=64)
    with torch.no_grad():
        assert network(torch.randn(2, 3, 64, 64)).shape[2:] == (4, 4)
        with pytest.raises(InputError, match=r"64 x 64 pixels \(input\.size\) only, not of 96"):
            network(torch.randn(2, 3, 96, 64))
    with pytest.raises(InputError, match=r"photos of one size.*leave irn out of refine\.methods"):
        AffinityNet(network)


def test_refinement_by_affinities_needs_fine_levels(backbone):
    with pytest.raises(InputError, match=r"14 pixels a cell, too coarse .* leave irn out of"):
        AffinityNet(backbone(FAMILIES["DINOv2"]))
    net = AffinityNet(backbone(FAMILIES["Swin"])).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 3, 100, 75))[0].shape == (1, 25, 19)


@pytest.mark.parametrize("name", ["ViT", "DeiT", "DINOv2, registers", "DINOv3", "CLIP", "EVA-02"])
@torch.no_grad()
def test_attention_among_cells_is_timms(name, backbone):
    family = FAMILIES[name]
    ours = backbone(family)
    theirs: Any = timms(family, ours)
    for block in theirs.blocks:
        block.attn.fused_attn = False
    fused = [block.attn.fused_attn for block in ours.network.blocks]
    similarity = CellSimilarity(ours, Similarity(source="attention", levels=2))
    photo, first = torch.randn(3, 160, 224), theirs.num_prefix_tokens
    if family.stride == 14:
        photo = torch.randn(3, 154, 224)
    layers = list(AttentionExtract(theirs, method="hook")(photo[None]).values())
    expected = attention_affinity(torch.stack(layers[-2:])[:, 0, :, first:, first:])
    found, size = similarity.of_photo(photo)
    assert size == tuple(side // family.stride for side in photo.shape[1:])
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert [block.attn.fused_attn for block in ours.network.blocks] == fused
    # Other photos are stretched to whole cells.
    assert similarity.of_photo(torch.randn(3, 100, 75))[1] == (
        -(-100 // family.stride),
        -(-75 // family.stride),
    )


def test_networks_without_attention_among_all_cells_are_read_by_their_features(backbone):
    for name, levels in (("Swin", 3), ("XCiT", 2), ("MobileNetV4", 5)):
        network = backbone(FAMILIES[name])
        similarity = CellSimilarity(network, Similarity(levels=2))
        affinity, (h, w) = similarity.of_photo(torch.randn(3, 128, 96))
        assert affinity.shape == (h * w, h * w)
        with pytest.raises(InputError, match=r"has no attention among all cells.*to features"):
            CellSimilarity(network, Similarity(source="attention"))
        with pytest.raises(InputError, match=rf"levels = 9: .* has {levels} levels.* {levels} or"):
            CellSimilarity(network, Similarity(levels=9))
    network = backbone(FAMILIES["ViT"])
    with pytest.raises(InputError, match=r"levels = 99: test_vit has \d+ layers with attention"):
        CellSimilarity(network, Similarity(source="attention", levels=99))


@pytest.mark.parametrize(
    "flags",
    [
        ("--backbone.learn=[]", "--backbone.norm=frozen", "--backbone.cache=true"),
        ("--backbone.learn=[blocks.1, norm]", "--input.resize=crop", "--input.longest=[50, 90]"),
    ],
)
def test_every_stage_works_at_stride_14(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "esol.networks.backbone.timm.create_model", partial(CREATE, depth=2, embed_dim=192)
    )
    write_synthetic(tmp_path / "photos", photos=16, size=64, seed=0)
    settings = load_settings(
        SMOKE,
        *("--backbone.name=vit_small_patch14_dinov2", "--backbone.stride=auto", *flags),
        *("--refine.methods=[crf,affinity]", "--refine.similarity.source=attention"),
        *("--masks.source=affinity+crf", "--cams.scales=[0.5, 1]"),
        *("--segment.network=none", "--classify.fit.lr=1e-4"),
    )
    out = RunFolder(run(settings, tmp_path / "photos", tmp_path / "out"))
    assert {"cam", "expansion", "shrinkage", "crf", "affinity", "masks"} <= out.metrics()["lists"][
        "train"
    ].keys()
    for path in (tmp_path / "out").glob("cache/*/*.npy"):
        assert np.load(path).shape == (2, 192, 5, 5)
    maps = [load_maps(path).maps for path in out.maps("cam").rglob("*.npz")]
    assert any(np.ptp(m) > 0 for m in maps if m.size)
