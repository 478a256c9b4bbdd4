"""Weights: of backbones and encoders, and model files of our own."""

import io
import json
import pickle
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from corpus import Command, Kind, Place
from corpus.images import JPEG, SMOKE
from esol.predict.bundle import KEY, VERSION
from esol.runs.folder import RunFolder


@cache
def network() -> dict[str, Tensor]:
    """Weights of the small network."""
    torch.manual_seed(0)
    return {
        name: value.clone() for name, value in timm.create_model("test_resnet").state_dict().items()
    }


def changed(**values: Tensor | None) -> bytes:
    """The network's weights with other values of some layers; None: left out."""
    state = {**network(), **{name.replace("__", "."): value for name, value in values.items()}}
    return save({name: value for name, value in state.items() if value is not None})


def pickled() -> bytes:
    return pickle.dumps({"weight": [1.0, 2.0]})


def of_pytorch(**values: Tensor) -> bytes:
    """A file of torch.save that holds itself, with other values of some layers."""
    state = {**network(), **{name.replace("__", "."): value for name, value in values.items()}}
    content: dict[str, Any] = {"state_dict": state, "step": 3}
    content["trainer"] = content
    torch.save(content, stream := io.BytesIO())
    return stream.getvalue()


HUGE = (2**60).to_bytes(8, "little") + b"{}"
MAKES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a pickle": (pickled, "give other weights"),
    "of zero bytes": (lambda: b"", "is not a safetensors file"),
    "cut off": (lambda: save(network())[:-999], "is not a safetensors file"),
    "cut off in the header": (lambda: save(network())[:99], "is not a safetensors file"),
    "a text": (lambda: b"weights of mine\n", "is not a safetensors file"),
    "a header of 10^18 bytes": (lambda: HUGE, "is not a safetensors file"),
    "of another network": (
        lambda: save(timm.create_model("test_vit").state_dict()),
        "does not fit test_resnet",
    ),
    "a layer missing": (lambda: changed(bn1__weight=None), "does not fit test_resnet"),
    "a layer of another shape": (
        lambda: changed(bn1__weight=torch.ones(5)),
        "does not fit test_resnet",
    ),
    "with complex numbers": (lambda: of_pytorch(bn1__weight=1j * torch.ones(32)), "complex64 in"),
    "not dense": (lambda: of_pytorch(bn1__weight=torch.ones(32).to_sparse()), "not dense"),
    "with NaN": (
        lambda: changed(bn1__weight=torch.full_like(network()["bn1.weight"], float("nan"))),
        "is not finite everywhere; give other weights",
    ),
}


def backbone(content: Callable[[], bytes], key: str, place: Place) -> Command:
    """``esol run`` that starts from these weights."""
    data = content()
    file = place.write("mine.pth" if data.startswith(b"PK") else "mine.safetensors", data)
    common = ["run", SMOKE, place.data, place.out, "--data.evaluate=[train]"]
    return [*common, f"--{key}={file}", "--backbone.learn=[layer4]"]


CONFIG = {"architecture": "test_resnet", "num_classes": 1000, "pretrained_cfg": {}}
PUBLISHED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "description empty": ("{}", lambda: save(network()), "local-dir:FOLDER of what timm"),
    "description cut off": ('{"archi', lambda: save(network()), "local-dir:FOLDER of what timm"),
    "mean a number": (
        json.dumps({**CONFIG, "pretrained_cfg": {"mean": 5}}),
        lambda: save(network()),
        "mean in its config.json is 5, but must be three numbers from 0 to 1",
    ),
    "weights cut off": (json.dumps(CONFIG), lambda: save(network())[:-999], "give the weights"),
    "weights a pickle": (json.dumps(CONFIG), pickled, "give other weights"),
}


def published(verb: str, description: str, content: Callable[[], bytes], place: Place) -> Command:
    """``esol run`` or ``esol check`` with a network of a folder."""
    place.write("net/config.json", description.encode())
    folder = place.write("net/model.safetensors", content()).parent
    out = [place.out] if verb == "run" else []
    name = (f"--backbone.name=local-dir:{folder}", "--backbone.weights=imagenet")
    return [verb, SMOKE, place.data, *out, "--data.evaluate=[train]", *name]


def half(place: Place) -> Command:
    """Half precision, and a classifier that is not used: both are fine."""
    state = {name: value.half() for name, value in network().items() if value.is_floating_point()}
    whole = save({**network(), **state})
    return [*backbone(lambda: whole, "backbone.weights", place), "--until=classify"]


def with_more(place: Place) -> Command:
    """A tensor that no part of the network has: it is named, and not used."""
    extra = changed(more=torch.ones(2))
    return [*backbone(lambda: extra, "backbone.weights", place), "--until=classify"]


def trained(place: Place) -> None:
    assert (place.out / "01-classify" / "manifest.json").is_file()


def new_photo(place: Place) -> Path:
    return place.write("new/a.jpg", JPEG).parent


def model(place: Place) -> Path:
    """The model file of the finished run."""
    return RunFolder(place.finished).weights("segment")


def predicting(content: Callable[[Path], bytes], place: Place) -> Command:
    """``esol predict`` with this model file."""
    file = place.write("model.safetensors", content(model(place)))
    return ["predict", file, new_photo(place), place.out]


