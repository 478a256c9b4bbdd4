"""Networks that somebody published: hf-hub:OWNER/NAME and local-dir:FOLDER, as timm writes them."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from httpx2 import ConnectError
from safetensors.torch import save_file

from esol.cli.main import main
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.networks import downloads
from esol.networks.backbone import Backbone
from esol.networks.identity import network_identity
from esol.networks.pretrained import classifier_prefixes
from esol.networks.segmenter import Segmenter
from esol.settings import BackboneSettings, Segment

SMOKE = str(Path(__file__).parent / "smoke.yaml")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Addresses that a Hub that does not answer was asked for; its cache is empty."""
    addresses: list[str] = []

    def refuse(url: str, **options: object) -> None:
        addresses.append(url)
        raise ConnectError("Name or service not known")

    monkeypatch.setattr(downloads, "get_hf_file_metadata", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    downloads._hub_folder.cache_clear()
    return addresses


def published(folder: Path, name: str, *, safe: bool) -> torch.nn.Module:
    """A network with random weights, in a folder as timm writes it."""
    network = timm.create_model(name, num_classes=5)
    network.pretrained_cfg = {**network.pretrained_cfg, "mean": (0.1, 0.2, 0.3), "license": "mit"}
    timm.models.save_for_hf(network, str(folder), safe_serialization=safe)
    return network


def read(name: str, stride: int, weights: str = "imagenet") -> Backbone:
    return Backbone(BackboneSettings(name=name, weights=weights, stride=stride, learn=()))


def assert_same(found: Backbone, source: torch.nn.Module) -> None:
    state = source.state_dict()
    own = found.network.state_dict()
    assert own
    assert all(torch.equal(value, state[key]) for key, value in own.items())
    assert found.normalisation.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize(("name", "stride"), [("test_resnet", 8), ("test_vit", 16)])
def test_a_folder_that_timm_wrote_is_read(name, stride, safe, tmp_path, asked):
    source = published(tmp_path / "mine", name, safe=safe)
    assert_same(read(f"local-dir:{tmp_path / 'mine'}", stride), source)
    assert asked == []


def test_it_must_be_clear_which_file_of_a_folder_is_loaded(tmp_path):
    source = published(tmp_path, "test_resnet", safe=False)
    name = f"local-dir:{tmp_path}"
    (tmp_path / "training_args.bin").write_bytes(b"x")
    assert_same(read(name, 8), source)
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "best.pth.tar")
    with pytest.raises(InputError, match=r"best\.pth\.tar and training_args\.bin lie there"):
        read(name, 8)
    (tmp_path / "training_args.bin").unlink()
    assert_same(read(name, 8), source)
    (tmp_path / "best.pth.tar").unlink()
    with pytest.raises(InputError, match=r"name = 'local-dir:.*no weights lie in"):
        read(name, 8)


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_published_network_that_is_here_needs_no_hub(revision, tmp_path, asked):
    repository = tmp_path / "hub" / "models--someone--net"
    source = published(repository / "snapshots" / COMMIT, "test_resnet", safe=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert_same(read(f"hf-hub:someone/net{revision}", 8), source)
    assert asked == []


def test_a_hub_that_does_not_answer_is_asked_once_and_told_in_one_line(tmp_path, asked, capsys):
    write_synthetic(tmp_path / "photos", photos=40, size=64, seed=0)
    name = "--backbone.name=hf-hub:someone/net"
    arguments = ["run", SMOKE, str(tmp_path / "photos"), str(tmp_path / "out"), name]
    assert main([*arguments, "--backbone.weights=imagenet"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "cannot be read" in line]
    assert len(said) == 1
    assert "backbone.name = 'hf-hub:someone/net': cannot be read (someone/net could not" in said[0]
    assert "Name or service not known" in said[0]
    assert not (tmp_path / "out").exists()
    # The description, once as such and once before the weights.
    assert asked == ["https://huggingface.co/someone/net/resolve/main/config.json"] * len(asked)
    assert len(asked) <= 2


@pytest.mark.parametrize("network", ["DeepLabV2", "FPN"])
@pytest.mark.parametrize("encoder", ["hf-hub:someone/net", "tu-local-dir:/etc"])
def test_an_encoder_is_none_of_these(network, encoder, asked):
    with pytest.raises(InputError, match=r"no such encoder; hf-hub: and local-dir: are for"):
        Segmenter(Segment(network, encoder, weights="none"), 3)
    assert asked == []


def described(**changes: object) -> str:
    numbers = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 5}
    return json.dumps({"architecture": "test_resnet", "pretrained_cfg": {**numbers, **changes}})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{}", "cannot be read"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 99_999, "cannot be read"),
        ('{"architecture": 5}', "cannot be read"),
        ('{"architecture": "magic"}', "cannot be read"),
        ('{"architecture": "test_resnet", "pretrained_cfg": []}', "cannot be read"),
        ('{"architecture": "test_resnet", "model_args": [1]}', "cannot be read"),
        ('{"architecture": "test_resnet", "model_args": {"block": "x"}}', "cannot be read"),
        (described(magic=1), "cannot be read"),
        (described(mean=5), "mean in its config.json is 5, but must be three numbers from 0 to 1"),
        (described(mean=[0.5]), "mean in its config.json"),
        (described(mean=["a", 0, 0]), "mean in its config.json"),
        (described(mean=[10**400, 0, 0]), "mean in its config.json"),
        (described(std=[0, 0, 0]), "std in its config.json is .0, 0, 0., but must be three"),
        (described(std=[float("nan")] * 3), "std in its config.json"),
    ],
)
@pytest.mark.parametrize("weights", ["imagenet", "mine.safetensors"])
def test_a_damaged_description_is_refused_in_a_line(config, message, weights, tmp_path):
    published(tmp_path, "test_resnet", safe=True)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=rf"^backbone\.name = 'local-dir:.*{message}.*; ") as error:
        read(f"local-dir:{tmp_path}", 8, weights)
    assert "\n" not in str(error.value)
    classifier_prefixes(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("size", [0, 99, -999])
def test_damaged_weights_of_a_folder_are_refused_in_a_line(safe, size, tmp_path):
    published(tmp_path, "test_resnet", safe=safe)
    file = tmp_path / ("model.safetensors" if safe else "pytorch_model.bin")
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(InputError, match=rf"^backbone\.weights: .*{file.name} .*; give ") as error:
        read(f"local-dir:{tmp_path}", 8)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("classifier", [5, ["fc", 5], {"a": 1}, None])
def test_a_classifier_that_is_no_name_is_none(classifier, tmp_path):
    (tmp_path / "config.json").write_text(described(classifier=classifier))
    assert read(f"local-dir:{tmp_path}", 8, "none").channels


def identity(name: str, weights: str = "imagenet") -> dict[str, object]:
    settings = BackboneSettings(name=name, weights=weights, stride=8)
    return network_identity(settings, "backbone")


@pytest.mark.parametrize("safe", [True, False])
def test_the_identity_of_a_folder_is_that_of_what_is_read_of_it(safe, tmp_path, monkeypatch):
    published(tmp_path / "net", "test_resnet", safe=safe)
    name = f"local-dir:{tmp_path / 'net'}"
    own = tmp_path / "mine.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), own)
    choices = ("imagenet", "none", str(own))
    before = [identity(name, weights) for weights in choices]
    monkeypatch.chdir(tmp_path)
    shutil.copytree("net", "copy")
    (tmp_path / "net" / "training_args.bin").write_bytes(b"x")
    (tmp_path / "net" / "notes.json").write_text("{}")
    for other in ("local-dir:net", "local-dir:./net/", "Local_Dir:copy"):
        assert [identity(other, weights) for weights in choices] == before
    file = tmp_path / "net" / ("model.safetensors" if safe else "pytorch_model.bin")
    published(tmp_path / "net", "test_resnet", safe=safe)
    after = [identity(name, weights) for weights in choices]
    assert [a == b for a, b in zip(after, before, strict=True)] == [False, True, True]
    # As the file is loaded under any name that timm knows.
    file.rename(file.with_name("best.pth.tar"))
    (tmp_path / "net" / "training_args.bin").unlink()
    assert identity(name) == after[0]
    config = tmp_path / "net" / "config.json"
    config.write_text(config.read_text().replace("0.1", "0.15"))
    assert all(identity(name, w) != a for w, a in zip(choices, after, strict=True))
    with pytest.raises(InputError, match=r"backbone\.name = 'local-dir:nowhere': cannot be read"):
        identity("local-dir:nowhere", "none")


def test_the_identity_of_a_network_of_the_hub_has_its_commit(tmp_path, asked):
    repository = tmp_path / "hub" / "models--someone--net"
    (repository / "refs").mkdir(parents=True)
    found = []
    for commit in (COMMIT, COMMIT[::-1]):
        published(repository / "snapshots" / commit, "test_resnet", safe=True)
        (repository / "refs" / "main").write_text(commit)
        downloads._hub_folder.cache_clear()
        same = [identity(f"hf-hub:someone/net{at}") for at in ("", "@main", f"@{commit}")]
        assert same == [same[0]] * 3
        assert same[0]["name"] == f"hf-hub:someone/net@{commit}"
        found.append(same[0])
    assert found[0] != found[1]
    assert asked == []


def test_a_run_finds_the_folder_of_its_network_from_any_folder(tmp_path, monkeypatch):
    write_synthetic(tmp_path / "photos", photos=8, size=64, seed=0)
    published(tmp_path / "net", "test_resnet", safe=True)
    monkeypatch.chdir(tmp_path)
    flags = ["--backbone.name=local-dir:net", "--backbone.weights=imagenet", "--until=classify"]
    assert main(["run", SMOKE, "photos", "out", *flags]) == 0
    manifest = tmp_path / "out" / "01-classify" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    monkeypatch.chdir(tmp_path / "photos")
    assert main(["run", str(tmp_path / "out"), "--until=classify"]) == 0
    assert manifest.stat().st_mtime_ns == before
    (tmp_path / "out" / "01-classify" / "manifest.json").unlink()
    assert main(["run", str(tmp_path / "out"), "--until=classify"]) == 0


def test_levels_that_are_not_needed_are_no_news(tmp_path, caplog):
    caplog.set_level("INFO")
    arguments = {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 1, 1)}
    network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **arguments)
    timm.models.save_for_hf(network, str(tmp_path), model_args=arguments, safe_serialization=True)
    name = f"local-dir:{tmp_path}"
    assert read(name, 16).channels == 64
    assert "not used" not in caplog.text
    state = {**network.state_dict(), "layers.9.more": torch.ones(1)}
    save_file(state, tmp_path / "mine.safetensors")
    assert read(name, 16, str(tmp_path / "mine.safetensors")).stride == 16
    assert "1 tensor is not used, of no part of local-dir:" in caplog.text
    assert caplog.text.count("layers.9.more") == 1
