"""Two runs of one folder."""

import os
import signal
import subprocess
import sys

import pytest

from esol.config import load_settings
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.lock import OWNER, FolderLock
from esol.stages import run

HOLD = """
import sys, time
from pathlib import Path
from esol.lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
time.sleep(600)
"""


def test_a_second_run_is_told_who_works_on_the_folder(tmp_path):
    write_synthetic(tmp_path / "photos", photos=8, size=32, seed=0, val_fraction=0.5)
    settings = load_settings("demo", "--classify.fit.steps=1", "--input.size=32")
    target = tmp_path / "run"
    lock = FolderLock(target)
    lock.acquire()
    with pytest.raises(InputError, match=rf"run: process {os.getpid()} on .* is working on it"):
        run(settings, tmp_path / "photos", target, last="classify")
    assert [path.name for path in target.iterdir()] == [OWNER]
    lock.release()
    run(settings, tmp_path / "photos", target, last="classify")
    assert not (target / OWNER).exists()


def test_a_killed_process_leaves_no_lock(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on"):
            FolderLock(tmp_path).acquire()
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / OWNER).exists()
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()
    assert not (tmp_path / OWNER).exists()


def test_a_refused_lock_is_not_released(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(InputError):
        second.acquire()
    second.release()
    with pytest.raises(InputError):
        second.acquire()
    first.release()
