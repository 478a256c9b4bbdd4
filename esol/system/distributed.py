"""The processes of one run, as torchrun starts them: who does what, and what they tell each other.

Without torchrun there is one process: nothing here waits, and torch is not imported.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from esol.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long a process waits for the others: shares differ, and a dead process is noticed anyway."""


class GoneError(InputError):
    """Another process has stopped; it has said why, this one has nothing to add."""


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


def share(items: Sequence[T]) -> Sequence[T]:
    """This process's part of what all processes list alike: every n-th item.

    Items whose results depend on each other (photos of one batch) must be one item here.
    """
    return items[rank() :: processes()]


def gather(value: T) -> list[T]:
    """The value of every process, by rank; all processes must call it, and wait for each other.

    Raises:
        GoneError: another process has stopped.
    """
    if processes() == 1:
        return [value]
    found: list[Any] = [None] * processes()
    try:
        _connected().all_gather_object(found, value)
    except RuntimeError as error:
        raise GoneError("another process of this run has stopped") from error
    return found


def barrier() -> None:
    """Wait until every process is here: what each wrote before, all can read."""
    gather(None)


def in_order(results: Sequence[T]) -> list[T]:
    """Results of every process's ``share``, in the order of the shared items."""
    parts, n = gather(results), processes()
    return [parts[i % n][i // n] for i in range(sum(map(len, parts)))]


def from_main(function: Callable[[], T]) -> T:
    """Call a function in the main process alone; every process gets its result, or its InputError.

    As with ``barrier``, what was written before can be read after.
    """
    if processes() == 1:
        return function()
    told: tuple[Any, str | None] = (None, None)
    if main_process():
        try:
            told = (function(), None)
        except InputError as error:
            told = (None, str(error))
    result, refusal = gather(told)[0]
    if refusal is not None:
        raise InputError(refusal)
    value: T = result
    return value


def divisor(count: "Tensor") -> "Tensor":
    """What a loss divides its sum by to be a mean over the whole batch, of which a process has a
    part: then the mean over the processes, which data-parallel training takes of losses and
    gradients, is the whole batch's sum over the whole batch's count (of at least 1).

    All processes must call it.

    Args:
        count: scalar, of this process's part.
    """
    if processes() == 1:
        return count.clamp_min(1)
    total = count.detach().clone()
    _connected().all_reduce(total)
    return total.clamp_min(1) / processes()


def copy_from_main(tensors: Iterable["Tensor"]) -> None:
    """Overwrite tensors, in place, with the main process's."""
    if processes() > 1:
        for tensor in tensors:
            _connected().broadcast(tensor, 0)


def first(message: str) -> bool:
    """Whether no other process has said this before, so that a common error is told once."""
    if processes() == 1:
        return True
    try:
        return bool(_store().add(hashlib.sha256(message.encode()).hexdigest(), 1) == 1)
    except RuntimeError:
        return True


def end() -> None:
    """Take leave of the other processes."""
    if processes() > 1 and _connected.cache_info().currsize:
        barrier()
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
