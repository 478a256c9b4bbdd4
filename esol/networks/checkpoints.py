"""Files of weights, whoever made them: read without executing anything, and fitted to a network."""

import argparse
import functools
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from esol.errors import InputError, is_shortage, one_line
from esol.networks.weights import not_finite
from esol.system.progress import log

State = dict[str, Tensor]
"""Name -> tensor."""

_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool}


@dataclass(frozen=True)
class Wanted:
    """What a network needs of a file.

    Attributes:
        network: its name, for messages.
        key: the setting that names the file.
        tensors: its own, by name.
        spare: whether a name is of a part that is left out on purpose, the classifier.
        renamed: from the names of the network's maker to its own.
        converted: timm's conversion of other makers' names and of position embeddings.
    """

    network: str
    key: str
    tensors: Mapping[str, Tensor]
    spare: Callable[[str], bool]
    renamed: Callable[[str], str] = str
    converted: Callable[[State], State] | None = None

    def fitting(self, state: State) -> int:
        """How many tensors there are that can be the network's."""
        return len(self.part(state))

    def part(self, state: State) -> State:
        """Those tensors."""
        return {
            name: state[name]
            for name, own in self.tensors.items()
            if name in state and not _fault(own, state[name])
        }


def read_checkpoint(path: Path, wanted: Wanted) -> State:
    """The network's tensors from a .safetensors file, or from one of PyTorch (.pth, .pt, .bin).

    They may lie in groups ("state_dict", "teacher"), and their names may begin with anything
    ("module.backbone."): the group and the beginning count with which most tensors have the
    network's names. Tensors that it has no use for are counted in a line. What the file holds
    besides tensors is neither executed nor read.

    Raises:
        InputError: no such file, no file of weights, or it lacks a tensor or has another shape.
    """
    groups = list(_groups(_content(path, wanted.key)))
    if not groups:
        raise InputError(f"{wanted.key}: {path} holds no tensors with names; give other weights")
    choices = [(name, _bared(state, wanted)) for name, state in groups]
    name, state = max(choices, key=lambda choice: (wanted.fitting(choice[1]), _rank(choice[0])))
    notes = [f"its tensors under {name!r}"] if len(choices) > 1 and name else []
    start, others = _beginning(dict(groups)[name], wanted)
    if others:
        notes.append(f"its tensors under {start!r}, while those under {others[0]!r} fit as well")
    if wanted.fitting(state) < len(wanted.tensors):
        before, state = state, _converted(state, dict(groups)[name], wanted)
        if state is not before:
            notes.append("its names or position embeddings converted by timm")
    _check(path, state, wanted)
    unused = [key for key in state if key not in wanted.tensors and not wanted.spare(key)]
    if unused:
        are = "tensor is" if len(unused) == 1 else "tensors are"
        notes.append(f"{len(unused)} {are} not used, of no part of {wanted.network}: {unused[0]}")
    if notes:
        _say(f"{wanted.key}: {path}: {'; '.join(notes)}")
    return wanted.part(state)


def _fault(own: Tensor, there: Tensor) -> str:
    """What a file's tensor is that cannot be the network's; "" if it can."""
    # Quantised numbers mean nothing without their scale; complex ones would lose their half.
    if there.dtype not in (_FLOATS if own.is_floating_point() else _FLOATS | _WHOLE):
        return str(there.dtype)
    if there.is_nested or there.layout != torch.strided:
        return f"not dense ({there.layout})"
    if there.is_meta:
        return "without numbers (meta)"
    return "" if own.shape == there.shape else str(tuple(there.shape))


