"""One run of a folder at a time."""

import errno
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from esol.errors import InputError
from esol.system.files import make_folder, written
from esol.system.progress import log

OWNER = ".owner"
"""File in a locked folder that is locked, and says who works there."""

_held: set[BaseFileLock] = set()
"""Locks of this process: one that nobody refers to would release itself."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class FolderLock:
    """A lock on a folder, which the system takes back when its process ends, however it ends.

    The text in the file is informational: only the kernel's lock counts, not what a killed process
    or another machine left there.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / OWNER, thread_local=False)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: another process has it; the message says which. Or nothing can be written.
        """
        make_folder(self.folder)
        path = self.folder / OWNER
        with written(path):
            try:
                # Long enough to try again where the owner removes the file while we open it.
                self._lock.acquire(timeout=0.2)
            except Timeout as error:
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
            _held.add(self._lock)
            now = time.strftime("%Y-%m-%d %H:%M")
            path.write_text(f"process {os.getpid()} on {platform.node()}, since {now}\n")

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        _held.discard(self._lock)
        if self._lock.is_locked:
            # In a folder that has become read-only, who it was stays written.
            with suppress(OSError):
                (self.folder / OWNER).unlink(missing_ok=True)
            self._lock.release()

    def _owner(self) -> str:
        try:
            text = (self.folder / OWNER).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            text = ""
        # The owner has the lock, and has not yet written who it is.
        return text or "another process"
