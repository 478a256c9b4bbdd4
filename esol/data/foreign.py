"""Files that other tools wrote, opened with care."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from esol.errors import InputError


def read_json_file(path: Path) -> Any:
    """Content of a JSON file, with or without byte-order mark.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({error}): export it again") from error


def read_xml_file(path: Path) -> ElementTree.Element:
    """Root of an XML file. One that declares entities, which may grow without end, is refused.

    Raises:
        InputError: it cannot be read, or is not XML.
    """
    try:
        content = path.read_bytes()
        # Without the zeros that UTF-16 puts between the letters.
        if b"<!ENTITY" in content.replace(b"\0", b""):
            raise InputError(f"{path}: declares XML entities: export it again")
        return ElementTree.fromstring(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    # Encodings that Python does not know, or no text, are a LookupError.
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not an XML file ({error}): export it again") from error


def parsed(path: Path) -> Any:
    """Content of a JSON file, root of an XML file; None for a file that is neither, or damaged."""
    read = {".json": read_json_file, ".xml": read_xml_file}.get(path.suffix.lower())
    if read is None or not path.is_file():
        return None
    try:
        return read(path)
    except InputError:
        return None


def listed(things: Any, path: Path, what: str) -> list[dict[str, Any]]:
    """The things, if they are a list of objects.

    Raises:
        InputError: they are not.
    """
    if not isinstance(things, list) or not all(isinstance(thing, dict) for thing in things):
        raise InputError(f"{path}: {what}: no list of objects: export the file again")
    return things


@contextmanager
def entry(where: str) -> Iterator[None]:
    """Read one entry of somebody's file: whatever its form breaks becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise InputError(
            f"{where}: damaged ({' '.join(reason.split())}): mend or remove it"
        ) from error


def leads_out(path: PurePosixPath) -> bool:
    """Whether a path is absolute or goes up, in the manner of any system."""
    drive = bool(path.parts) and re.match(r"[A-Za-z]:", path.parts[0]) is not None
    return path.is_absolute() or ".." in path.parts or drive


def one_ends_other(a: PurePosixPath, b: PurePosixPath) -> bool:
    """Whether the last parts of one path are the whole other.

    >>> one_ends_other(PurePosixPath("0001"), PurePosixPath("images/0001"))
    True
    """
    length = min(len(a.parts), len(b.parts))
    return a.parts[-length:] == b.parts[-length:]
