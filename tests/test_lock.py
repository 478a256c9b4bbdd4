"""Two runs of one folder."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys

import pytest

from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.runs.work import OWNER, FolderLock
from esol.settings.load import load_settings
from esol.stages import run

HOLD = """
import sys, time
from pathlib import Path
from esol.runs.work import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
time.sleep(600)
"""


def test_a_second_run_is_told_who_works_on_the_folder(tmp_path):
    write_synthetic(tmp_path / "photos", photos=8, size=32, seed=0, val_fraction=0.5, hard=True)
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


@pytest.mark.parametrize(
    "left",
    [
        "",
        "process 1 on another-machine, since 2020-01-01 00:00\n",
        f"process {os.getpid()} on {platform.node()}, since 2099-01-01 00:00\n",
        "\xff\x00 no text",
    ],
    ids=["nothing", "another machine", "a living process", "no text"],
)
def test_what_is_left_of_an_owner_keeps_nobody_out(tmp_path, left):
    """The number of a killed process may be another one's by now."""
    (tmp_path / OWNER).write_bytes(left.encode("latin-1"))
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert (tmp_path / OWNER).read_text().startswith(f"process {os.getpid()} on ")
    with pytest.raises(InputError, match=f"process {os.getpid()} on"):
        FolderLock(tmp_path).acquire()
    lock.release()
    assert not (tmp_path / OWNER).exists()


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, caplog):
    """It was an error without a name."""

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()
    assert "no locks (No locks available)" in caplog.text
    assert not (tmp_path / OWNER).exists()


def test_the_lock_is_open_for_writing_as_nfs_asks(tmp_path, monkeypatch):
    """NFS answers EBADF to an exclusive lock on what is open for reading, as any folder is."""

    def nfs(handle, operation):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", nfs)
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_anew(tmp_path, monkeypatch):
    flock, calls = fcntl.flock, []

    def late(handle, operation):
        if not calls:
            # Its owner has just gone, and a third process come.
            (tmp_path / OWNER).unlink()
        calls.append(handle)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert len(calls) == 2
    assert (tmp_path / OWNER).read_text().startswith("process ")
    with pytest.raises(InputError, match="is working on it"):
        FolderLock(tmp_path).acquire()
    lock.release()


def test_a_link_in_the_place_of_the_owner_is_not_written_through(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run" / OWNER).symlink_to(tmp_path / "mine.txt")
    with pytest.raises(InputError, match=r"\.owner: cannot be written"):
        FolderLock(tmp_path / "run").acquire()
    assert (tmp_path / "mine.txt").read_text() == "mine"


FORK = """
import os
hear, tell = os.pipe()
child = os.fork()
if child:
    os.read(hear, 1)
    print(child, flush=True)
else:
    os.write(tell, b"x")
time.sleep(600)
"""


def test_loaders_do_not_inherit_the_lock(tmp_path):
    """Killed, their run is gone, and they live on for seconds."""
    command = [sys.executable, "-c", HOLD.replace("time.sleep(600)", FORK), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(InputError, match=f"process {holder.pid} on"):
                FolderLock(tmp_path).acquire()
            holder.kill()
            holder.wait()
            os.kill(child, 0)
            lock = FolderLock(tmp_path)
            lock.acquire()
            lock.release()
        finally:
            os.kill(child, signal.SIGKILL)
