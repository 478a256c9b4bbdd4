"""Photos inside Parquet and Arrow files.

Such a photo has a path, as any other: FILE/COLUMN/ROW, of which FILE is a file on the disk, as in
``photos/data/train-00000-of-00002.parquet/image/17``. Rows count from 0.
"""

import bisect
import hashlib
import io
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from esol.errors import InputError, one_line
from esol.system.files import sha256_once

SUFFIXES = (".parquet", ".arrow")
"""Files that may hold photos: Parquet, and Arrow's stream format as ``datasets`` saves it."""

GROUP_LIMIT = 1 << 30
"""Row groups whose photos have more bytes are refused: a photo is read with all of its group."""

_KEPT = 256 << 20
"""Bytes of row groups that a process keeps, besides the last one read."""

_FILES_OPEN = 128


def holder(photo: Path) -> Path | None:
    """The file that a photo lies in; None if the photo is a file itself."""
    # Asked of every photo: its text alone decides for nearly all, in less than a microsecond.
    text = str(photo)
    if f".parquet{os.sep}" not in text and f".arrow{os.sep}" not in text:
        return None
    file = photo.parent.parent
    return file if file.suffix in SUFFIXES and file.is_file() else None


def stat(photo: Path) -> os.stat_result:
    """Size and time of change of the file that a photo is, or lies in.

    Of a Parquet file, the photos' own sizes are known only when all of it has been read.
    """
    return (holder(photo) or photo).stat()


def opened(photo: Path) -> Path | BinaryIO:
    """A photo's content if it lies in a file; else its path.

    Raises:
        InputError: the file is damaged, has no such photo, or needs pyarrow.
    """
    file = holder(photo)
    return photo if file is None else io.BytesIO(_content(file, photo.parent.name, photo.name))


def content(photo: Path) -> bytes:
    """Bytes of a photo's file, wherever it lies; errors as :func:`opened` and of the system."""
    file = holder(photo)
    return photo.read_bytes() if file is None else _content(file, photo.parent.name, photo.name)


def digest(photo: Path) -> str:
    """SHA-256 of a photo's content; read once by this process while its file does not change."""
    file = holder(photo)
    if file is None:
        return sha256_once(photo)
    now = file.stat()
    return _digest(photo, now.st_size, now.st_mtime_ns)


@cache
def _digest(photo: Path, size: int, changed: int) -> str:
    return hashlib.sha256(content(photo)).hexdigest()


@dataclass(frozen=True, eq=False)
class Packed:
    """A Parquet or Arrow file.

    Attributes:
        path: the file.
        schema: Arrow's schema.
        starts: row at which each of its row groups (Arrow: record batches) begins, and last the
            number of rows.
        parquet: pyarrow's open file; None of an Arrow file.
        mapped: Arrow's table, of which nothing is read before it is used; None of a Parquet file.
    """

    path: Path
    schema: Any
    starts: Sequence[int]
    parquet: Any = None
    mapped: Any = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.starts[-1]

    @property
    def types(self) -> Mapping[str, str]:
        """Arrow's names of the columns' types."""
        return {field.name: str(field.type) for field in self.schema}

    @property
    def features(self) -> Mapping[str, Any]:
        """What the library ``datasets`` says of the columns; empty if others wrote the file."""
        try:
            text = (self.schema.metadata or {}).get(b"huggingface", b"{}")
            features = json.loads(text)["info"]["features"]
        except (ValueError, KeyError, TypeError):
            return {}
        return features if isinstance(features, dict) else {}

    def values(self, column: str, field: str = "") -> list[Any]:
        """Values of a column, or of one field of its structs, in Python's types."""
        name = f"{column}.{field}" if field else column
        with _readable(self.path):
            if self.parquet is not None:
                table = self.parquet.read(columns=[name], use_threads=False)
            else:
                table = self.mapped.select([column])
            cells = (table.flatten() if field else table).column(name).to_pylist()
            if len(cells) != self.rows:
                raise ValueError(f"{len(cells)} values in {name}, {self.rows} rows")
            return cells

    def without_bytes(self, column: str) -> bool:
        """Whether no struct of a column has bytes, as far as the file says without being read."""
        if "bytes: null" in self.types[column]:
            return True
        if self.parquet is None:
            chunks = self.mapped.column(column).chunks
            return all(chunk.field("bytes").null_count == len(chunk) for chunk in chunks)
        with _readable(self.path):
            groups = range(len(self.starts) - 1)
            parts = [self._part(number, f"{column}.bytes") for number in groups]
            return all(p.is_stats_set and p.statistics.null_count == p.num_values for p in parts)

    def group(self, number: int, column: str) -> Any:
        """Photos of a group: an Arrow array of bytes, or of structs with them."""
        if self.parquet is None:
            return self.mapped.column(column).chunk(number)
        part = self._part(number, f"{column}.bytes") or self._part(number, column)
        if part.total_uncompressed_size > GROUP_LIMIT:
            raise InputError(
                f"{self.path}: row group {number} has {part.total_uncompressed_size / 2**30:.1f}"
                f" GiB of photos, of which at most {GROUP_LIMIT / 2**30:.0f} can be read at once:"
                " write it again with 100 rows to a group"
            )
        names = [part.path_in_schema]
        return self.parquet.read_row_group(number, columns=names, use_threads=False).column(0)

    def _part(self, number: int, name: str) -> Any:
        """Metadata of a column in a row group; None if it has no such column."""
        group = self.parquet.metadata.row_group(number)
        parts = (group.column(place) for place in range(group.num_columns))
        return next((part for part in parts if part.path_in_schema == name), None)


