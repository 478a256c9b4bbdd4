"""Tensors in safetensors files, which hold nothing that could be executed."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from esol.system.files import write_atomic


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors of any device, at once or not at all, and wait until they are on the disk.

    Raises:
        InputError: the file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # As bytes: safetensors' own writing tells of a full disk in a way of its own. Checkpoints are
    # removed once the weights are written, so these must outlive a power cut.
    write_atomic(path, save(state, metadata), sync=True)
