"""What is printed: log, progress of long loops, and standard streams that are closed or full."""

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
)

from esol.system.distributed import main_process

T = TypeVar("T")

log = logging.getLogger("esol")
# Of several processes the main one speaks.
log.addFilter(lambda record: main_process())
console = Console(stderr=True)

SECONDS_BETWEEN_LINES = 30.0
"""Least time between two lines of a loop in a log."""

MOST_LINES = 10
"""About as many lines of a loop, however long it takes."""


class _Course:
    """How far a run of several stages is.

    Attributes:
        seconds: stage -> what it took the last time; 0 if it is done, None if nobody knows.
        name: the stage at work, "" before the first.
        begun: when it began.
        bar: on a terminal, the line of the whole run.
    """

    def __init__(self, seconds: Mapping[str, float | None], bar: Progress | None) -> None:
        self.seconds = seconds
        self.name = ""
        self.begun = time.monotonic()
        self.bar = bar

    def begin(self, name: str, purpose: str) -> None:
        """Begin a stage."""
        self.name, self.begun = name, time.monotonic()
        if self.bar is not None:
            label = f"{self.place()}, {name}: {purpose}"
            self.bar.update(self.bar.task_ids[0], description=label, visible=True)

    def place(self) -> str:
        """Which stage of how many."""
        names = list(self.seconds)
        return f"stage {names.index(self.name) + 1} of {len(names)}"

    def left(self, loop: float) -> tuple[float, float | None]:
        """Seconds left of the stage, and of the run: None without times of an earlier run.

        Args:
            loop: seconds left of the loop at work, which may not be the stage's last.
        """
        names = list(self.seconds)
        last = self.seconds[self.name]
        stage = loop if not last else max(loop, last - (time.monotonic() - self.begun))
        later = [self.seconds[name] for name in names[names.index(self.name) + 1 :]]
        known = [seconds for seconds in later if seconds is not None]
        alone = not any(later)  # nothing comes after: the run's time is the stage's
        return stage, None if alone or not last or len(known) < len(later) else stage + sum(known)


_course: _Course | None = None
"""That of the run at work in this process."""


@contextmanager
def whole_run(seconds: Mapping[str, float | None]) -> Iterator[Callable[[str, str], None]]:
    """Show the loops of several stages as parts of one run, on a terminal in one line.

    Args:
        seconds: stage -> what it took the last time; 0 if it is done, None if nobody knows.

    Yields:
        What is to be called with the name and the purpose of each stage when it begins.
    """
    global _course
    shown = main_process() and console.is_terminal
    with _progress() if shown else nullcontext() as bar:
        if bar is not None:
            bar.add_task("", total=None, rate="", left="", visible=False)
        _course = _Course(seconds, bar)
        try:
            yield _course.begin
        finally:
            _course = None


def headline(name: str, purpose: str) -> str:
    """What a log says when a stage begins."""
    return f"{f'{_course.place()}: ' if _course else ''}{name}: {purpose}"


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
    if _course is not None and _course.name:
        label = f"{_course.place()}, {label}"
    if not main_process():
        yield from items
    elif console.is_terminal:
        yield from _bar(items, label, total, start, unit)
    else:
        yield from _lines(items, label, total, start, unit)


def _left(loop: float) -> str:
    """What is left, in words."""
    stage, run = _course.left(loop) if _course is not None and _course.name else (loop, None)
    whole = "" if run is None else f"; of the run about {duration(run)}"
    return f"{duration(stage)} left{whole}"


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]}"),
    )
    # What is printed to standard output is not for the terminal's line.
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)


def _bar(items: Iterable[T], label: str, total: int, start: int, unit: str) -> Iterator[T]:
    own = _course.bar if _course is not None else None
    with _progress() if own is None else nullcontext(own) as progress:
        if own is not None:
            own.update(own.task_ids[0], visible=False)
        task = progress.add_task(label, total=total, completed=start, rate="", left="")
        try:
            for item in items:
                yield item
                shown = next(one for one in progress.tasks if one.id == task)
                rate = f"{shown.speed:.1f} {unit}/s" if shown.speed else ""
                remaining = shown.time_remaining
                left = "" if remaining is None else _left(remaining)
                progress.update(task, advance=1, rate=rate, left=left)
        finally:
            if own is not None:
                own.remove_task(task)
                own.update(own.task_ids[0], visible=True)


def _lines(items: Iterable[T], label: str, total: int, start: int, unit: str) -> Iterator[T]:
    begun = said = time.monotonic()
    done = start
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        rate = (done - start) / max(now - begun, 1e-9)
        pause = max(SECONDS_BETWEEN_LINES, (total - start) / rate / MOST_LINES)
        if now - said >= pause and done < total:
            said = now
            left = _left((total - done) / rate)
            log.info("%s: %d of %d, %.1f %s/s, %s", label, done, total, rate, unit, left)


def duration(seconds: float) -> str:
    """A time as one says it.

    >>> duration(40), duration(720), duration(7500)
    ('40 s', '12 min', '2 h 5 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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


def abandon_output(stream: TextIO) -> None:
    """Turn standard output or error to the null device if it can no longer be written to.

    What is left in its buffer would otherwise fail once more at exit, with exit code 120.
    """
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Screen(Console):
    """Console that raises BrokenPipeError instead of exiting."""

    def on_broken_pipe(self) -> None:
        """Let the error pass."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
