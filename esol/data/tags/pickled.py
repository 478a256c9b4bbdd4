"""A dictionary of vectors in a .npy file, which is a pickle: read without unpickling.

A pickle is a program. Here it is followed step by step as far as dictionaries of arrays go, with
stand-ins for what it would call; its bytes become numbers afterwards.
"""

import io
import pickletools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.errors import InputError
from esol.system.read import readable

_MOST_BYTES = 1 << 28
"""Larger files are refused: COCO's 123,287 photos with 80 numbers of 8 bytes take 100 MB."""

_IGNORED = frozenset(("PROTO", "FRAME"))
_VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
"""Steps that put their argument on the stack: numbers, texts and bytes."""

_NEW: dict[str, Callable[[], object]] = {
    **{"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False},
    **{"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict},
}
_PUT, _GET = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
_LATEST = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "SETITEM": 2}
"""Steps that take so many of the latest values."""

_SINCE_MARK = ("TUPLE", "LIST", "DICT", "APPENDS", "SETITEMS", "POP_MARK")
"""Steps that take the values since the latest mark."""


class _Type:
    """Stand-in for numpy.dtype: its text, such as "f4", and its byte order."""

    def __init__(self, text: str, *_: object) -> None:
        self.text, self.order = text, "<"

    def build(self, state: Sequence[Any]) -> None:
        self.order = state[1]

    def values(self, content: bytes | str) -> NDArray[Any]:
        """The numbers or texts in bytes, which are not copied."""
        text = self.text.lstrip("<>|=")
        if not re.fullmatch(r"[biuf][1248]|U\d{1,4}", text):
            raise ValueError(f"values of type {self.text!r}")
        order = ">" if ">" in (self.order, self.text[:1]) else "<"
        raw = content.encode("latin1") if isinstance(content, str) else content
        return np.frombuffer(raw, f"{order}{text}")


class _Array:
    """Stand-in for numpy.ndarray, and for the function that makes an empty one."""

    def __init__(self, *_: object) -> None:
        self.state: Sequence[Any] = ()

    def build(self, state: Sequence[Any]) -> None:
        _, *self.state, _, self.content = state

    def values(self) -> NDArray[Any]:
        """The numbers of a vector."""
        (size,), kind = self.state
        values: NDArray[Any] = kind.values(self.content)
        if values.shape != (size,):
            raise ValueError(f"a vector of {size} with {len(values)} numbers")
        return values


class _Buffer(_Array):
    """Stand-in for NumPy's function that makes an array of bytes (protocol 5 of pickles)."""

    def __init__(self, content: bytes, kind: _Type, shape: tuple[int, ...], *_: object) -> None:
        self.state, self.content = (shape, kind), content


def _scalar(kind: _Type, content: bytes | str) -> object:
    """Stand-in for NumPy's function that makes one number or text."""
    (value,) = kind.values(content).tolist()
    return value


def _encoded(text: str, coding: str) -> bytes:
    """Stand-in for codecs.encode, by which old pickles write bytes."""
    if coding != "latin1":
        raise ValueError(f"bytes in {coding!r}")
    return text.encode("latin1")


_STAND_INS: dict[str, Callable[..., object]] = {
    "numpy ndarray": _Array,
    "numpy dtype": _Type,
    "_codecs encode": _encoded,
    **{
        f"numpy.{core}.{name}": made
        for core in ("core", "_core")
        for name, made in (
            ("multiarray _reconstruct", _Array),
            ("multiarray scalar", _scalar),
            ("numeric _frombuffer", _Buffer),
        )
    },
}
"""Module and name of what may be called -> what is called instead."""


def holds_object(path: Path) -> bool:
    """Whether a .npy file holds one pickled object, by its head."""
    try:
        with readable(path), path.open("rb") as file:
            return _head(file) == ((), True)
    except (InputError, ValueError):
        return False


def read_dictionary(path: Path) -> dict[str | int, NDArray[Any]]:
    """The dictionary of a .npy file: name or number of a photo -> its vector.

    Raises:
        InputError: it cannot be read, is too large, or has anything else in it than a dictionary
            of vectors of numbers.
    """
    with readable(path):
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: more than {_MOST_BYTES >> 20} MiB: not labels of photos")
        content = io.BytesIO(path.read_bytes())
    try:
        if _head(content) != ((), True):
            raise ValueError("not one object")
        (found,) = _followed(content).content
        return {key: _vector(value) for key, value in found.items()}
    # What a pickle asks of the stand-ins fails in any way.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a plain dictionary of photos and vectors ({reason}): nothing else is read"
            " from a pickle; write labels.csv instead, or move the file elsewhere"
        ) from error


