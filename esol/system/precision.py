"""The precision in which networks compute: float32, or bfloat16 where a processor has it.

In bfloat16 are convolutions, matrix products and what passes between them. Weights, gradients and
optimiser, losses, statistics of norms, the positions of samplers, and what leaves a network stay
float32.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from esol.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Asked = Literal["auto", "no", "bf16", "fp16"]
"""The setting machine.precision."""

Precision = Literal["no", "bf16", "fp16"]
"""What it is on a device; no: float32."""

_NATIVE = ("avx512_bf16", "amx_bf16")


def computes_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; on others it is slower than float32."""
    import torch

    if hasattr(torch.cpu, "get_capabilities"):  # since torch 2.11
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in _NATIVE)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolved(asked: Asked, device: "torch.device") -> Precision:
    """What the setting is on a device.

    auto is bf16 on a processor that computes it natively, and float32 on others. On GPUs it is
    float32 too: what was measured on them is, and no measurement tells what bfloat16 would change.

    Raises:
        InputError: the device has no such precision.
    """
    import torch

    if asked == "auto":
        return "bf16" if device.type == "cpu" and computes_bfloat16() else "no"
    lacks = (
        device.type == "cpu"
        if asked == "fp16"
        else asked == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported()
    )
    if lacks:
        raise InputError(f"machine.precision = {asked!r}: not on this device; set auto")
    return asked


def slow(precision: Precision, device: "torch.device") -> str:
    """A warning where a processor has to emulate a precision; "" elsewhere."""
    if precision != "bf16" or device.type != "cpu" or computes_bfloat16():
        return ""
    return "bfloat16 is several times slower than float32 on this processor; auto takes the faster"


def half(device: "torch.device", precision: Asked) -> AbstractContextManager[object]:
    """Around the forward pass of a network: inside, it computes in bfloat16 if that is asked for.

    Not in fp16: that is of training alone, which scales its losses.
    """
    if resolved(precision, device) != "bf16":
        return nullcontext()
    import torch

    return torch.autocast(device.type, torch.bfloat16)


def whole(device: "torch.device") -> AbstractContextManager[object]:
    """Around what must stay float32 inside of :func:`half`; its inputs may need :func:`single`."""
    import torch

    return torch.autocast(device.type, enabled=False)


def single(x: "Tensor") -> "Tensor":
    """The same in float32 if it is of half precision."""
    return x.float() if x.is_floating_point() and x.element_size() == 2 else x
