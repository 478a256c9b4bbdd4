"""One file per trained segmentation network: weights and everything that prediction needs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from esol.data.normalisation import IMAGENET
from esol.errors import InputError, is_shortage, one_line
from esol.networks.backbone import Backbone
from esol.networks.segmenter import Segmenter
from esol.networks.weights import not_finite, save_tensors
from esol.settings import AUTO_STRIDE, HEAD, BackboneSettings, Crf, Segment
from esol.settings.checks import check_ranges
from esol.settings.inputs import STRIDES
from esol.system.files import plain

KEY = "esol-segmenter"
"""The only entry of the file's metadata: safetensors writes several in random order, and equal
models should give equal files."""

VERSION = 4
"""Raised when older programs can no longer read the file correctly: 2 has ``mean`` and ``std`` of a
network whose photos are not normalised by ImageNet's, 3 is a head on a ``backbone``. 1 has neither.
4 names the weights as the network's own library does. The lowest that says all is written."""

_BODY = "body."
"""Begins the names of all weights of a ``Segmenter``."""

LARGEST = 2**16
"""Upper limit of the longest side at scale 1, pixels."""

_NETWORK = ("network", "encoder", "stride", "norm")
_OF_HEAD = ("power", "final_norm")
_REQUIRED = {
    "classes": list,
    "network": str,
    "encoder": str,
    "stride": int,
    "norm": str,
    "resize": str,
    "size": int,
    "longest": int,
    "scales": list,
    "flip": bool,
    "crf": dict,
}


def save_bundle(
    path: Path | str,
    segmenter: Segmenter,
    description: dict[str, Any],
    *,
    plain_names: bool = False,
) -> None:
    """Write a network as one safetensors file, atomically.

    Args:
        path: the file to write or replace, usually NAME.safetensors.
        segmenter: the network; only its parameters and buffers are stored, as CPU tensors.
        description: JSON values. Required are ``classes`` (names without the background, in the
            order of the labels 1 .. K) and the test settings ``resize`` ("crop" or "squash"),
            ``size``, ``longest``, ``scales``, ``flip`` and ``crf`` (the fields of
            ``esol.settings.masks.Crf``). Other keys are stored unchanged (initial weights,
            provenance). network, encoder, stride and norm are always taken from the segmenter,
            the ``backbone`` of a head, and mean and std, which are left out where they are
            ImageNet's.
        plain_names: name the weights as ``segmenter.body`` does, for programs that load that.

    Raises:
        ValueError: the description lacks something or does not fit the network.
        InputError: the file cannot be written.
    """
    content = stored_content(segmenter, description)
    if fault := _fault(content):
        raise ValueError(f"description: {fault}")
    if len(content["classes"]) + 1 != segmenter.labels:
        raise ValueError(f"{len(content['classes'])} classes for {segmenter.labels} labels")
    version = 3 if "backbone" in content else 2 if "mean" in content else 1
    state = segmenter.state_dict()
    if plain_names:
        version, state = VERSION, segmenter.body.state_dict()
    metadata = {KEY: json.dumps({"version": version, **content}, ensure_ascii=False)}
    save_tensors(Path(path), state, metadata)


def redescribe(path: Path | str, description: dict[str, Any]) -> None:
    """Replace a model file's description if it differs; errors as of reading and saving it."""
    segmenter, stored = load_bundle(path)
    if stored != stored_content(segmenter, description):
        save_bundle(path, segmenter, description)