def _head(file: Any) -> tuple[tuple[int, ...], bool]:
    """Shape of the array in a .npy file, and whether it holds objects."""
    try:
        versions = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, _, kind = versions[np.lib.format.read_magic(file)](file)
    # NumPy parses the head as Python's source, with all that this lets through.
    except Exception as error:
        raise ValueError("no head of a .npy file") from error
    return shape, kind.hasobject


def _followed(file: io.BytesIO) -> Any:
    """What a pickle makes, its calls replaced; a ValueError at a step that is not known here."""
    stack: list[Any] = []
    marks: list[int] = []
    memory: dict[object, Any] = {}
    size = 0
    for opcode, argument, _ in pickletools.genops(file):
        step = opcode.name
        if step in _VALUES:
            stack.append(argument)
        elif step in _NEW:
            stack.append(_NEW[step]())
        elif step in _PUT:
            memory[argument] = stack[-1]
        elif step == "MEMOIZE":
            memory[len(memory)] = stack[-1]
        elif step in _GET:
            stack.append(memory[argument])
        elif step == "MARK":
            marks.append(len(stack))
        elif step in _LATEST or step in _SINCE_MARK:
            start = marks.pop() if step in _SINCE_MARK else len(stack) - _LATEST[step]
            values = stack[start:]
            del stack[start:]
            _put_together(step, values, stack)
        elif step == "GLOBAL":
            stack.append(_stand_in(str(argument)))
        elif step == "STACK_GLOBAL":
            name = stack.pop()
            stack.append(_stand_in(f"{stack.pop()} {name}"))
        elif step == "REDUCE":
            arguments = stack.pop()
            made = stack.pop()
            if not any(made is known for known in _STAND_INS.values()):
                raise ValueError("a call of something else")
            stack.append(made(*arguments))
            # A short file may ask for copies of a long text without end.
            if isinstance(stack[-1], bytes | str):
                size += len(stack[-1])
            if size > _MOST_BYTES:
                raise ValueError("more bytes than such a file has")
        elif step == "BUILD":
            state = stack.pop()
            stack[-1].build(state)
        elif step == "POP":
            stack.pop()
        elif step == "STOP":
            return stack.pop()
        elif step not in _IGNORED:
            raise ValueError(f"step {step}")
    raise ValueError("cut off")


def _put_together(step: str, values: list[Any], stack: list[Any]) -> None:
    """Make a tuple, list or dictionary of values, or add them to the one on the stack."""
    if step.startswith("TUPLE"):
        stack.append(tuple(values))
    elif step == "LIST":
        stack.append(values)
    elif step in ("APPEND", "APPENDS"):
        if not isinstance(stack[-1], list):
            raise ValueError("no list")
        stack[-1].extend(values)
    elif step != "POP_MARK":
        if step == "DICT":
            stack.append({})
        keys = values[::2]
        # Other keys, such as tuples of tuples, may take for ever to be hashed.
        if not all(type(key) in (str, int) for key in keys):
            raise ValueError("a photo is called by something other than a text or a number")
        if not isinstance(stack[-1], dict):
            raise ValueError("no dictionary")
        stack[-1].update(zip(keys, values[1::2], strict=True))


def _stand_in(name: str) -> Callable[..., object]:
    if name not in _STAND_INS:
        raise ValueError(f"it asks for {name.replace(' ', '.')}")
    return _STAND_INS[name]


def _vector(value: object) -> NDArray[Any]:
    if isinstance(value, list) and all(type(number) in (int, float, bool) for number in value):
        values = np.array(value)
    elif isinstance(value, _Array):
        values = value.values()
    else:
        raise TypeError("what a photo has is no vector of numbers")
    if values.dtype.kind not in "biuf":
        raise TypeError("what a photo has is no vector of numbers")
    return values
