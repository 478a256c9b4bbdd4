"""How many threads PyTorch computes with, and how they wait; for the command line alone."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Processor time of a container: microseconds, or max, of a period."""

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def choose_threads() -> None:
    """Set the environment that OpenMP reads when PyTorch is loaded; what the user has set stays.

    Threads that wait for each other sleep. By default they spin, and where other work shares the
    cores they spin away the time of those for which they wait (docs/speed.md).

    Their number is OpenMP's own, that of the cores open to this process, unless a container is
    given less time than that.
    """
    if not any(name in os.environ for name in _WAITING):
        # Of GNU's library and, on some systems, Intel's.
        os.environ |= {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    if "OMP_NUM_THREADS" not in os.environ and (cores := _quota()) < _open():
        os.environ["OMP_NUM_THREADS"] = str(cores)


def _open() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float:
    """Whole cores that a container may use, at least 1; infinite without a limit."""
    try:
        time, period = QUOTA.read_text().split()
        return max(1, int(time) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
