"""Standard streams that are closed, or full."""

import errno
import os
import sys

from rich.console import Console


def open_closed_streams() -> None:
    """Open the null device where standard input, output or error was closed before we began.

    The next file opened would be given its number, and whatever prints would write into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115


def abandon_output() -> None:
    """Turn standard output to the null device if it can no longer be written to.

    What is left in its buffer would otherwise fail once more at exit.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen(Console):
    """A console that leaves it to the command line what it means that its reader has gone."""

    def on_broken_pipe(self) -> None:
        """Let the error pass."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
