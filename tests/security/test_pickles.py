"""Malicious pickles in every place where a file is loaded: none is executed, each is refused."""

import io
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import esol.stages.classify
from esol.data.sample import Sample
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import load_maps, save_maps
from esol.networks import downloads
from esol.networks.backbone import Backbone
from esol.networks.checkpoints import Wanted, read_checkpoint
from esol.networks.weights import load_weights
from esol.predict.bundle import load_bundle
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings
from esol.settings.load import load_settings
from esol.stages import run
from esol.training.features import FeatureCache

SMOKE = str(Path(__file__).parents[1] / "smoke.yaml")


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


FORMS: dict[str, Callable[[Bomb, Path], object]] = {
    "pickle": lambda bomb, path: path.write_bytes(pickle.dumps(bomb, 2)),
    "pickled dictionary": lambda bomb, path: path.write_bytes(
        pickle.dumps({"torch_manual_seed": bomb, "step": bomb, "state": bomb}, 2)
    ),
    "torch": lambda bomb, path: torch.save({"torch_manual_seed": bomb, "state": bomb}, path),
    "torch, old": lambda bomb, path: torch.save(
        {"state": bomb}, path, _use_new_zipfile_serialization=False
    ),
    "npy": lambda bomb, path: path.write_bytes(npy(bomb)),
}


