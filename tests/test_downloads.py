"""Weights from the Hub: told at once, refused at once and in full where there is no network."""

import logging
from types import SimpleNamespace

import pytest

from esol.errors import InputError
from esol.networks import downloads
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter
from esol.settings import BackboneSettings, Segment

WHY = "[Errno -2] Name or service not known " + "after several attempts " * 20


@pytest.fixture(autouse=True)
def no_memory():
    """Every test asks anew."""
    downloads.announce.cache_clear()
    yield
    downloads.announce.cache_clear()


@pytest.fixture
def offline(monkeypatch):
    def unreachable(url, **_):
        raise ConnectionError(WHY)

    monkeypatch.setattr(downloads, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(downloads, "get_hf_file_metadata", unreachable)


@pytest.mark.parametrize(
    ("make", "key", "repository"),
    [
        (
            lambda: Backbone(BackboneSettings(name="mobilenetv2_100")),
            "backbone.weights",
            "timm/mobilenetv2_100.ra_in1k",
        ),
        (
            lambda: Segmenter(Segment(network="FPN", encoder="tu-mobilenetv2_100"), 3),
            "segment.weights",
            "timm/mobilenetv2_100.ra_in1k",
        ),
        (
            lambda: Segmenter(Segment(network="FPN", encoder="resnet18"), 3),
            "segment.weights",
            "smp-hub/resnet18.imagenet",
        ),
    ],
    ids=["backbone", "encoder of timm", "other encoder"],
)
def test_offline_is_told_in_full_before_anything_is_tried(
    offline, monkeypatch, make, key, repository
):
    monkeypatch.setattr("timm.create_model", None)
    with pytest.raises(InputError) as caught:
        make()
    message = str(caught.value)
    assert message.startswith(f"{key} = 'imagenet': ")
    assert f"https://huggingface.co/{repository}/resolve/" in message
    assert WHY.strip() in message
    assert message.endswith("or 'none' to start from random weights")


def test_a_download_is_told_with_file_and_size(monkeypatch, caplog):
    monkeypatch.setattr(downloads, "try_to_load_from_cache", lambda *_, **__: None)
    asked = []

    def metadata(url, timeout):
        asked.append(timeout)
        return SimpleNamespace(size=14_200_000)

    monkeypatch.setattr(downloads, "get_hf_file_metadata", metadata)
    with caplog.at_level(logging.INFO, "esol"):
        downloads.announce_timm("mobilenetv2_100", "backbone.weights")
        downloads.announce_timm("mobilenetv2_100", "backbone.weights")
    (line,) = caplog.messages
    assert line == (
        "mobilenetv2_100: downloading https://huggingface.co/timm/mobilenetv2_100.ra_in1k/resolve/"
        "main/model.safetensors, 14 MB"
    )
    assert asked == [downloads.PATIENCE]


def test_what_is_on_this_machine_asks_nobody(offline, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(downloads, "try_to_load_from_cache", lambda *_, **__: str(tmp_path))
    with caplog.at_level(logging.INFO, "esol"):
        downloads.announce_timm("mobilenetv2_100", "backbone.weights")
    assert not caplog.messages
