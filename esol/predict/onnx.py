"""Export of trained segmentation networks: one model file, or prediction as ONNX with a check."""

import copy
import importlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from esol import __version__
from esol.data.images import palette
from esol.errors import InputError, one_line
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import LARGEST, save_bundle
from esol.predict.graph import NETWORK, OPSET, prediction_graph
from esol.predict.model import Model
from esol.system.files import atomic

OLDEST_TORCH = (2, 12)
"""2.9.0 fails: its exporter refuses DeepLab-v2, and its DeepLabV3 runs at one size only. 2.12.0 and
2.15.0 pass the check."""

TOLERANCE = 0.01
"""Largest allowed difference of a probability between ``Model.predict`` and ONNX Runtime. It is
1e-5 where Pillow and ONNX Runtime agree on every level of the resized photo. They differ by one
level in one of a thousand pixels or fewer."""

_CHECKED = ((0.6, 0.45), (0.9, 1.3))
"""Width and height of the check's photos, over the working image's longest side: one is enlarged,
the other made smaller."""

_INPUT = "photo: (H, W, 3) uint8, RGB, of any size; upright: with its EXIF orientation applied"
_OUTPUTS = (
    "mask: (H, W) uint8, 0 background, v classes[v - 1]",
    "scores: (K + 1, H, W) float32 probabilities, background first",
)
_LICENCE = (
    "The program that made this file, esol, is under Apache-2.0. For the weights, the terms of the"
    " training photos and of the initial weights hold."
)


def export_onnx(model: Model, path: Path | str) -> dict[str, Any]:
    """Write prediction as one ONNX file, and compare it with ``model.predict``, both in float32.

    Input "photo": (H, W, 3) uint8, RGB, upright, of any size. Outputs "mask": (H, W) uint8;
    "scores": (K + 1, H, W) float32 probabilities, background first. The graph resizes and
    normalises the photo, averages all scales of the test settings and the mirrored photo, and
    stretches the probabilities to the photo's size, as ``model.predict(photo, crf=False)`` does.
    Where memory is short, note that the scores take 4 (K + 1) bytes per pixel of the photo.

    The metadata are JSON strings: the model's description, among it "classes", the names without
    the background; "palette", the RGB colours of the mask values; "input", "outputs", "licence";
    and "not_contained", what ``model.predict`` does besides.

    Args:
        model: the network, which is not changed.
        path: the file to write or replace, usually NAME.onnx; written only if the check passes.

    Returns:
        ``opset``, ``bytes``, ``sizes`` (height and width of the check's photos),
        ``equal_pixels`` (the share of their pixels with the same label as by ``model.predict``),
        ``largest_difference`` of a probability, and ``not_contained``: a sentence each.

    Raises:
        InputError: PyTorch is too old, the packages for ONNX are missing, the network cannot be
            exported, or its export differs by more than ``TOLERANCE``; the file cannot be written.
    """
    onnx, runtime = _packages()
    failure = f"{model.description['network']} cannot be exported to ONNX"
    # A copy: the exporter may change the network, and the model may be on another device.
    whole = Model(copy.deepcopy(model.segmenter), model.description, tile=LARGEST)
    with atomic(Path(path)) as temporary:
        try:
            network = network_graph(whole)
        # The exporter raises almost any exception for what it cannot translate.
        except Exception as error:
            raise InputError(f"{failure} ({one_line(error, 1, 200)})") from error
        graph = composed(network, model)
        left_out = _not_contained(model)
        _describe(graph, model.description, left_out)
        onnx.checker.check_model(graph)
        onnx.save(graph, temporary)
        try:
            compared = _compared(runtime, whole, temporary)
        except Exception as error:
            reason = f"its graph does not run at other sizes ({one_line(error, 1, 200)})"
            raise InputError(f"{failure}: {reason}") from error
        if not compared["largest_difference"] <= TOLERANCE:
            difference = f"{compared['largest_difference']:.2g}"
            reason = f"its probabilities differ from PyTorch's by {difference}"
            raise InputError(f"{failure}: {reason}, more than {TOLERANCE:g}")
    return {
        "opset": OPSET,
        "bytes": Path(path).stat().st_size,
        **compared,
        "not_contained": left_out,
    }


def export_bundle(model: Model, path: Path | str) -> dict[str, Any]:
    """Write the network as one safetensors file for ``esol.load``; returns ``bytes``, ``classes``.

    Raises:
        InputError: the file cannot be written.
        ValueError: the model's network is not a ``Segmenter``.
    """
    if not isinstance(model.segmenter, Segmenter):
        raise ValueError(f"a Segmenter is needed: got {type(model.segmenter).__name__}")  # noqa: TRY004
    save_bundle(path, model.segmenter, model.description)
    return {"bytes": Path(path).stat().st_size, "classes": list(model.classes)}


