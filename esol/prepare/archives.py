"""Archives: files are read one by one from tar, zip or an extracted folder; nothing is unpacked.

Callers look for names they know and choose each target themselves. An archive with a name that
leads out of it is refused all the same.
"""

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from stat import S_IFDIR, S_IFMT, S_IFREG
from typing import IO

from esol.errors import InputError, one_line
from esol.system.files import atomic, require_room, written
from esol.system.progress import track
from esol.system.read import ARCHIVE_DAMAGE, leads_out

# Below an extracted folder: a link that leads back up would be followed for ever.
_DEEPEST = 4

READ_LIMIT = 2**30
"""Larger files are not read into memory. The largest needed, COCO's instances_train2014, has a
third of this; a compressed file of any size takes little room in the archive."""


@dataclass(frozen=True)
class Member:
    """A file in an archive, readable while that is open; ``name`` is its path, ``size`` in bytes.

    In a tar or zip ``stream`` opens it (None: a link, a device or encrypted); in a folder it is
    ``file``.
    """

    archive: "Archive"
    name: PurePosixPath
    size: int
    stream: Callable[[], IO[bytes] | None] | None = None
    file: Path | None = None

    def read(self) -> bytes:
        """Its bytes; an InputError if it is not a plain file or has more than ``READ_LIMIT``."""
        if self.size > READ_LIMIT:
            raise self.archive.wrong(f"{self.name} has {self.size / 1e9:.1f} GB, far too many")
        with self._open() as stream:
            return stream.read()

    def store(self, target: Path) -> None:
        """Write it to ``target``, whole or not at all; from a folder, hard-link it if possible."""
        if self.file is not None:
            link_or_copy(self.file, target)
            return
        with self._open() as source, atomic(target) as temporary, temporary.open("wb") as stream:
            shutil.copyfileobj(source, stream, 1 << 20)

    def missing(self, target: Path) -> bool:
        """Whether ``target`` is absent, or not as long as this file."""
        return not target.is_file() or target.stat().st_size != self.size

    def needs(self, folder: Path) -> int:
        """Bytes that storing it in ``folder`` takes: none where it can be hard-linked."""
        linked = self.file is not None and self.file.stat().st_dev == folder.stat().st_dev
        return 0 if linked else self.size

    def _open(self) -> IO[bytes]:
        if self.file is not None:
            return self.file.open("rb")
        stream = self.stream() if self.stream else None
        if stream is None:
            raise self.archive.wrong(f"{self.name} is a link, a device or encrypted, not a file")
        return stream


@dataclass(frozen=True)
class Archive:
    """A tar or zip file at ``path``, or the folder it was extracted to; ``url`` is its source."""

    path: Path
    url: str

    def wrong(self, what: str) -> InputError:
        """An error that says what is wrong with the archive and where to fetch it again."""
        return InputError(f"{self.path}: {what}: fetch it again from {self.url}")

    @contextmanager
    def members(self) -> Iterator[Iterator[Member]]:
        """Open it and yield its files; in a compressed tar, read each before going to the next.

        Hidden files and what macOS adds to zip files are skipped. Damage, or a name that leads out,
        is an InputError.
        """
        try:
            if self.path.is_dir():
                yield self._safe(self._in_folder())
            elif self.path.suffix == ".zip":
                with zipfile.ZipFile(self.path) as archive:
                    yield self._safe(self._in_zip(archive))
            elif not tarfile.is_tarfile(self.path):
                raise self.wrong("damaged (not a tar file)")
            else:
                with tarfile.open(self.path) as archive:
                    yield self._safe(self._in_tar(archive))
        except (tarfile.TarError, *ARCHIVE_DAMAGE, OSError) as error:
            # Truncated or changed gzip data is an OSError without a number.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise self.wrong(f"damaged ({one_line(error)})") from error

    def _safe(self, members: Iterator[Member]) -> Iterator[Member]:
        for member in members:
            if leads_out(member.name):
                raise self.wrong(f"{str(member.name)!r} leads out of the archive")
            if not any(part.startswith((".", "__MACOSX")) for part in member.name.parts):
                yield member

    def _in_tar(self, archive: tarfile.TarFile) -> Iterator[Member]:
        for info in archive:
            if not info.isdir():
                stream = partial(archive.extractfile, info) if info.isfile() else None
                yield Member(self, PurePosixPath(info.name), info.size, stream)
        # gzip compares its checksum, behind the end of the tar, only when it is reached.
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass

    def _in_zip(self, archive: zipfile.ZipFile) -> Iterator[Member]:
        for info in archive.infolist():
            # The Unix mode; 0 in a zip file from another system.
            kind = S_IFMT(info.external_attr >> 16)
            if not info.is_dir() and kind != S_IFDIR:
                plain = kind in (0, S_IFREG) and not info.flag_bits & 1
                stream = partial(archive.open, info) if plain else None
                yield Member(self, PurePosixPath(info.filename), info.file_size, stream)

    def _in_folder(self) -> Iterator[Member]:
        for folder, folders, files in os.walk(self.path, followlinks=True):
            folders.sort()
            if len(Path(folder).relative_to(self.path).parts) >= _DEEPEST:
                folders.clear()
            for path in (Path(folder, file) for file in sorted(files)):
                if path.is_file():
                    name = PurePosixPath(path.relative_to(self.path.parent).as_posix())
                    yield Member(self, name, path.stat().st_size, file=path)


def find(folder: Path, places: Mapping[str, str]) -> Archive | None:
    """The first archive or extracted folder that exists.

    ``places``: path inside the folder -> download address; a path with a suffix is a file's.
    """
    for place, url in places.items():
        path = folder / place
        if path.is_file() if path.suffix else path.is_dir():
            return Archive(path, url)
    return None


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    with atomic(target) as temporary, written(target):
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def store_all(pairs: Sequence[tuple[Member, Path]], out: Path, label: str) -> None:
    """Store the files that are still missing, after a check of the room on the disk of ``out``.

    The files are in the archive's order, each with its target; ``label`` names the progress bar.
    """
    todo = [(member, target) for member, target in pairs if member.missing(target)]
    require_room(out, sum(member.needs(out) for member, _ in todo))
    done = len(pairs) - len(todo)
    for member, target in track(todo, label, total=len(pairs), start=done, unit="files"):
        member.store(target)
