"""Export of trained segmentation networks: one model file, or ONNX with a check."""

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
from torch import Tensor, nn

from esol.data.transforms import Normalisation
from esol.errors import InputError, one_line
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import save_bundle
from esol.predict.model import Model
from esol.system.files import atomic

OPSET = 20
"""Operator set of the exported graph; ONNX Runtime reads it since 1.17."""

OLDEST_TORCH = (2, 12)
"""2.9.0 fails: its exporter refuses DeepLab-v2, and its DeepLabV3 runs at one size only. 2.12.0 and
2.15.0 pass the check."""

TOLERANCE = 1e-4
"""Largest allowed difference of a probability between PyTorch and ONNX Runtime."""

_CHECKS = ((1, 96, 160), (3, 75, 101))
"""Batch, height and width of the check's inputs: the second needs padding inside."""


class _Graph(nn.Module):
    """From 8-bit levels to probabilities: includes normalisation and softmax."""

    def __init__(self, segmenter: nn.Module, normalisation: Normalisation) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.mean = nn.Buffer(255 * torch.tensor(normalisation.mean).view(1, 3, 1, 1))
        self.deviation = nn.Buffer(255 * torch.tensor(normalisation.std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.segmenter((image - self.mean) / self.deviation).softmax(1)


def export_onnx(model: Model, path: Path | str) -> dict[str, Any]:
    """Write the network as one ONNX file and compare it with PyTorch.

    Input "image": (N, 3, H, W) float32, RGB, 0 .. 255, N at least 1, H and W at least 32; the graph
    normalises it. Output "probabilities": (N, K + 1, H, W) float32, background first. Not in the
    graph: resizing to the working size (metadata "resize", "size", "longest"), the mirrored photo,
    further scales, the CRF. The metadata holds the model's description as JSON strings, among it
    "classes", the names without the background.

    Args:
        model: the network, which is not changed.
        path: the file to write or replace, usually NAME.onnx; written only if the check passes.

    Returns:
        ``opset``, ``bytes``, ``sizes`` (the checked input shapes) and ``largest_difference`` of a
        probability from PyTorch's.

    Raises:
        InputError: PyTorch is too old, the packages for ONNX are missing, the network cannot be
            exported, or its export differs by more than ``TOLERANCE``; the file cannot be written.
    """
    onnx, runtime = _packages()
    # A copy: the exporter may change the network, and the model may be on another device.
    network = _Graph(copy.deepcopy(model.segmenter), model.normalisation).cpu().eval()
    failure = f"{model.description['network']} cannot be exported to ONNX"
    with atomic(Path(path)) as temporary:
        try:
            with _quiet(), torch.no_grad():
                _write(network, temporary)
        # The exporter raises almost any exception for what it cannot translate.
        except Exception as error:
            raise InputError(f"{failure} ({one_line(error, 1, 200)})") from error
        graph = onnx.load(temporary)
        for key, value in model.description.items():
            entry = graph.metadata_props.add()
            entry.key, entry.value = key, json.dumps(value, ensure_ascii=False)
        onnx.checker.check_model(graph)
        onnx.save(graph, temporary)
        try:
            difference = _difference(runtime, network, temporary)
        except Exception as error:
            reason = f"its graph does not run at other sizes ({one_line(error, 1, 200)})"
            raise InputError(f"{failure}: {reason}") from error
        if not difference <= TOLERANCE:
            reason = f"its probabilities differ from PyTorch's by {difference:.2g}"
            raise InputError(f"{failure}: {reason}, more than {TOLERANCE:g}")
    return {
        "opset": graph.opset_import[0].version,
        "bytes": Path(path).stat().st_size,
        "sizes": [(count, 3, height, width) for count, height, width in _CHECKS],
        "largest_difference": difference,
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


def _write(network: nn.Module, path: Path) -> None:
    axis = torch.export.Dim
    shape = {0: axis("batch", min=1), 2: axis("height", min=32), 3: axis("width", min=32)}
    torch.onnx.export(
        network,
        # Sizes without common factors: the exporter cannot take two for the same by chance.
        (torch.rand(2, 3, 75, 101) * 255,),
        path,
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_shapes=(shape,),
        verbose=False,
    )


def _difference(runtime: Any, network: nn.Module, path: Path) -> float:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
    largest = 0.0
    rng = np.random.default_rng(0)
    for count, height, width in _CHECKS:
        image = rng.uniform(0, 255, (count, 3, height, width)).astype(np.float32)
        (output,) = session.run(None, {"image": image})
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        if output.shape != expected.shape:
            raise ValueError(f"output {output.shape} instead of {expected.shape}")
        largest = max(largest, float(np.abs(output - expected).max()))
    return largest


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