def described(changes: dict[str, Any], path: Path) -> bytes:
    """The model file with another description; None: without the key."""
    with safe_open(path, "pt") as stored:
        content = {**json.loads(stored.metadata()[KEY]), **changes}
        state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    text = json.dumps({key: value for key, value in content.items() if value is not None})
    return save(state, {KEY: text})


def raw(text: str, path: Path) -> bytes:
    return save({"x": torch.ones(1)}, {KEY: text})


def with_nan(path: Path) -> bytes:
    with safe_open(path, "pt") as stored:
        metadata = stored.metadata()
        state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    name = next(name for name in state if name.endswith("weight"))
    state[name][:] = float("inf")
    return save(state, metadata)


MODELS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a pickle": (lambda path: pickled(), "copy or make the file again"),
    "of zero bytes": (lambda path: b"", "copy or make the file again"),
    "cut off": (lambda path: path.read_bytes()[:-999], "copy or make the file again"),
    "a backbone's weights": (lambda path: save(network()), "stage segment writes"),
    "of a newer version": (partial(described, {"version": VERSION + 1}), "upgrade esol"),
    "of a version that is a text": (partial(described, {"version": "new"}), "copy or make"),
    "description no JSON": (partial(raw, "{"), "copy or make"),
    "description too deep": (partial(raw, "[" * 99_999), "copy or make"),
    "description a list": (partial(raw, "[]"), "copy or make"),
    "no classes": (partial(described, {"classes": None}), "classes is missing"),
    "classes no names": (partial(described, {"classes": [1, 2]}), "classes must be strings"),
    "a class more": (
        partial(described, {"classes": ["a", "b", "c"]}),
        "copy or make the file again",
    ),
    "network unknown": (partial(described, {"network": "Magic"}), "copy or make"),
    "encoder unknown": (partial(described, {"encoder": "magic"}), "copy or make"),
    "stride 0": (partial(described, {"network": "DeepLabV3", "stride": 0}), "copy or make"),
    "stride below 0": (partial(described, {"network": "DeepLabV2", "stride": -8}), "copy or make"),
    "another network": (partial(described, {"network": "Unet"}), "copy or make the file again"),
    "scale 0": (partial(described, {"scales": [0]}), "scales are"),
    "scale NaN": (partial(described, {"scales": [float("nan")]}), "scales are"),
    "size 0": (partial(described, {"size": 0}), "size or longest"),
    "mean a text": (partial(described, {"version": 2, "mean": "grey"}), "copy or make"),
    "mean of one number": (partial(described, {"version": 2, "mean": [0.5]}), "mean = "),
    "deviation 0": (partial(described, {"version": 2, "std": [0, 0, 0]}), "std = "),
    "mean a number": (partial(described, {"version": 2, "mean": 1}), "copy or make"),
    "size of 10^12": (partial(described, {"size": 10**12}), "size or longest"),
    "CRF unknown": (partial(described, {"crf": {"magic": 1}}), "copy or make"),
    "CRF out of range": (partial(described, {"crf": {"iterations": -1}}), "copy or make"),
    "weights infinite": (with_nan, "is not finite everywhere"),
}


def very_large(place: Place) -> Command:
    return ["predict", model(place), new_photo(place), place.out, "--longest", str(10**12)]


def export_of(place: Place) -> Command:
    file = place.write("model.safetensors", model(place).read_bytes()[:-999])
    return ["export", file, place.folder / "out.onnx", "--to", "onnx"]


def hub_with_files(place: Place) -> Command:
    place.write("hub/README.md", b"edited")
    return ["export", model(place), place.folder / "hub", "--to", "hub"]


def onnx(place: Place) -> Command:
    return ["predict", place.write("model.onnx", b"x"), new_photo(place), place.out]


KINDS = (
    *(
        Kind(f"backbone: {name}", partial(backbone, content, "backbone.weights"), ("mine.", fix))
        for name, (content, fix) in MAKES.items()
    ),
    Kind(
        "encoder: of another network",
        partial(backbone, MAKES["of another network"][0], "segment.weights"),
        ("mine.safetensors", "does not fit"),
    ),
    *(
        Kind(f"published: {name}", partial(published, "run", config, content), ("net", fix))
        for name, (config, content, fix) in PUBLISHED.items()
    ),
    *(
        Kind(
            f"published, checked: {name}",
            partial(published, "check", config, content),
            ("net", fix),
        )
        for name, (config, content, fix) in PUBLISHED.items()
        if "weights" not in name
    ),
    Kind("backbone: half precision", half, then=trained),
    Kind("backbone: a layer too many", with_more, then=trained),
    *(
        Kind(f"model: {name}", partial(predicting, content), ("model.safetensors", fix))
        for name, (content, fix) in MODELS.items()
    ),
    Kind("model: ONNX", onnx, ("model.onnx", "name the .safetensors file")),
    Kind("predict: --longest of 10^12", very_large, ("longest", "at most 65536")),
    Kind("export: hub folder with files", hub_with_files, ("hub", "give a new one")),
    Kind("export: model cut off", export_of, ("model.safetensors", "copy or make the file again")),
)
