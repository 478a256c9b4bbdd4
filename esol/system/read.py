"""Files that users or other programs wrote: damage and traps become an InputError of one line."""

import json
import lzma
import re
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import yaml

from esol.errors import InputError, one_line

ARCHIVE_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
"""What the standard library raises for truncated or changed archives, besides OSError."""

YAML_BYTES = 100_000
"""Larger YAML files are refused: one with all settings has 3,000 bytes."""

YAML_VALUES = 10_000
"""YAML files with more values are refused, aliases counted as often as they stand for something."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the system's errors while a file is read into an InputError that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 file, with or without byte-order mark; its line ends stay as they are."""
    try:
        with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: save it as UTF-8") from error


def read_text(path: Path) -> str:
    """Text of a UTF-8 file, as :func:`open_text` opens it."""
    with open_text(path) as file:
        return file.read()


def read_json(path: Path, advice: str = "fix or regenerate it") -> Any:
    """Content of a JSON file, with or without byte-order mark.

    Raises:
        InputError: it cannot be read or is not JSON; the message ends with ``advice``.
    """
    try:
        with readable(path):
            return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error}): {advice}") from error


def read_xml(path: Path) -> ElementTree.Element:
    """Root of an XML file. Declared entities, which may expand without end, are refused."""
    with readable(path):
        content = path.read_bytes()
    # UTF-16 puts zeros between the letters.
    if b"<!ENTITY" in content.replace(b"\0", b""):
        raise InputError(f"{path}: declares XML entities: export it again")
    try:
        return ElementTree.fromstring(content)
    # An unknown encoding is a LookupError.
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not an XML file ({error}): export it again") from error


def structured(path: Path) -> Any:
    """Content of a JSON or YAML file, or root of an XML file; None if it is none, or damaged."""
    try:
        return parsed(path)
    except InputError:
        return None


def parsed(path: Path) -> Any:
    """As :func:`structured`, but an InputError if the file is damaged."""
    readers = {".json": read_json, ".xml": read_xml, ".yaml": read_yaml, ".yml": read_yaml}
    reader = readers.get(path.suffix.lower())
    return reader(path) if reader is not None and path.is_file() else None


class _Loader(yaml.SafeLoader):
    """Refuses keys given twice, and aliases that expand to too many values."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.sizes: dict[int, int] = {}  # values below a node, aliases written out

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self.sizes:
            raise ValueError("an alias stands for something that holds it")
        if node is None or is_alias:
            return node
        parts = [] if isinstance(node, yaml.ScalarNode) else list(node.value)
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in parts if isinstance(key, yaml.ScalarNode)]
            if repeated := [key for key in keys if keys.count(key) > 1]:
                raise ValueError(f"{repeated[0]!r} is given twice")
            parts = [part for pair in parts for part in pair]
        self.sizes[id(node)] = 1 + sum(self.sizes[id(part)] for part in parts)
        if self.sizes[id(node)] > YAML_VALUES:
            raise ValueError(f"more than {YAML_VALUES:,} values, aliases included")
        return node


def read_yaml(path: Path) -> Any:
    """Content of a YAML file in plain types.

    Raises:
        InputError: it cannot be read, is not YAML, is too large, or as :class:`_Loader` says.
    """
    try:
        size = path.stat().st_size
        if size > YAML_BYTES:
            raise ValueError(f"{size:,} bytes, at most {YAML_BYTES:,} are read")
        return _Loader(path.read_text(encoding="utf-8-sig")).get_single_data()
    # PyYAML also lets errors of int(), float() and date() through, for values that look like such.
    except (
        *(OSError, yaml.YAMLError, ValueError),
        *(TypeError, AttributeError, RecursionError),
    ) as error:
        raise InputError(f"{path} is not YAML: {one_line(error)}: fix it") from error


def listed(things: Any, path: Path, what: str) -> list[dict[str, Any]]:
    """The things, if they are a list of objects; else an InputError."""
    if not isinstance(things, list) or not all(isinstance(thing, dict) for thing in things):
        raise InputError(f"{path}: {what}: not a list of objects: export the file again")
    return things


@contextmanager
def entry(where: str) -> Iterator[None]:
    """Read one entry of a file: an error due to its form becomes an InputError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        kind = type(error).__name__
        reason = f"{kind}: {one_line(error)}" if str(error) else kind
        raise InputError(f"{where}: damaged ({reason}): fix or remove it") from error


def leads_out(path: PurePosixPath) -> bool:
    """Whether a path is absolute or goes up, by the rules of any system."""
    has_drive = bool(path.parts) and re.match(r"[A-Za-z]:", path.parts[0]) is not None
    return path.is_absolute() or ".." in path.parts or has_drive


def one_ends_other(a: PurePosixPath, b: PurePosixPath) -> bool:
    """Whether the last parts of one path are the whole other.

    >>> one_ends_other(PurePosixPath("0001"), PurePosixPath("images/0001"))
    True
    """
    length = min(len(a.parts), len(b.parts))
    return a.parts[-length:] == b.parts[-length:]
