"""One run of a folder at a time."""

import fcntl
import os
import platform
import time
from pathlib import Path

from esol.errors import InputError
from esol.files import make_folder, write_atomic

OWNER = ".owner"
"""File in a locked folder that says who works on it."""


class FolderLock:
    """A lock on a folder, which the system takes back when its process ends, however it ends.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: another process has it; the message says which.
        """
        make_folder(self.folder)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise InputError(
                f"{self.folder}: {self._owner()} is working on it; wait, or name another folder"
            ) from error
        self._handle = handle
        now = time.strftime("%Y-%m-%d %H:%M")
        write_atomic(
            self.folder / OWNER, f"process {os.getpid()} on {platform.node()}, since {now}\n"
        )

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        if self._handle is not None:
            (self.folder / OWNER).unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def _owner(self) -> str:
        try:
            return (self.folder / OWNER).read_text(encoding="utf-8").strip()
        except OSError:  # It has the lock, and has not yet written who it is.
            return "another process"
