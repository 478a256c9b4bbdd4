"""One file per trained segmentation network: weights, and all that prediction needs to know."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from esol.errors import InputError, one_line
from esol.networks.segmenter import Segmenter
from esol.networks.weights import not_finite, save_tensors
from esol.settings import AUTO_STRIDE, Crf, Segment
from esol.settings.checks import check_ranges
from esol.system.files import plain

BUNDLE = "model.safetensors"
"""The file's name in a run folder, in that of the stage segment."""

KEY = "esol-segmenter"
"""The one entry of the file's metadata. One, because safetensors writes several in random order,
and equal models should be equal files."""

VERSION = 1
"""Raised when an older program could no longer read the file rightly."""

LARGEST = 2**16
"""Longest side at which photos may be looked at, pixels."""

_NETWORK = ("network", "encoder", "stride", "norm")
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


def save_bundle(path: Path | str, segmenter: Segmenter, description: dict[str, Any]) -> None:
    """Write a network as one safetensors file, at once or not at all.

    Args:
        path: the file to write or replace, by custom NAME.safetensors.
        segmenter: the network; only its parameters and buffers are stored, as CPU tensors.
        description: what JSON can hold. Needed are ``classes`` (names without the background, in
            the order of the labels 1 .. K) and the test settings ``resize`` ("crop" or "squash"),
            ``size``, ``longest``, ``scales``, ``flip`` and ``crf`` (the fields of
            ``esol.settings.masks.Crf``). Anything else is kept as it is: initial weights, numbers,
            where the network comes from. network, encoder, stride and norm are always taken from
            the segmenter.

    Raises:
        ValueError: the description lacks something or does not go with the network.
        InputError: the file cannot be written.
    """
    content = _content(segmenter, description)
    if fault := _fault(content):
        raise ValueError(f"description: {fault}")
    if len(content["classes"]) + 1 != segmenter.labels:
        raise ValueError(f"{len(content['classes'])} classes for {segmenter.labels} labels")
    metadata = {KEY: json.dumps({"version": VERSION, **content}, ensure_ascii=False)}
    save_tensors(Path(path), segmenter.state_dict(), metadata)


def redescribe(path: Path | str, description: dict[str, Any]) -> None:
    """Give a model file another description, unless it has it already; its weights stay.

    Args:
        path: what :func:`save_bundle` wrote.
        description: as for :func:`save_bundle`.

    Raises:
        ValueError: the description lacks something or does not go with the network.
        InputError: the file cannot be read or written.
    """
    segmenter, there = load_bundle(path)
    if there != _content(segmenter, description):
        save_bundle(path, segmenter, description)


def load_bundle(path: Path | str) -> tuple[Segmenter, dict[str, Any]]:
    """Read what :func:`save_bundle` wrote. Nothing in the file is executed or downloaded.

    Returns:
        The network on the CPU in evaluation mode, no parameter learning, and its description.

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
            metadata: dict[str, str] = stored.metadata() or {}
            if KEY not in metadata:
                raise InputError(
                    f"{path}: no segmentation model of esol; name the model.safetensors that the"
                    " stage segment writes"
                )
            state: dict[str, Tensor] = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: damaged, or not a model file ({one_line(error)}); copy or make it again"
        ) from error
    description = _described(path, metadata[KEY])
    if (name := not_finite(state)) is not None:
        raise InputError(f"{path}: {name} is not finite everywhere; copy or make the file again")
    try:
        segmenter = Segmenter(_network_settings(description), len(description["classes"]) + 1)
    except InputError as error:
        raise InputError(f"{path}: {error}; copy or make the file again") from error
    try:
        segmenter.load_state_dict(state)
    except RuntimeError as error:
        reason = one_line(error, length=200)
        raise InputError(
            f"{path}: its weights are not those of its network ({reason}); make it again"
        ) from error
    return segmenter.requires_grad_(False).eval(), description


def _network_settings(description: dict[str, Any]) -> Segment:
    stride = description["stride"]
    return Segment(
        network=description["network"],
        encoder=description["encoder"],
        weights="none",
        # Files say so, too, where the stride cannot be chosen.
        stride="auto" if stride == AUTO_STRIDE else stride,
        norm=description["norm"],
    )


def _content(segmenter: Segmenter, description: dict[str, Any]) -> dict[str, Any]:
    """The description as it is stored."""
    return {**plain(description), **{key: getattr(segmenter, key) for key in _NETWORK}}


def _described(path: Path, text: str) -> dict[str, Any]:
    """The description without its version, checked."""
    try:
        description = json.loads(text)
        version = description.pop("version")
        fault = _fault(description) if version == VERSION else f"version {version!r}"
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged description ({error}); copy or make the file again"
        ) from error
    if isinstance(version, int) and version > VERSION:
        raise InputError(
            f"{path}: written by a newer esol (file version {version}, this one reads up to"
            f" {VERSION}); upgrade esol"
        )
    if fault:
        raise InputError(f"{path}: damaged description ({fault}); copy or make the file again")
    return description


def _fault(description: dict[str, Any]) -> str | None:
    for key, kind in _REQUIRED.items():
        if not isinstance(description.get(key), kind):
            return f"{key} is missing or no {kind.__name__}"
    if not all(isinstance(name, str) for name in description["classes"]):
        return "classes are no names"
    if description["resize"] not in ("crop", "squash"):
        return f"resize is {description['resize']!r}"
    scales = description["scales"]
    if not scales or not all(isinstance(s, int | float) and 0 < s <= 4 for s in scales):
        return f"scales are {scales}"
    if not all(32 <= description[key] <= LARGEST for key in ("size", "longest")):
        return f"size or longest not in 32 .. {LARGEST}"
    try:
        check_ranges(Crf(**description["crf"]), "crf.")
    except (TypeError, InputError) as error:
        return one_line(error)
    return None
