"""Strides of "auto": the network's own, and the same identity as the number."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from esol.errors import InputError
from esol.networks.identity import network_identity
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import load_bundle, save_bundle
from esol.settings import BackboneSettings, Segment, Settings
from esol.training.features import cache_folder


@pytest.mark.parametrize(("name", "stride"), [("test_vit", 16), ("test_resnet", 16)])
def test_a_stride_of_auto_is_the_number_that_it_stands_for(name, stride):
    auto = BackboneSettings(name=name, weights="none", stride="auto", learn=())
    number = replace(auto, stride=stride)
    before = torch.get_rng_state()
    assert network_identity(auto, "backbone") == network_identity(number, "backbone")
    assert torch.equal(torch.get_rng_state(), before)
    folders = [cache_folder(Settings(backbone=one), Path("run")) for one in (auto, number)]
    assert folders[0] == folders[1]


@pytest.mark.parametrize(("encoder", "stride"), [("test_vit", 16), ("test_resnet", 8)])
def test_deeplab_v2_takes_the_stride_that_its_encoder_has(encoder, stride, tmp_path):
    network = Segmenter(Segment("DeepLabV2", encoder, weights="none"), 3).eval()
    assert network.stride == network.actual_stride == stride
    assert network(torch.zeros(1, 3, 40, 50)).shape == (1, 3, 40, 50)
    described = {
        **{"classes": ["red", "green"], "resize": "crop", "size": 64, "longest": 64},
        **{"scales": [1.0], "flip": False, "crf": {"iterations": 0}},
    }
    save_bundle(tmp_path / "net.safetensors", network, described)
    assert load_bundle(tmp_path / "net.safetensors")[0].stride == stride


def test_deeplab_v2_refuses_a_stride_that_its_encoder_has_not():
    with pytest.raises(InputError, match=r"segment\.stride = 8: out of reach .* set .*: 16"):
        Segmenter(Segment("DeepLabV2", "test_vit", weights="none", stride=8), 3)