def load_bundle(path: Path | str) -> tuple[Segmenter, dict[str, Any]]:
    """Read what :func:`save_bundle` wrote. Nothing in the file is executed or downloaded.

    Returns:
        The network on the CPU in evaluation mode, all parameters frozen, and its description.

    Raises:
        InputError: the file is missing, damaged, something else, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; name a run folder, or a model file")
    if path.suffix.lower() == ".onnx":
        raise InputError(f"{path}: an ONNX file is for other programs; name the .safetensors file")
    try:
        with safe_open(path, framework="pt") as stored:
            text = (stored.metadata() or {}).get(KEY)
            if text is None:
                raise InputError(
                    f"{path}: not a segmentation model of esol; name the model.safetensors that the"
                    " stage segment writes"
                )
            state: dict[str, Tensor] = {
                _BODY + key.removeprefix(_BODY): stored.get_tensor(key)
                for key in stored.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError) as error:
        raise _damaged(path, f"damaged, or not a model file ({one_line(error)})") from error
    description = _parsed(path, text)
    if (name := not_finite(state)) is not None:
        raise _damaged(path, f"{name} is not finite everywhere")
    try:
        settings, labels = _network_settings(description), len(description["classes"]) + 1
        segmenter = Segmenter(settings, labels, _backbone(settings, description))
    except InputError as error:
        raise _damaged(path, str(error)) from error
    try:
        segmenter.load_state_dict(state)
    except RuntimeError as error:
        if is_shortage(error):
            raise
        reason = one_line(error, length=200)
        raise _damaged(path, f"its weights do not fit its network ({reason})") from error
    return segmenter.requires_grad_(False).eval(), description


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; copy or make the file again")


def _network_settings(description: dict[str, Any]) -> Segment:
    stride = description["stride"]
    normalisation: dict[str, Any] = {
        key: tuple(description[key]) for key in ("mean", "std") if key in description
    }
    return Segment(
        network=description["network"],
        encoder=description["encoder"],
        weights="none",
        # Files store it even where the stride cannot be chosen.
        stride="auto" if stride == AUTO_STRIDE else stride,
        norm=description["norm"],
        **normalisation,
    )


def _backbone(settings: Segment, description: dict[str, Any]) -> Backbone | None:
    """The backbone under a head, without its weights."""
    if settings.network != HEAD:
        return None
    side = description["size"] if description["resize"] == "squash" else 0
    return Backbone.fixed(_under_head(settings, description), side)


def _under_head(settings: Segment, description: dict[str, Any]) -> BackboneSettings:
    """Settings of the backbone under a head.

    Raises:
        KeyError, TypeError: the description lacks some.
        InputError: its name would have to be looked up elsewhere.
    """
    stride, name = description["stride"], settings.encoder
    if ":" in name:  # a stranger's model file must not name what is then read
        raise InputError(f"encoder is {name}")
    return BackboneSettings(
        name=name,
        weights="none",
        stride=stride if stride in STRIDES else "auto",  # of a transformer it is the patch's side
        mean=settings.mean,
        std=settings.std,
        **{key: description["backbone"][key] for key in _OF_HEAD},
    )


def stored_content(segmenter: Segmenter, description: dict[str, Any]) -> dict[str, Any]:
    """The description as a model file has it, of JSON's own types."""
    content = {**plain(description), **{key: getattr(segmenter, key) for key in _NETWORK}}
    if segmenter.network == HEAD:
        content["backbone"] = {key: getattr(segmenter.body.encoder, key) for key in _OF_HEAD}
    used = segmenter.normalisation
    return content if used == IMAGENET else {**content, **plain(asdict(used))}


def _parsed(path: Path, text: str) -> dict[str, Any]:
    """The description without its version, checked."""
    try:
        description = json.loads(text)
        version = description.pop("version")
        fault = _fault(description) if version in range(1, VERSION + 1) else f"version {version!r}"
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _damaged(path, f"damaged description ({error})") from error
    if isinstance(version, int) and version > VERSION:
        raise InputError(
            f"{path}: written by a newer esol (file version {version}, this one reads up to"
            f" {VERSION}); upgrade esol"
        )
    if fault:
        raise _damaged(path, f"damaged description ({fault})")
    return description


def _fault(description: dict[str, Any]) -> str | None:
    for key, kind in _REQUIRED.items():
        if not isinstance(description.get(key), kind):
            return f"{key} is missing or not of type {kind.__name__}"
    if not all(isinstance(name, str) for name in description["classes"]):
        return "classes must be strings"
    if description["resize"] not in ("crop", "squash"):
        return f"resize is {description['resize']!r}"
    scales = description["scales"]
    if not scales or not all(isinstance(s, int | float) and 0 < s <= 4 for s in scales):
        return f"scales are {scales}"
    if not all(32 <= description[key] <= LARGEST for key in ("size", "longest")):
        return f"size or longest not in 32 .. {LARGEST}"
    try:
        settings = _network_settings(description)
        check_ranges(settings)
        if settings.network == HEAD:
            check_ranges(_under_head(settings, description), "backbone.")
        check_ranges(Crf(**description["crf"]), "crf.")
    except (TypeError, KeyError, InputError) as error:
        return one_line(error)
    return None
