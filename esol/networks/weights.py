"""Weights that this program writes, in safetensors files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from esol.errors import InputError, is_shortage, one_line
from esol.system.files import write_atomic


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with NaN or infinity, None if there is none."""
    return next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)


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


def load_weights(
    module: nn.Module,
    path: Path,
    fitted: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> None:
    """Load what ``save_weights`` wrote.

    Args:
        module: whose weights are loaded.
        path: their file.
        fitted: makes the module's tensors of the file's, by name.

    Raises:
        InputError: the file is missing, damaged or of another network.
    """
    with _loaded(path):
        module.load_state_dict(fitted(load_file(path)))


def load_tensors(path: Path, *names: str) -> tuple[Tensor, ...]:
    """Some tensors of what ``save_tensors`` wrote, on the CPU.

    Raises:
        InputError: the file is missing or damaged, or has no such tensor.
    """
    with _loaded(path), safe_open(path, framework="pt") as file:
        return tuple(file.get_tensor(name) for name in names)


@contextmanager
def _loaded(path: Path) -> Iterator[None]:
    """Around the reading of a file of a stage: says what to do where it fails."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if is_shortage(error):
            raise
        reason = one_line(error, lines=1)
        raise InputError(f"{path} cannot be loaded ({reason}); run its stage again") from error
