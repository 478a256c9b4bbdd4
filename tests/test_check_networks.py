"""``esol check CONFIG DATA`` tries what a run would fail on; what ``esol run`` says of the tags."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import esol.networks.backbone
from esol.cli.main import main
from esol.data.synthetic import write_synthetic

SMOKE = str(Path(__file__).parent / "smoke.yaml")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("check") / "photos"
    write_synthetic(root, photos=24, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


@pytest.fixture
def checked(photos, capsys):
    def run(*flags: str, code: int = 0) -> list[str]:
        """Lines about networks, and problems."""
        assert main(["check", SMOKE, str(photos), *flags]) == code
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if line.startswith(("networks: ", "problem: "))]

    return run


SEGMENT = ("--segment.network=DeepLabV3", "--segment.encoder=tu-test_resnet")


def test_networks_are_said_in_one_line(checked):
    (line,) = checked(*SEGMENT, "--segment.weights=none", "--segment.stride=8")
    assert line == (
        "networks: maps: test_resnet, stride 8, 64 x 64 pixels (8 x 8 cells), random weights;"
        " segmentation: DeepLabV3 of tu-test_resnet, stride 8, 64 x 64 pixels, random weights"
    ), line


def test_nothing_is_downloaded(checked, monkeypatch):
    real = esol.networks.backbone.timm.create_model

    def offline(*args, pretrained=False, **more):
        assert not pretrained
        return real(*args, **more)

    monkeypatch.setattr(esol.networks.backbone.timm, "create_model", offline)
    (line,) = checked("--backbone.weights=imagenet", "--segment.network=none")
    assert line.endswith("weights imagenet (not tried: the first run downloads them)")


@pytest.mark.parametrize(
    ("name", "method", "warns"),
    [
        ("test_vit", "esol", True),
        ("test_vit", "cam", False),
        ("test_resnet", "esol", False),
    ],
)
def test_samplers_on_tokens_are_warned_of(photos, capsys, name, method, warns):
    flags = (f"--backbone.name={name}", f"--method={method}", "--backbone.stride=auto")
    flags += ("--refine.methods=[]", "--masks.source=crf")
    assert main(["check", SMOKE, str(photos), "--backbone.learn=[]", *flags]) == 0
    told = "".join(capsys.readouterr())
    warning = f"method = {method}: Expansion and Shrinkage made maps worse"
    assert (warning in told) == warns
    assert ("the configuration tags-folder-vit" in told) == warns


@pytest.mark.parametrize("method", ["cam", "sccam", "drs", "lpcam"])
def test_networks_of_compared_methods(checked, method):
    assert "maps: test_resnet, stride 8" in checked(f"--method={method}")[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--backbone.name=no_such"],
            "problem: backbone.name = 'no_such': timm has no such network",
        ),
        (
            ["--backbone.weights=gone.safetensors"],
            "problem: backbone.weights = gone.safetensors: no",
        ),
        (["--backbone.weights=OTHER"], "does not fit test_resnet"),
        ([*SEGMENT, "--segment.weights=OTHER"], "does not fit tu-test_resnet"),
        (["--segment.network=NoSuch"], "problem: segment.network = 'NoSuch': no such network"),
        (["--segment.encoder=no_such"], "problem: segment.encoder = 'no_such': no such encoder"),
        (
            ["--backbone.learn=[nothing]"],
            "problem: backbone.learn = 'nothing': no parameter begins",
        ),
    ],
)
def test_what_a_run_would_fail_on_is_a_problem(checked, tmp_path, flags, message):
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.ones(1)}, other)
    flags = [flag.replace("OTHER", str(other)) for flag in flags]
    if not any(flag.startswith("--segment.network") for flag in flags):
        flags = [*SEGMENT[:1], *flags]
    (line,) = checked(*flags, code=2)
    assert message in line


def test_an_input_that_a_network_does_not_take_is_a_problem(checked, monkeypatch):
    real = esol.networks.backbone.Backbone.forward

    def only_64(self, images):
        if images.shape[-1] != 64:
            raise AssertionError("Input height (96) doesn't match model (64).")
        return real(self, images)

    monkeypatch.setattr(esol.networks.backbone.Backbone, "forward", only_64)
    (line,) = checked("--segment.network=none", "--input.size=96", code=2)
    assert line == (
        "problem: input.size = 96: test_resnet does not take inputs of this size (Input height (96)"
        " doesn't match model (64).); set another"
    )


def test_without_a_configuration_only_the_data_is_looked_at(photos, capsys, monkeypatch):
    monkeypatch.setattr("esol.stages.networks.try_networks", lambda *_: pytest.fail("tried"))
    assert main(["check", str(photos)]) == 0
    assert "networks:" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "run"])
def test_check_and_run_say_the_same_of_the_tags(tmp_path, capsys, command):
    """A tag that means none, and one photo under two tags."""
    for seed, name in enumerate(("cat/1", "cat/2", "none/1", "none/2")):
        path = tmp_path / "photos" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    shutil.copy(tmp_path / "photos" / "cat" / "1.png", tmp_path / "photos" / "none" / "3.png")
    more = [str(tmp_path / "out"), "--until", "classify"] if command == "run" else []
    none = ["--data.evaluate=[train]", "--segment.network=none"]
    assert main([command, SMOKE, str(tmp_path / "photos"), *more, *none]) == 0
    told = "".join(capsys.readouterr())
    for line in (
        "list 'train': tag 'none' is a class like any other: photos that show none of the classes"
        " have no tag: leave their labels empty, or put them in the folder _background",
        "1 photo (cat/1 and none/3) more than once, under different tags: keep one of each, and"
        " give it all its tags in a labels file",
    ):
        assert told.count(line) == 1