def npy(bomb: Bomb) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([bomb], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_the_bombs_explode_where_pickles_are_trusted(form, marker, tmp_path):
    """Without this the tests below might test nothing."""
    path = tmp_path / "bomb"
    FORMS[form](Bomb(marker), path)
    if form == "npy":
        np.load(path, allow_pickle=True)
    elif form.startswith("torch"):
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("form", FORMS)
def test_weights_and_models(form, marker, tmp_path):
    path = tmp_path / "bomb.safetensors"
    FORMS[form](Bomb(marker), path)
    wanted = Wanted("net", "backbone.weights", {"a": torch.zeros(1)}, lambda name: False)
    for load in (
        lambda: read_checkpoint(path, wanted),
        lambda: load_weights(torch.nn.Linear(1, 1), path),
        lambda: load_bundle(path),
    ):
        with pytest.raises(InputError, match=r"bomb\.safetensors"):
            load()
    assert not marker.exists()


@pytest.mark.parametrize("form", ["pickle", "torch", "torch, old"])
@pytest.mark.parametrize("source", ["local-dir", "hf-hub"])
@pytest.mark.parametrize("stride", [8, 16])
def test_published_networks(source, form, stride, marker, tmp_path, monkeypatch):
    """Timm 1.0.21 trusts the pickles of a folder; newer versions are made to do it, too."""
    trusting = partial(timm.models._hub.load_state_dict_from_path, weights_only=False)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_path", trusting)
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--someone--net" / "snapshots" / commit
    network = timm.create_model("test_resnet" if stride == 8 else "test_vit", num_classes=5)
    timm.models.save_for_hf(network, str(folder), safe_serialization=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    downloads._hub_folder.cache_clear()
    name = f"local-dir:{folder}" if source == "local-dir" else f"hf-hub:someone/net@{commit}"
    settings = BackboneSettings(name=name, weights="imagenet", stride=stride, learn=())
    for bomb in ("pytorch_model.bin", "net.pth.tar"):
        FORMS[form](Bomb(marker), folder / bomb)
    Backbone(settings)
    (folder / "model.safetensors").unlink()
    for bomb in ("pytorch_model.bin", "net.pth.tar"):
        with pytest.raises(InputError, match=f"{bomb} holds more than tensors"):
            Backbone(settings)
        (folder / bomb).unlink()
    assert not marker.exists()


def test_maps_and_features(marker, tmp_path):
    path = tmp_path / "maps.npz"
    save_maps(path, np.zeros((1, 1, 1), np.float32), np.array([0]), (4, 4))
    parts = dict(np.load(path))
    for part in parts:
        bomb = {**parts, part: np.array([Bomb(marker)], dtype=object)}
        np.savez(path, **bomb)
        with pytest.raises(InputError, match=r"maps\.npz"):
            load_maps(path)
    path.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(InputError, match=r"maps\.npz"):
        load_maps(path)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"x")
    sample, cache = Sample("photo", photo, (0,)), FeatureCache(tmp_path)
    cache.path(sample).write_bytes(npy(Bomb(marker)))
    with pytest.raises(InputError, match="cannot be read"):
        cache.read(sample, False)
    assert not marker.exists()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photos, and a run that was stopped with a checkpoint."""
    place = tmp_path_factory.mktemp("stopped")
    write_synthetic(place / "photos", photos=8, size=32, seed=0, val_fraction=0.5, hard=True)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(esol.stages.classify, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            go_on(place / "photos", place / "run")
    assert list(RunFolder(place / "run").stage("classify").glob("checkpoint-*"))
    return place / "photos", place / "run"


def go_on(photos: Path, folder: Path) -> None:
    flags = ["--input.size=32", "--machine.checkpoint_seconds=0", "--machine.device=cpu"]
    run(load_settings(SMOKE, *flags), photos, folder, last="classify")


def checkpoint_of(folder: Path) -> Path:
    return next(RunFolder(folder).stage("classify").glob("checkpoint-*"))


def test_these_are_the_files_of_a_checkpoint(stopped):
    """What is loaded; the next test puts a bomb in the place of each, and of what might be."""
    names = {path.name for path in checkpoint_of(stopped[1]).iterdir()}
    assert names == {"model.safetensors", "optimizer.bin", "random_states_0.pkl"}


@pytest.mark.parametrize(
    ("form", "trusting"), [("pickled dictionary", False), ("torch", False), ("torch", True)]
)
@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "optimizer.bin",
        "random_states_0.pkl",
        "pytorch_model.bin",
        "custom_checkpoint_0.pkl",
    ],
)
def test_checkpoints(name, form, trusting, stopped, marker, tmp_path, monkeypatch):
    """A bomb for random states was not executed, but passed over: others were taken."""
    if trusting:
        # What PyTorch is told so counts only where the caller says nothing.
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    photos, folder = stopped[0], Path(shutil.copytree(stopped[1], tmp_path / "run"))
    checkpoint = checkpoint_of(folder)
    if name == "pytorch_model.bin":
        (checkpoint / "model.safetensors").unlink()
    FORMS[form](Bomb(marker), checkpoint / name)
    with pytest.raises(InputError, match=rf"{checkpoint.name} is damaged; remove it"):
        go_on(photos, folder)
    assert not marker.exists()


def test_random_states_of_a_checkpoint_are_needed(stopped, tmp_path):
    photos, folder = stopped[0], Path(shutil.copytree(stopped[1], tmp_path / "run"))
    (checkpoint_of(folder) / "random_states_0.pkl").unlink()
    with pytest.raises(InputError, match="is damaged; remove it and run again"):
        go_on(photos, folder)
    shutil.rmtree(checkpoint_of(folder))
    go_on(photos, folder)


def test_a_model_file_downloads_nothing_by_its_names(tmp_path):
    """timm takes hf-hub:NAME for a download, local-dir:NAME for a folder to read."""
    description = {
        **{"version": 1, "classes": ["a"], "network": "FPN", "stride": 32, "norm": "frozen"},
        **{"resize": "crop", "size": 64, "longest": 64, "scales": [1.0], "flip": False, "crf": {}},
    }
    for network, encoder in (
        ("FPN", "tu-hf-hub:someone/resnet18"),
        ("FPN", "tu-local-dir:/etc"),
        ("FPN", "hf-hub:someone/resnet18"),
        ("DeepLabV2", "tu-hf-hub:someone/resnet18"),
        ("DeepLabV2", "tu-local-dir:/etc"),
        ("__init__", "resnet18"),
        ("from_pretrained", "resnet18"),
    ):
        content = json.dumps(description | {"network": network, "encoder": encoder})
        save_file(
            {"x": torch.zeros(1)},
            tmp_path / "net.safetensors",
            metadata={"esol-segmenter": content},
        )
        opened = list_of_connections()
        with pytest.raises(InputError, match=r"no such|damaged"):
            load_bundle(tmp_path / "net.safetensors")
        assert opened == []


_CONNECTIONS: list[list[str]] = []


def _hook(event: str, details: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        for found in _CONNECTIONS:
            found.append(event)


sys.addaudithook(_hook)


def list_of_connections() -> list[str]:
    """A list that is told of every connection from now on."""
    _CONNECTIONS.append([])
    return _CONNECTIONS[-1]
