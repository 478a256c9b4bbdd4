"""The processes of one run, as torchrun starts them.

Functions called all_... are collectives: every process must call them alike, and waits for the
others. Without torchrun there is one process, nothing waits, and torch is not imported.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from esol.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long a process waits for the others: shares differ, and a dead process is noticed anyway."""


class GoneError(InputError):
    """Another process has stopped, and has printed why."""


def processes() -> int:
    """How many processes work on the run, on all machines together."""
    return int(os.environ["WORLD_SIZE"]) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Number of this process, from 0 on."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def local_rank() -> int:
    """Number of this process on its machine, from 0 on: that of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if processes() > 1 else 0


def main_process() -> bool:
    """Whether this is the process that writes manifests, reports and logs."""
    return rank() == 0


def my_share(items: Sequence[T]) -> Sequence[T]:
    """This process's part of what all processes list alike: every n-th item.

    Items whose results depend on each other (photos of one batch) must be one item here.
    """
    return items[rank() :: processes()]


def all_gather(value: T) -> list[T]:
    """The value of every process, by rank; all processes must call it, and wait for each other.

    Raises:
        GoneError: another process has stopped.
    """
    if processes() == 1:
        return [value]
    values: list[Any] = [None] * processes()
    try:
        _connected().all_gather_object(values, value)
    except RuntimeError as error:
        raise GoneError("another process of this run has stopped") from error
    return values


def all_wait() -> None:
    """Wait until every process is here: what each wrote before, all can read."""
    all_gather(None)


def all_in_order(results: Sequence[T]) -> list[T]:
    """Results of every process's ``my_share``, in the order of the shared items."""
    parts, n = all_gather(results), processes()
    return [parts[i % n][i // n] for i in range(sum(map(len, parts)))]


def all_from_main(function: Callable[[], T]) -> T:
    """Call a function in the main process alone; every process gets its result, or its InputError.

    As with ``all_wait``, what was written before can be read after.
    """
    if processes() == 1:
        return function()
    answer: tuple[Any, str | None] = (None, None)
    if main_process():
        try:
            answer = (function(), None)
        except InputError as error:
            answer = (None, str(error))
    result, refusal = all_gather(answer)[0]
    if refusal is not None:
        raise InputError(refusal)
    return result


def all_sum(values: "Tensor") -> "Tensor":
    """Elementwise sum over the processes, of tensors of one shape."""
    if processes() == 1:
        return values
    total = values.detach().clone()
    _connected().all_reduce(total)
    return total


def all_copy_from_main(tensors: Iterable["Tensor"]) -> None:
    """Overwrite tensors, in place, with the main process's."""
    if processes() > 1:
        for tensor in tensors:
            _connected().broadcast(tensor, 0)


def is_first_to_report(message: str) -> bool:
    """Whether no other process has reported this, so that a common error is printed once."""
    if processes() == 1:
        return True
    try:
        return bool(_store().add(hashlib.sha256(message.encode()).hexdigest(), 1) == 1)
    except RuntimeError:
        return True


def leave_group() -> None:
    """Leave the process group."""
    if processes() > 1 and _connected.cache_info().currsize:
        all_wait()
        _connected().destroy_process_group()


@cache
def _store() -> Any:
    """What all processes can write to, without waiting for each other."""
    from torch.distributed.rendezvous import rendezvous

    return next(iter(rendezvous("env://", timeout=_PATIENCE)))[0]


@cache
def _connected() -> Any:
    """torch.distributed, once all processes have found each other."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        # Objects always go through gloo, which notices at once that a process has gone.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend,
            store=_store(),
            rank=rank(),
            world_size=processes(),
            timeout=_PATIENCE,
        )
    return dist


def device_of(name: str) -> "torch.device":
    """The device on which this process computes.

    Args:
        name: the setting machine.device: auto, cpu or cuda.

    Raises:
        InputError: cuda was asked for and there is none, or fewer than processes on this machine.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("machine.device = 'cuda': no such device here; use auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if processes() == 1:
        return torch.device("cuda")
    if local_rank() >= torch.cuda.device_count():
        raise InputError(
            f"more processes than GPUs ({torch.cuda.device_count()}) on a machine; start it with"
            f" --nproc-per-node {torch.cuda.device_count()}, or set machine.device to cpu"
        )
    return torch.device("cuda", local_rank())
