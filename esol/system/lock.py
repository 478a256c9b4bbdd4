"""One run of a folder at a time."""

import errno
import fcntl
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from esol.errors import InputError
from esol.system.files import make_folder, written
from esol.system.progress import log

OWNER = ".owner"
"""File in a locked folder that is locked, and says who works there."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class FolderLock:
    """A lock on a folder, which the system takes back when its process ends, however it ends.

    Who is written in the file decides nothing: what a killed process left there, its number taken
    by another one since, or a name from another machine, keeps nobody out.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: another process has it; the message says which. Or nothing can be written.
        """
        make_folder(self.folder)
        path = self.folder / OWNER
        with written(path):
            while True:
                # A file and not the folder itself: NFS locks only what is open for writing.
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
                try:
                    self._lock(handle)
                    if _is_there(path, handle):
                        break
                except BaseException:
                    os.close(handle)
                    raise
                # Its owner removed it between our opening and locking it.
                os.close(handle)
            self._handle = handle
            # Loader processes outlive a killed run by seconds, and would keep its lock so long.
            os.register_at_fork(after_in_child=self._close)
            now = time.strftime("%Y-%m-%d %H:%M")
            os.ftruncate(handle, 0)
            text = f"process {os.getpid()} on {platform.node()}, since {now}\n"
            os.pwrite(handle, text.encode(), 0)

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        if self._handle is not None:
            # In a folder that has become read-only, who it was stays written.
            with suppress(OSError):
                (self.folder / OWNER).unlink(missing_ok=True)
            self._close()

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{self.folder}: {self._owner()} is working on it; wait, or name another folder"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log.warning(
                "%s: its file system has no locks (%s); let no other process work there",
                *(self.folder, error.strerror),
            )

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _owner(self) -> str:
        try:
            found = (self.folder / OWNER).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            found = ""
        # It has the lock, and has not yet written who it is.
        return found or "another process"


def _is_there(path: Path, handle: int) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
