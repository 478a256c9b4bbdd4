"""Sources: files that others made, opened with care."""

import errno
import hashlib
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from esol.data.foreign import leads_out
from esol.errors import InputError
from esol.system.files import sha256, temporary_folder

_DAMAGE = (
    *(OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError, EOFError, ValueError),
)
"""What the standard library says of archives that are cut off, changed or encrypted."""

UNPACKED_LIMIT = 8 * 2**30
"""Archives of more bytes than this are refused."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder as it is, or an archive unpacked for the time being.

    Raises:
        InputError: neither, damaged, too large, or with a file that would land outside; or
            something raised it inside, told of the archive.
    """
    if path.is_dir():
        yield path
        return
    with temporary_folder() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _check_archive(archive, path)
                if _size(archive) > shutil.disk_usage(folder).free:
                    raise _no_room(path, folder)
                archive.extractall(folder)
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise _no_room(path, folder) from error
            raise InputError(f"{path}: not a whole ZIP file ({error}): export it again") from error
        try:
            yield folder
        except InputError as error:
            raise InputError(str(error).replace(f"{folder}/", f"{path}: ")) from error


def _check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    for name in archive.namelist():
        if leads_out(PurePosixPath(name.replace("\\", "/"))):
            raise InputError(f"{path}: {name!r} leads out of the archive: export it again")
    if _size(archive) > UNPACKED_LIMIT:
        raise InputError(f"{path}: more than {UNPACKED_LIMIT >> 30} GiB unpacked: split it")


def _size(archive: zipfile.ZipFile) -> int:
    """Bytes of all files, as the archive says; of none of them more are unpacked."""
    return sum(info.file_size for info in archive.infolist())


def _no_room(path: Path, folder: Path) -> InputError:
    return InputError(
        f"{path}: no room to unpack it to {folder.parent}: make room there, or set TMPDIR to"
        " another folder"
    )


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the names and contents of its files.

    Raises:
        InputError: it cannot be read.
    """
    if not path.is_dir():
        return sha256(path)
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = file.relative_to(path).as_posix()
        total.update(name.encode() + b"\0" + bytes.fromhex(sha256(file)))
    return total.hexdigest()
