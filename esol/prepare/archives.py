"""Archives: files are read one by one from tar, zip or an extracted folder; nothing is unpacked.

Where a file goes is never taken from the archive: callers look for names they know and choose the
target themselves. A name that leads out of the archive condemns it all the same.
"""

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_IFDIR, S_IFMT, S_IFREG
from typing import IO

from esol.errors import InputError
from esol.system.files import atomic, require_room
from esol.system.progress import track

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)
"""What the standard library says of truncated or changed archives; gzip's own is an OSError."""

# A link that leads back up would have us walk for ever.
_DEEPEST = 4

READ_LIMIT = 2**30
"""Bytes of a file that is read into memory. The largest that is wanted, COCO's instances_train2014,
has a third of this; compressed, any number takes no room in the archive."""


@dataclass(frozen=True)
class Member:
    """A file in an archive, readable as long as the archive is open.

    Attributes:
        archive: where it is.
        name: its path in the archive.
        size: bytes.
        stream: opens it; None for a link, a device and what is encrypted.
        file: where it lies if the archive is a folder.
    """

    archive: "Archive"
    name: PurePosixPath
    size: int
    stream: Callable[[], IO[bytes] | None] | None
    file: Path | None = None

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            InputError: it is a link, a device or encrypted, or has more than ``READ_LIMIT`` bytes.
        """
        if self.size > READ_LIMIT:
            raise self.archive.wrong(f"{self.name} has {self.size / 1e9:.1f} GB, far too many")
        with self._open() as stream:
            return stream.read()

    def store(self, target: Path) -> None:
        """Write it to ``target``, at once or not at all; from a folder it is hard-linked if it can.

        Raises:
            InputError: it is a link, a device or encrypted, or the target cannot be written.
        """
        if self.file is not None:
            link_or_copy(self.file, target)
            return
        with (
            self._open() as source,
            atomic(target) as temporary,
            _written(target),
            temporary.open("wb") as stream,
        ):
            shutil.copyfileobj(source, stream, 1 << 20)

    def missing(self, target: Path) -> bool:
        """Whether ``target`` is not there, or not as long as this file."""
        return not target.is_file() or target.stat().st_size != self.size

    def needs(self, folder: Path) -> int:
        """Bytes that storing it in ``folder`` takes: none where it can be hard-linked."""
        linked = self.file is not None and self.file.stat().st_dev == folder.stat().st_dev
        return 0 if linked else self.size

    def _open(self) -> IO[bytes]:
        stream = self.stream() if self.stream else None
        if stream is None:
            raise self.archive.wrong(f"{self.name} is a link, a device or encrypted, not a file")
        return stream


@dataclass(frozen=True)
class Archive:
    """A tar or zip file, or the folder that one was extracted to.

    Attributes:
        path: the file or folder.
        url: where it comes from.
    """

    path: Path
    url: str

    def wrong(self, what: str) -> InputError:
        """An error that says what is wrong with the archive and where to fetch it again."""
        return InputError(f"{self.path}: {what}: fetch it again from {self.url}")

    @contextmanager
    def members(self) -> Iterator[Iterator[Member]]:
        """Open it and yield its files; in a compressed tar, read each before going to the next.

        Hidden files and what macOS adds to zip files are passed over.

        Raises:
            InputError: it is damaged, no archive, or has a name that leads out of it.
        """
        try:
            if self.path.is_dir():
                yield self._safe(_in_folder(self))
            elif self.path.suffix == ".zip":
                with zipfile.ZipFile(self.path) as packed:
                    yield self._safe(_in_zip(self, packed))
            elif not tarfile.is_tarfile(self.path):
                raise self.wrong("damaged (not a tar file)")
            else:
                with tarfile.open(self.path) as tape:
                    yield self._safe(_in_tar(self, tape))
        except _DAMAGE as error:
            raise self.wrong(f"damaged ({one_line(error)})") from error
        except OSError as error:
            # Truncated or changed gzip data, which has no error number.
            if error.errno is not None:
                raise
            raise self.wrong(f"damaged ({one_line(error)})") from error

    def _safe(self, found: Iterator[Member]) -> Iterator[Member]:
        for member in found:
            if member.name.is_absolute() or ".." in member.name.parts:
                raise self.wrong(f"{str(member.name)!r} leads out of the archive")
            if not any(part.startswith((".", "__MACOSX")) for part in member.name.parts):
                yield member


def find(folder: Path, places: Mapping[str, str]) -> Archive | None:
    """The first archive or extracted folder that is there.

    Args:
        folder: where to look.
        places: path inside the folder -> download address. A path with a suffix is a file's.
    """
    for place, url in places.items():
        path = folder / place
        if path.is_file() if path.suffix else path.is_dir():
            return Archive(path, url)
    return None


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links.

    Raises:
        InputError: the target cannot be written.
    """
    with atomic(target) as temporary, _written(target):
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def store_all(pairs: Sequence[tuple[Member, Path]], out: Path, label: str) -> None:
    """Store files, those there already left alone, after a look at the room on the disk.

    Args:
        pairs: files, in the order in which the archive holds them, and their targets.
        out: an existing folder on the disk of the targets.
        label: name of the work, for the progress bar.

    Raises:
        InputError: too little room, or a file that cannot be read or written.
    """
    left = [(member, target) for member, target in pairs if member.missing(target)]
    require_room(out, sum(member.needs(out) for member, _ in left))
    done = len(pairs) - len(left)
    for member, target in track(left, label, total=len(pairs), start=done, unit="files"):
        member.store(target)


def _in_tar(archive: Archive, tape: tarfile.TarFile) -> Iterator[Member]:
    for info in tape:
        if not info.isdir():
            stream = (lambda info=info: tape.extractfile(info)) if info.isfile() else None
            yield Member(archive, PurePosixPath(info.name), info.size, stream)
    # gzip's checksum stands behind the end of the tar and is only compared when it is reached.
    while tape.fileobj is not None and tape.fileobj.read(1 << 20):
        pass


def _in_zip(archive: Archive, packed: zipfile.ZipFile) -> Iterator[Member]:
    for info in packed.infolist():
        # The Unix mode, 0 where the zip file was made elsewhere.
        kind = S_IFMT(info.external_attr >> 16)
        if not info.is_dir() and kind != S_IFDIR:
            plain = kind in (0, S_IFREG) and not info.flag_bits & 1
            stream = (lambda info=info: packed.open(info)) if plain else None
            yield Member(archive, PurePosixPath(info.filename), info.file_size, stream)


def _in_folder(archive: Archive) -> Iterator[Member]:
    top = archive.path
    for folder, folders, files in os.walk(top, followlinks=True):
        folders.sort()
        if len(Path(folder).relative_to(top).parts) >= _DEEPEST:
            folders.clear()
        for file in sorted(files):
            path = Path(folder, file)
            if path.is_file():
                name = PurePosixPath(path.relative_to(top.parent).as_posix())
                yield Member(archive, name, path.stat().st_size, _opener(path), path)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


@contextmanager
def _written(target: Path) -> Iterator[None]:
    """Name the target where the disk is full; an archive's own errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise InputError(f"{target}: cannot be written ({error.strerror}): make room") from error


def one_line(error: Exception) -> str:
    """What an exception says, or its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