def open_packed(path: Path) -> Packed:
    """Open a Parquet or Arrow file; what it holds is read when it is asked for.

    Raises:
        InputError: it is missing or damaged, or pyarrow is not installed.
    """
    with _readable(path):
        status = path.stat()
    return _open(path, status.st_size, status.st_mtime_ns)


@lru_cache(_FILES_OPEN)
def _open(path: Path, size: int, changed: int) -> Packed:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(f'{path}: to read it, pip install "esol[parquet]"') from error
    with _readable(path):
        if path.suffix == ".parquet":
            file = parquet.ParquetFile(path)
            groups = range(file.metadata.num_row_groups)
            lengths = [file.metadata.row_group(number).num_rows for number in groups]
            return Packed(path, file.schema_arrow, _starts(lengths), parquet=file)
        with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_stream(mapped) as stream:
            table = stream.read_all()
        # Without this, damaged offsets lead to memory that is not the table's.
        table.validate(full=True)
        lengths = [len(chunk) for chunk in table.column(0).chunks]
        return Packed(path, table.schema, _starts(lengths), mapped=table)


def _starts(lengths: Iterable[int]) -> tuple[int, ...]:
    return (0, *accumulate(lengths))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of the system, of pyarrow and of damaged content into an InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    # pyarrow raises OSError, ValueError, KeyError, TypeError, NotImplementedError and its own.
    except Exception as error:
        kind = "Parquet" if path.suffix == ".parquet" else "Arrow stream"
        reason = one_line(error, lines=1, length=120)
        raise InputError(
            f"{path}: damaged, or not a {kind} file ({reason}): download or write it again"
        ) from error


class _Groups:
    """The row groups read last, up to ``_KEPT`` bytes; threads wait for one another."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: OrderedDict[tuple[Packed, str, int], Any] = OrderedDict()
        self.bytes = 0

    def photo(self, packed: Packed, column: str, row: int) -> Any:
        """The cell of a photo, as an Arrow scalar."""
        number = bisect.bisect_right(packed.starts, row) - 1
        key = packed, column, number
        with self.lock:
            group = self.kept.pop(key, None)
            if group is None:
                group = packed.group(number, column)
                self.bytes += group.nbytes
                while self.kept and self.bytes > _KEPT:
                    self.bytes -= self.kept.popitem(last=False)[1].nbytes
            self.kept[key] = group
        return group[row - packed.starts[number]]


_groups = _Groups()


def _forget() -> None:
    """In a forked process: another thread may hold the lock, and open files are the parent's."""
    global _groups
    _groups = _Groups()
    _open.cache_clear()


os.register_at_fork(after_in_child=_forget)


def _content(file: Path, column: str, row: str) -> bytes:
    with _groups.lock:
        packed = open_packed(file)
    if not row.isdecimal() or int(row) >= packed.rows or column not in packed.schema.names:
        raise InputError(f"{file / column / row}: {file.name} has no such photo")
    with _readable(file):
        cell = _groups.photo(packed, column, int(row))
        value = cell if hasattr(cell, "as_buffer") else cell["bytes"]
        if not value.is_valid:
            raise InputError(f"{file / column / row}: no photo in this row: remove the row")
        return value.as_buffer().to_pybytes()
