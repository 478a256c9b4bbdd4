"""The environment that OpenMP reads, as the command line sets it."""

import os
import subprocess
import sys

import pytest

from esol.system import threads

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """What is set where so many cores are open, with a file of the quota."""

    def chosen(quota: str | None = None, **given: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in NAMES}
        monkeypatch.setattr(os, "environ", kept | given)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
        monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
        if quota is not None:
            (tmp_path / "cpu.max").write_text(quota)
        threads.choose_threads()
        return {name: os.environ[name] for name in NAMES if name in os.environ}

    return chosen


SLEEP = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize(
    ("quota", "number"),
    [
        (None, {}),
        ("max 100000\n", {}),
        ("800000 100000\n", {}),
        ("350000 100000\n", {"OMP_NUM_THREADS": "3"}),
        ("50000 100000\n", {"OMP_NUM_THREADS": "1"}),
        ("nonsense", {}),
    ],
)
def test_a_containers_quota_bounds_the_threads(chosen, quota, number):
    assert chosen(quota) == SLEEP | number


@pytest.mark.parametrize(
    "given",
    [
        {"OMP_WAIT_POLICY": "active", "OMP_NUM_THREADS": "8"},
        {"GOMP_SPINCOUNT": "9", "OMP_NUM_THREADS": "8"},
    ],
)
def test_what_the_user_has_set_stays(chosen, given):
    assert chosen("100000 100000", **given) == given


def test_only_the_command_line_sets_it():
    code = "import os, sys, esol.stages; print('OMP_WAIT_POLICY' in os.environ);"
    code += "from esol.cli.main import main; main(['--version']); print('torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(os.environ['OMP_WAIT_POLICY'])"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.split()[0] == "False"
    assert done.stdout.split()[-2:] == ["False", "passive"]
