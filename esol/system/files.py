"""Files that are whole or absent: temporary name in the same folder, then one rename."""

import functools
import hashlib
import json
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from esol.errors import InputError
from esol.system.read import readable

TEMPORARY = ".tmp-"
"""Unfinished files begin so. A killed run may leave some; nothing ever reads them."""


@contextmanager
def atomic(path: Path, sync: bool = False) -> Iterator[Path]:
    """Write a file under a temporary name that becomes ``path`` when the block ends well.

    Args:
        path: the file to write; missing parent folders are created, an old file is replaced.
        sync: wait until the bytes are on the disk, so that a power cut leaves the old file or
            the new one. Worth its time for checkpoints and manifests, not for thousands of masks.

    Yields:
        A path in the same folder with the same suffix, which the block has to write. If the
        block raises, the temporary file is removed and ``path`` is left as it was.

    Raises:
        InputError: the folder cannot be written to, or the disk is full, also in the block.
    """
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the name: a photo's name may already be as long as the file system allows.
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}"
    try:
        with written(path, temporary):
            yield temporary
            if sync:
                with temporary.open("rb+") as stream:
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
    finally:
        # In a folder that has become read-only or is gone, there is nothing to remove.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str, sync: bool = False) -> None:
    """Write bytes, or text as UTF-8 with its line ends unchanged, through :func:`atomic`.

    Raises:
        InputError: the file cannot be written (no right, no space, a folder of that name).
    """
    content = data.encode() if isinstance(data, str) else data
    with atomic(path, sync) as temporary:
        temporary.write_bytes(content)


def append(path: Path, text: str) -> None:
    """Add text, as UTF-8, at the end of a file, which is created if it is missing.

    A kill or a full disk may leave the beginning of it.

    Raises:
        InputError: the file cannot be written.
    """
    with written(path), path.open("a", encoding="utf-8", newline="") as stream:
        stream.write(text)


def sync_folder(path: Path) -> None:
    """Wait until the files of a folder, which has no folders in it, are on the disk.

    Raises:
        OSError: they cannot get there.
    """
    for each in (*path.iterdir(), path):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_folder(path: Path) -> None:
    """Remove a folder atomically: it is renamed first, so a kill leaves no half-empty folder.

    Its name changes first to one that nothing reads.
    """
    with written(path):
        gone = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        path.rename(gone)
        shutil.rmtree(gone)


def write_json(path: Path, content: Any, sync: bool = False) -> None:
    """Write JSON with sorted keys and an indent of 2; equal content gives equal bytes.

    Args:
        path: the file.
        content: dicts, lists, tuples, strings, numbers, None, paths, NumPy scalars and arrays.
            NaN, which JSON does not know, becomes null.
        sync: see :func:`atomic`.

    Raises:
        ValueError: an infinite number.
        TypeError: anything else that has no form in JSON.
        InputError: the file cannot be written.
    """
    text = json.dumps(plain(content), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, text + "\n", sync)


def plain(content: Any) -> Any:
    """Copy of nested values in JSON's own types: NaN becomes None, arrays become lists."""
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, np.ndarray | np.generic):
        return plain(content.tolist())
    if isinstance(content, Path):
        return content.as_posix()
    if isinstance(content, float) and math.isnan(content):
        return None
    return content


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits, read piecewise.

    Raises:
        InputError: the file is missing or unreadable.
    """
    digest = hashlib.sha256()
    with readable(path), path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_once(path: Path) -> str:
    """As :func:`sha256`; read once by this process while size and time of change stay.

    Raises:
        InputError: the file is missing or unreadable.
    """
    with readable(path):
        stat = path.stat()
    return _sha256_of(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256_of(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def require_room(folder: Path, needed: int) -> None:
    """Check the space on the disk before anything is written.

    Args:
        folder: an existing folder.
        needed: bytes.

    Raises:
        InputError: less is free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free: make room"
        )


@contextmanager
def written(path: Path, *names: Path) -> Iterator[None]:
    """Turn the system's errors while a file is written into an InputError that names it.

    Args:
        path: the file.
        names: other names of it. If there are any, errors of further files pass: they are not
            about this one.

    Raises:
        InputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        about = error.filename is None or str(error.filename) in map(str, (path, *names))
        if (names and not (about and error.errno)) or isinstance(error, BrokenPipeError):
            raise
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "check the folder's rights and free space, or name another"
        ) from error


def visible_files(root: Path, skip: Path | None = None) -> Iterator[PurePosixPath]:
    """Files below a folder, relative to it and sorted by folder; hidden ones are left out.

    Linked folders are followed, each folder once. ``skip`` is a folder to leave out.
    """
    visited: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        # A link back up must not be followed for ever.
        real = os.path.realpath(folder)
        if real in visited or Path(folder) == skip:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            yield PurePosixPath(Path(folder, name).relative_to(root).as_posix())


def encodable(name: str) -> bool:
    """Whether a name can be written as UTF-8: one of other bytes comes with surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless it is there.

    Raises:
        InputError: it cannot be made.
    """
    with written(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make a folder of files under a temporary name that becomes ``path`` when the block ends well.

    Yields:
        An empty folder beside it. If the block raises, nothing stays.

    Raises:
        InputError: ``path`` is there, and is not an empty folder; or it cannot be written.
    """
    path = path.absolute()
    with written(path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise InputError(f"{path}: is not an empty folder; give a new one")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
        temporary.mkdir()
    try:
        with written(path, temporary):
            yield temporary
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in the system's place for such, removed at the end.

    Raises:
        InputError: there is no such place, or nothing can be written to it.
    """
    try:
        place = tempfile.TemporaryDirectory()
    except OSError as error:
        raise InputError(
            f"TMPDIR: a temporary folder cannot be created ({error.strerror}); set it to a folder"
            " with room"
        ) from error
    with place as name:
        yield Path(name)
