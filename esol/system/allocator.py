"""How memory that PyTorch frees is kept for its next layer; for the command line alone."""

import ctypes
import os
from contextlib import suppress

_TRIM, _PAD, _MAPPED = -1, -2, -4
"""M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_MAX of GNU's C library."""

_KEPT, _STEP = 1 << 29, 1 << 26
"""Bytes that stay when they are free, and by which memory grows."""


def keep_memory() -> None:
    """Keep up to 512 MiB of freed memory; what the user has set for malloc stays.

    GNU's C library gives blocks above 32 MiB, such as the features of a batch, back to the system
    when they are freed. The next layer gets them anew, and the system fills them with zeros: a
    third of the time of a training on a CPU (docs/speed.md). Other libraries are left alone.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ)
    if own or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    with suppress(AttributeError, OSError, TypeError):  # no such function, or no such library
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_MAPPED, 0), (_TRIM, _KEPT), (_PAD, _STEP)):
            mallopt(option, value)