def torch_is_too_old() -> bool:
    """Whether the installed PyTorch is older than ``OLDEST_TORCH``."""
    return tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH


def _packages() -> tuple[Any, Any]:
    if torch_is_too_old():
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise InputError(
            f"export to ONNX needs torch {oldest} or newer, this is {torch.__version__}:"
            " pip install --upgrade torch torchvision onnxscript"
        )
    try:
        importlib.import_module("onnxscript")
        return importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    except ImportError as error:
        raise InputError(
            f"export to ONNX needs {error.name}, which is not installed: pip install 'esol[onnx]'"
        ) from error


def network_graph(model: Model) -> Any:
    """The network alone as ONNX model: "image" (N, 3, h, w) -> "logits" (N, K + 1, h, w).

    One that sees squares of one size takes no other: paddings of networks named tf_ are otherwise
    formulas of h and w, each of that before it, and to simplify these takes many minutes.
    """
    axis = torch.export.Dim
    shape, scales = {0: axis("batch", min=1)}, model.description["scales"]
    if model.squash and len(scales) == 1:
        height = width = max(32, model.working_size((1, 1), scale=scales[0])[0])
    else:
        # Without common factors: the exporter cannot take two for the same by chance.
        height, width = 75, 101
        shape |= {2: axis("height", min=32), 3: axis("width", min=32)}
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model.network,
            (torch.rand(2, 3, height, width),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=(shape,),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def composed(network: Any, model: Model) -> Any:
    """The graph of prediction with the network's graph in the place of its function."""
    parts = ("helper", "inliner", "parser")
    helper, inliner, parser = (importlib.import_module(f"onnx.{part}") for part in parts)
    whole = parser.parse_model(prediction_graph(model.description, model.normalisation))
    # Each scale calls the network: the weights are arguments, so that they are stored once.
    weights = [weight.name for weight in network.graph.initializer]
    function = helper.make_function(
        "esol", NETWORK, ["image", *weights], ["logits"], network.graph.node, network.opset_import
    )
    for node in whole.graph.node:
        if node.op_type == NETWORK:
            node.input.extend(weights)
    whole.graph.initializer.extend(network.graph.initializer)
    whole.functions.extend([function, *network.functions])
    return inliner.inline_local_functions(whole)


def _not_contained(model: Model) -> list[str]:
    """What ``model.predict`` does besides the graph, a sentence each."""
    sentences = []
    if model.crf_settings(None):
        sentences.append(
            "the CRF, which this model's settings ask for, is not in the graph: its masks are those"
            " of esol predict --crf off"
        )
    side = round(max(model.description["scales"]) * model.longest())
    if side > model.tile:
        sentences.append(
            f"tiles are not in the graph: it computes photos whole, at {side} pixels, where esol"
            f" predict computes tiles of {model.tile} pixels"
        )
    return sentences


def _describe(graph: Any, description: dict[str, Any], left_out: list[str]) -> None:
    graph.producer_name, graph.producer_version = "esol", __version__
    graph.doc_string = f"Segmentation. {_INPUT}. {'. '.join(_OUTPUTS)}."
    colours = palette()[: len(description["classes"]) + 1].tolist()
    entries = {
        **description,
        "palette": colours,
        "input": _INPUT,
        "outputs": _OUTPUTS,
        "not_contained": left_out,
        "licence": _LICENCE,
    }
    for key, value in entries.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value, ensure_ascii=False)


def _compared(runtime: Any, model: Model, path: Path) -> dict[str, Any]:
    """The file's results on random photos, beside those of ``model``."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
    largest, pixels, equal, sizes = 0.0, 0, 0, []
    for width, height in _CHECKED:
        photo = _random_photo(*(round(share * model.longest()) for share in (width, height)))
        mask, scores = session.run(["mask", "scores"], {"photo": np.asarray(photo)})
        expected = model.predict(photo, crf=False)
        if scores.shape != expected.scores.shape:
            raise ValueError(f"scores {scores.shape} instead of {expected.scores.shape}")
        largest = max(largest, float(np.abs(scores - expected.scores).max()))
        pixels, equal = pixels + mask.size, equal + int((mask == expected.mask).sum())
        sizes.append(mask.shape)
    return {"sizes": sizes, "equal_pixels": equal / pixels, "largest_difference": largest}


def _random_photo(width: int, height: int) -> Image.Image:
    """Smooth patches of all colours."""
    cells = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter: deprecations of its parts, sizes that it specialised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for module in ("torch", "onnxscript", "onnx_ir", "onnx"):
                warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
