"""A dictionary of vectors in a .npy file, which is a pickle: read without executing anything.

NumPy's classes are not used while reading: stand-ins take what the pickle says of arrays, and its
bytes become numbers afterwards.
"""

import io
import pickle
import pickletools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esol.errors import InputError
from esol.system.read import readable

_MOST_BYTES = 1 << 28
"""Larger files are refused: COCO's 123,287 photos with 80 numbers of 8 bytes take 100 MB."""

_OPCODES = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "MEMOIZE"),
        *("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
        *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("BYTEARRAY8", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST"),
        *("LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
        *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)
"""What a pickle of arrays, dictionaries, texts and numbers is made of."""


class _Type:
    """Stand-in for numpy.dtype: its text, such as "f4", and its byte order."""

    def __init__(self, text: str, *_: object) -> None:
        self.text, self.order = text, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
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
    """Stand-in for numpy.ndarray, and for what makes one."""

    def __init__(self, *_: object) -> None:
        self.state: Sequence[Any] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, *self.state, _, self.content = state

    def values(self) -> NDArray[Any]:
        """The numbers of a vector."""
        (size,), kind = self.state
        values: NDArray[Any] = kind.values(self.content)
        if values.shape != (size,):
            raise ValueError(f"a vector of {size} with {len(values)} numbers")
        return values


class _Buffer(_Array):
    """Stand-in for numpy's function that makes an array of bytes (pickle protocol 5)."""

    def __init__(self, content: bytes, kind: _Type, shape: tuple[int, ...], *_: object) -> None:
        self.state, self.content = (shape, kind), content


class _Scalar:
    """Stand-in for numpy's function that makes one number or text."""

    def __init__(self, kind: _Type, content: bytes | str) -> None:
        (self.value,) = kind.values(content).tolist()

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, _Scalar) else other)

    def __setstate__(self, state: object) -> None:
        raise ValueError("a number with a state")


class _Encoded(bytes):
    """Stand-in for codecs.encode, by which old pickles write bytes."""

    def __new__(cls, text: str, coding: str = "latin1") -> "_Encoded":
        if coding not in ("latin1", "latin-1"):
            raise ValueError(f"bytes as {coding!r}")
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: object) -> None:
        raise ValueError("bytes with a state")


_STAND_INS: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Encoded,
    **{
        (f"numpy.{core}.{module}", name): made
        for core in ("core", "_core")
        for module, name, made in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _Buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]


def holds_object(path: Path) -> bool:
    """Whether a .npy file holds one pickled object, by its head."""
    try:
        with readable(path), path.open("rb") as file:
            return _head(file) == ((), True)
    except (InputError, ValueError, OverflowError):
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
        start = content.tell()
        _check_opcodes(content)
        content.seek(start)
        whole = _Unpickler(content, encoding="latin1").load()
        (found,) = whole.content
        return {_key(key): _vector(value) for key, value in found.items()}
    # Unpickling lets through what the stand-ins raise, of any kind.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a plain dictionary of photos and vectors ({reason}): nothing else is read"
            " from a pickle; write labels.csv instead, or move the file elsewhere"
        ) from error


def _head(file: Any) -> tuple[tuple[int, ...], bool]:
    """Shape of the array in a .npy file, and whether it holds objects."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"version {version} of NumPy's format")
    shape, _, kind = read(file)
    return shape, kind.hasobject


def _check_opcodes(file: io.BytesIO) -> None:
    """Refuse what may execute or fill the memory, before anything is made of the pickle."""
    size = file.getbuffer().nbytes
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name not in _OPCODES:
            raise ValueError(f"opcode {opcode.name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) < size:
            raise ValueError(f"place {argument} in the memory of the pickle")


def _key(key: object) -> str | int:
    value = key.value if isinstance(key, _Scalar) else key
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise TypeError(f"a photo is called by a {type(value).__name__}")


def _vector(value: object) -> NDArray[Any]:
    values = value.values() if isinstance(value, _Array) else np.array(value)
    if values.ndim == 1 and values.dtype.kind in "biuf":
        return values
    raise TypeError("what a photo has is no vector of numbers")
