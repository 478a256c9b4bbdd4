"""Fixtures of faults: a server of runs, photos, an uninterrupted run, a small disk."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kills import FLAGS, SMOKE, Server, server

from esol.data.synthetic import write_synthetic


@pytest.fixture(scope="session")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("killer")) as found:
        yield found


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faults") / "photos"
    write_synthetic(root, photos=24, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


@pytest.fixture(scope="session")
def whole(killer: Server, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    answer = killer.call(run, ["run", SMOKE, str(photos), str(run), *FLAGS])
    assert answer["code"] == 0, answer["stderr"]
    return run


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(killer: Server, photos: Path) -> Run:
    """Run all stages into a folder: ``run(folder, data=.., kill=.., flags=..)``."""

    def call(
        folder: Path, *, data: Path | None = None, flags: tuple[str, ...] = (), **more: Any
    ) -> dict[str, Any]:
        given = ["run", SMOKE, str(data or photos), str(folder), *FLAGS, *flags]
        return killer.call(folder, given, **more)

    return call


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run into a fault: exit code 2 and one line, which is returned."""

    def call(folder: Path, **more: Any) -> str:
        answer = run(folder, **more)
        assert answer["code"] == 2, answer
        lines = answer["stderr"].splitlines()
        assert "Traceback" not in answer["stderr"]
        assert [line.startswith("esol: ") for line in lines[-2:]] in ([True], [False, True])
        return str(lines[-1])

    return call


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount, or mount anew, a disk with options like "size=1m" or "ro"; root may do so."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if os.path.ismount(place) else ["-o", options]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *again, "tmpfs", str(place)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        return place

    try:
        yield mount
    finally:
        if os.path.ismount(place):
            subprocess.run(["umount", "-l", str(place)], check=True)
