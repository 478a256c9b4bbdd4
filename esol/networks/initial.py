"""Initial weights as settings name them, without loading them."""

from pathlib import Path

from esol.errors import InputError
from esol.system.files import sha256_once

WEIGHTS = "model.safetensors"
"""File of a network's weights on the Hub."""

OLD_WEIGHTS = "pytorch_model.bin"
"""Of older networks there."""

NAMED = ("imagenet", "none")
"""Initial weights that are no file."""


def weights_digest(weights: str, key: str = "backbone.weights") -> str:
    """SHA-256 of the weights file; imagenet and none as they are.

    Raises:
        InputError: no such file; the message names the setting ``key``.
    """
    if weights in NAMED:
        return weights
    path = Path(weights)
    if not path.is_file():
        fault = "no such file; give a .safetensors or .pth file, imagenet or none"
        raise InputError(f"{key} = {weights}: {fault}")
    return sha256_once(path)  # every stage needs it
