"""What is printed: log, progress of long loops, and standard streams that are closed or full."""

import errno
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from esol.system.distributed import main_process

T = TypeVar("T")

log = logging.getLogger("esol")
# Of several processes the main one speaks.
log.addFilter(lambda record: main_process())
console = Console(stderr=True)

SECONDS_BETWEEN_LINES = 30.0


def track(
    items: Iterable[T], label: str, *, total: int, start: int = 0, unit: str = ""
) -> Iterator[T]:
    """Pass ``items`` on while showing how far the loop is, how fast, and how long it will take.

    Args:
        items: what is left to do.
        label: name of the work.
        total: items in all, those done before (``start``) included; of several processes, those of
            this one.
        start: items done before.
        unit: what an item is, plural.
    """
    if not main_process():
        yield from items
    elif console.is_terminal:
        yield from _bar(items, label, total, start, unit)
    else:
        yield from _lines(items, label, total, start, unit)


def _bar(items: Iterable[T], label: str, total: int, start: int, unit: str) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=total, completed=start, rate="")
        for item in items:
            yield item
            speed = progress.tasks[0].speed
            rate = f"{speed:.1f} {unit}/s" if speed else ""
            progress.update(task, advance=1, rate=rate)


def _lines(items: Iterable[T], label: str, total: int, start: int, unit: str) -> Iterator[T]:
    begun = said = time.monotonic()
    done = start
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES and done < total:
            said = now
            rate = (done - start) / (now - begun)
            left = (total - done) / rate
            log.info("%s: %d of %d, %.1f %s/s, %.0f s left", label, done, total, rate, unit, left)


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
    """Console that raises BrokenPipeError instead of exiting."""

    def on_broken_pipe(self) -> None:
        """Let the error pass."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
