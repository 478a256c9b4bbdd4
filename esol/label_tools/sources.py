"""Sources: the folder or ZIP file of an import, unpacked and hashed."""

import errno
import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from esol.data.tags import coco, cvat, labelstudio
from esol.errors import InputError, one_line
from esol.system.files import sha256, temporary_folder
from esol.system.read import ARCHIVE_DAMAGE, leads_out, structured

MASKS = "SegmentationClass"
"""Folder of masks in VOC's layout."""

YOLO = "data.yaml"
"""File that describes a data set of Ultralytics."""

VALUES = "values.csv"
"""File beside masks as PNG that says what their values mean."""

_LAYOUTS = {MASKS: ("voc", "cvat"), YOLO: ("yolo",), VALUES: ("png",)}
"""What lies in folders and ZIP files -> the values of ``--from`` that fit them."""

UNPACKED_LIMIT = 8 * 2**30
"""Archives of more bytes than this are refused."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder as it is, or a ZIP file unpacked into a temporary one.

    Raises:
        InputError: damaged, too large, or with a file that would land outside; or an InputError
            from the block, with the archive's name for the temporary folder's.
    """
    if path.is_dir():
        yield path
        return
    with temporary_folder() as folder:
        _unpack(path, folder)
        try:
            yield folder
        except InputError as error:
            raise InputError(str(error).replace(f"{folder}/", f"{path}: ")) from error


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if leads_out(PurePosixPath(name.replace("\\", "/"))):
                    raise InputError(f"{path}: {name!r} leads out of the archive: export it again")
            # No file is unpacked beyond the size that the archive states.
            size = sum(info.file_size for info in archive.infolist())
            if size > UNPACKED_LIMIT:
                raise InputError(f"{path}: more than {UNPACKED_LIMIT >> 30} GiB unpacked: split it")
            if size > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, "no space left")
            archive.extractall(folder)
    # An encrypted file is a RuntimeError, an impossible name or date a ValueError.
    except (*ARCHIVE_DAMAGE, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise InputError(
                f"{path}: no room to unpack it to {folder.parent}: make room there, or set TMPDIR"
                " to another folder"
            ) from error
        reason = one_line(error)
        raise InputError(f"{path}: not a whole ZIP file ({reason}): export it again") from error


def tools_of(path: Path) -> tuple[str, ...]:
    """The values of ``--from`` that fit a file or folder, by its content."""
    inside = _inside(path)
    for name, tools in _LAYOUTS.items():
        if name in inside:
            return tools
    content, forms = structured(path), {"labelstudio": labelstudio, "cvat": cvat, "coco": coco}
    return tuple(tool for tool, form in forms.items() if form.recognise(path, content))


def _inside(path: Path) -> set[str]:
    """Names at the top of a folder or ZIP file; none if it is neither."""
    try:
        if path.is_dir():
            return {file.name for file in path.iterdir()}
        with zipfile.ZipFile(path) as archive:
            return {name.partition("/")[0] for name in archive.namelist()}
    except (*ARCHIVE_DAMAGE, OSError):
        return set()


def digest_of(path: Path) -> str:
    """SHA-256 of a file; of a folder, over the names and contents of its files."""
    if not path.is_dir():
        return sha256(path)
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        name = file.relative_to(path).as_posix()
        total.update(name.encode() + b"\0" + bytes.fromhex(sha256(file)))
    return total.hexdigest()