def _content(path: Path, key: str) -> Any:
    """What a file holds."""
    if not path.is_file():
        raise InputError(f"{key} = {path}: no such file; give a .safetensors or .pth file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        if not _of_pytorch(path):
            reason = one_line(error, lines=1, length=200)
            raise InputError(
                f"{key}: {path} is not a safetensors file, nor PyTorch's ({reason}); give the"
                " weights of a network"
            ) from error
    try:
        # Training scripts store their flags, which are plain values.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of another pickle protocol than PyTorch's
            return torch.load(path, "cpu", weights_only=True)
    except UnpicklingError as error:
        raise InputError(
            f"{key}: {path} holds more than tensors and plain values, which would be executed;"
            " where it was made, save its tensors alone: torch.save(network.state_dict(), FILE);"
            " or give other weights"
        ) from error
    except Exception as error:  # a damaged file may raise anything
        if is_shortage(error):
            raise
        reason = one_line(error, lines=1, length=200)
        raise InputError(f"{key}: {path} cannot be read ({reason}); give other weights") from error


def _of_pytorch(path: Path) -> bool:
    """Whether a file is like those of torch.save: a ZIP archive, or a pickle from its start."""
    try:
        with path.open("rb") as stream:
            return stream.read(1) == b"\x80" or zipfile.is_zipfile(stream)
    except OSError:
        return False


def _groups(content: Any) -> Iterator[tuple[str, State]]:
    """Named tensors that lie side by side, at any depth."""
    waiting, seen = [("", content)], set()
    while waiting:
        name, group = waiting.pop()
        if not isinstance(group, Mapping) or id(group) in seen:  # it may hold itself
            continue
        seen.add(id(group))
        pairs = {key: value for key, value in group.items() if isinstance(key, str)}
        if own := {key: value for key, value in pairs.items() if isinstance(value, Tensor)}:
            yield name, own
        inner = [(f"{name}.{key}" if name else key, value) for key, value in pairs.items()]
        waiting += reversed(inner)


def _rank(name: str) -> int:
    """Of groups or beginnings that fit alike: means over the steps before others, students last."""
    return 1 if "ema" in name or "teacher" in name else -1 if "student" in name else 0


def _beginning(state: State, wanted: Wanted) -> tuple[str, list[str]]:
    """What the names of most fitting tensors begin with, and those of as many other tensors."""
    starts = Counter(
        name[: len(name) - len(end)]
        for name in state
        for end in _ends(name)
        if wanted.renamed(end) in wanted.tensors
    )
    start = max(starts, key=lambda start: (starts[start], _rank(start), -len(start)), default="")
    alike = [other for other in starts if starts[other] == starts[start]]
    # One that begins with the other is of the same tensors.
    return start, [
        other for other in alike if not (other.startswith(start) or start.startswith(other))
    ]


def _bared(state: State, wanted: Wanted) -> State:
    """A state without what the names of most fitting tensors begin with."""
    start, _ = _beginning(state, wanted)
    hidden = {name: value for name, value in state.items() if name.startswith(start)}
    others = {name: value for name, value in state.items() if name not in hidden}
    return others | {wanted.renamed(name[len(start) :]): value for name, value in hidden.items()}


def _ends(name: str) -> Iterator[str]:
    """A name, and what is left of it after each dot."""
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _converted(bared: State, state: State, wanted: Wanted) -> State:
    """What timm makes of a state, if more of it fits then."""
    found = bared
    for start in (bared, state) if wanted.converted else ():
        # It was written for files of known makers, and may raise anything for others.
        with suppress(Exception):
            assert wanted.converted is not None
            found = max(found, wanted.converted(dict(start)), key=wanted.fitting)
    return found


def _check(path: Path, state: State, wanted: Wanted) -> None:
    """Refuse a file that lacks a tensor, or has one of another shape or with NaN."""
    needed = {k: v for k, v in wanted.tensors.items() if not k.endswith("num_batches_tracked")}
    found = wanted.part(state)
    fit = [name for name in needed if name in found]
    if len(fit) < len(needed):
        name = next(name for name in needed if name not in found)
        there = _fault(needed[name], state[name]) if name in state else "nothing"
        first = "" if fit else f", which begins with {next(iter(state))}"
        raise InputError(
            f"{wanted.key}: {path} does not fit {wanted.network}: {len(fit)} of {len(needed)}"
            f" tensors fit; the first that does not, {name}, is {tuple(needed[name].shape)} in the"
            f" network and {there} in the file{first}; give other weights, or name their network"
        )
    if (bad := not_finite({name: state[name] for name in needed})) is not None:
        raise InputError(
            f"{wanted.key}: {path}: {bad} is not finite everywhere; give other weights"
        )


@functools.cache
def _say(line: str) -> None:
    """Log a line once: a network is made several times in a run."""
    log.info("%s", line)
