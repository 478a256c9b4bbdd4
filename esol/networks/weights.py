"""Weights in safetensors files, which hold nothing that could be executed."""

import functools
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from esol.errors import InputError, is_shortage, one_line
from esol.system.files import sha256, write_atomic

_CONVERT = (
    " but PyTorch's; convert it in Python: import torch, safetensors.torch;"
    " state = torch.load({0!r}, 'cpu', weights_only=True);"
    " state = state.get('state_dict', state.get('model', state));"
    " safetensors.torch.save_file({{k.removeprefix('module.'): v.contiguous().clone()"
    " for k, v in state.items()}}, {1!r})"
)
_RENAME = (
    "; all its names begin with {2!r}: take it off in Python: import safetensors.torch;"
    " state = safetensors.torch.load_file({0!r});"
    " safetensors.torch.save_file({{k.removeprefix({2!r}): v for k, v in state.items()}}, {1!r})"
)


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """Tensors of a .safetensors file by name.

    Raises:
        InputError: no such file, or not a safetensors file; the message names the setting ``key``.
    """
    if not path.is_file():
        raise InputError(f"{key} = {path}: no such file; give a .safetensors file")
    try:
        state: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        reason = f" ({one_line(error, lines=1, length=200)})"
        advice = _program(_CONVERT, path, "converted") if _of_pytorch(path) else reason
        raise InputError(f"{key}: {path} is not a safetensors file{advice}") from error
    if (name := not_finite(state)) is not None:
        raise InputError(f"{key}: {path}: {name} is not finite everywhere; give other weights")
    return state


def _of_pytorch(path: Path) -> bool:
    """Whether a file is like those of torch.save: a ZIP archive, or a pickle from its start."""
    try:
        with path.open("rb") as stream:
            return stream.read(1) == b"\x80" or zipfile.is_zipfile(stream)
    except OSError:
        return False


def _program(text: str, path: Path, ending: str, prefix: str = "") -> str:
    """A program of _CONVERT or _RENAME, which writes a second file beside the given one."""
    other = path.with_name(f"{path.stem}-{ending}.safetensors")
    return text.format(str(path), str(other), prefix)


def prefix_advice(path: Path, names: Collection[str], fits: Callable[[str], object]) -> str:
    """How to take off what all names in a file begin with, as those of ``DataParallel``.

    Args:
        path: the file.
        names: its names.
        fits: whether a name is one of the network's.

    Returns:
        The end of a message; "" if the names do not begin alike, or none fits without it.
    """
    prefix = f"{next(iter(names), '').partition('.')[0]}."
    alike = all(name.startswith(prefix) for name in names)
    if not alike or not any(fits(name.removeprefix(prefix)) for name in names):
        return ""
    return _program(_RENAME, path, "renamed", prefix)


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with NaN or infinity, None if there is none."""
    return next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)


def weights_digest(weights: str, key: str = "backbone.weights") -> str:
    """SHA-256 of the weights file; imagenet and none as they are.

    Raises:
        InputError: no such file; the message names the setting ``key``.
    """
    if weights in ("imagenet", "none"):
        return weights
    path = Path(weights)
    if not path.is_file():
        fault = "no such file; give a .safetensors file, imagenet or none"
        raise InputError(f"{key} = {weights}: {fault}")
    stat = path.stat()
    return _digest(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.cache
def _digest(path: Path, size: int, changed: int) -> str:
    """Every stage needs it: computed once while size and time of change stay."""
    return sha256(path)


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors of any device atomically, and wait until they are on the disk.

    Raises:
        InputError: the file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # As bytes: safetensors' own writing reports a full disk differently. Checkpoints are removed
    # once the weights are written, so these must survive a power cut.
    write_atomic(path, save(state, metadata), sync=True)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers with :func:`save_tensors`."""
    save_tensors(path, module.state_dict())


def load_weights(module: nn.Module, path: Path) -> None:
    """Load what ``save_weights`` wrote.

    Raises:
        InputError: the file is missing, damaged or of another network.
    """
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        if is_shortage(error):
            raise
        reason = one_line(error, lines=1)
        raise InputError(f"{path} cannot be loaded ({reason}); run its stage again") from error
