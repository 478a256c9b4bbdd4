"""What the command line asks of the C library's malloc."""

import ctypes
import os
from types import SimpleNamespace

import pytest

from esol.system.allocator import keep_memory


@pytest.fixture
def calls(monkeypatch):
    """The calls of mallopt; the real one would stay for all tests."""
    made: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda option, value: made.append((option, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    kept = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    monkeypatch.setattr(os, "environ", {**kept, "GLIBC_TUNABLES": "glibc.rtld.nns=2"})
    return made


def test_freed_memory_is_kept_up_to_a_bound(calls):
    keep_memory()
    # No blocks of their own from the system; the trim threshold; the steps in which memory grows.
    assert dict(calls) == {-4: 0, -1: 512 << 20, -2: 64 << 20}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "1000000"),
        ("MALLOC_ARENA_MAX", "2"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=7"),
    ],
)
def test_what_the_user_has_set_stays(calls, name, value):
    os.environ[name] = value
    keep_memory()
    assert calls == []


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_systems_have_none(monkeypatch, calls, error):
    def absent(name):
        raise error("no such thing")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    keep_memory()
    assert calls == []
