"""A run killed at any moment, and started again, is the run that was not killed, byte for byte."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from kills import FLAGS, SIGNALS, SMOKE, Server, contents, differences, kill_all, plans

from esol.runs.stages import STAGES
from esol.runs.work import FolderLock

METHODS = {
    "esol": [],
    "sccam": ["--method", "sccam", "--sccam.rounds", "2", "--sccam.clusters", "2"],
    "drs": ["--method", "drs", "--drs.fit.steps", "4"],
    "lpcam": ["--method", "lpcam", "--lpcam.clusters", "2"],
}


def killed_and_whole(
    killer: Server, photos: Path, tmp_path: Path, method: str, stages: list[str], each: int
) -> Counter[tuple[str, str]]:
    """Kill a run of a method ``each`` times in every one of the stages; compare it."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    given = ["run", SMOKE, str(photos)]
    more = [*FLAGS, *METHODS[method]]
    if "evaluate" not in stages:
        more += ["--until", stages[-1]]
    once = killer.call(whole, [*given, str(whole), *more])
    assert once["code"] == 0, once["stderr"]
    moments = plans(stages, once["changes"], each, random.Random(0))
    kills = kill_all(killer, killed, [*given, str(killed), *more], moments)
    assert differences(contents(killed), contents(whole)) == []
    assert not list(killed.rglob(".tmp-*"))
    assert not list(killed.rglob("*checkpoint-*"))
    return Counter(kills)


ALL = [stage for stage in STAGES if stage != "peer"]


def test_one_kill_in_each_stage(killer: Server, photos: Path, tmp_path: Path) -> None:
    kills = killed_and_whole(killer, photos, tmp_path, "esol", ALL, each=1)
    assert [stage for stage, _ in kills] == ALL
    assert len({name for _, name in kills}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sccam", "drs", "lpcam"])
def test_kills_in_the_stage_of_other_methods(
    killer: Server, photos: Path, tmp_path: Path, method: str
) -> None:
    killed_and_whole(killer, photos, tmp_path, method, ["peer"], each=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "stages", "each"),
    [("esol", ALL, 4), ("sccam", ["classify", "peer", "cams"], 4), ("drs", ["peer", "cams"], 6)],
)
def test_many_kills(
    killer: Server, photos: Path, tmp_path: Path, method: str, stages: list[str], each: int
) -> None:
    """60 kills in all; the figures are in docs/robustness.md."""
    started = time.monotonic()
    kills = killed_and_whole(killer, photos, tmp_path, method, stages, each)
    assert sum(kills.values()) == each * len(stages)
    print(f"\n{method}: {sum(kills.values())} kills in {time.monotonic() - started:.0f} s")
    for (stage, name), number in sorted(kills.items()):
        print(f"  {stage:10} {name:8} {number}")


def started(photos: Path, run: Path, *flags: str) -> "subprocess.Popen[bytes]":
    """A run as a user starts it."""
    # An ignored Ctrl-C would be inherited: pytest may itself be a background job.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "esol", "run", SMOKE, str(photos), str(run), *FLAGS, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_files(run: Path, process: "subprocess.Popen[bytes]", count: int) -> None:
    """Wait until the run has written so many files, or has ended."""

    def state() -> set[tuple[str, int]]:
        # os.walk and not rglob, which fails when a folder vanishes under it.
        found = set()
        for folder, _, names in os.walk(run):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    found.add((name, os.stat(os.path.join(folder, name)).st_mtime_ns))
        return found

    seen, limit = state(), time.monotonic() + 120
    new = 0
    while process.poll() is None and new < count and time.monotonic() < limit:
        now = state()
        new += len(now - seen)
        seen |= now
        time.sleep(0.005)


def killed_from_outside(
    photos: Path, run: Path, signals: Sequence[signal.Signals], most: int
) -> int:
    """Start a run for each signal, which it gets after 2 .. ``most`` files; how many hit it."""
    rng, kills = random.Random(0), 0
    for number in signals:
        with started(photos, run) as process:
            wait_for_files(run, process, rng.randint(2, most))
            process.send_signal(number)
            code = process.wait()
        # On a slow machine the run may end first, or be writing its report.
        if code == 0 or (run / STAGES["evaluate"].folder / "manifest.json").exists():
            break
        kills += 1
    return kills


def test_the_commands_own_process_is_killed(photos: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    signals = (signal.SIGKILL, signal.SIGINT)
    assert killed_from_outside(photos, run, signals, 60) == 2
    with started(photos, run) as process:
        assert process.wait() == 0
    assert differences(contents(run), contents(whole)) == []


@pytest.mark.slow
def test_the_commands_own_process_is_killed_often(
    photos: Path, whole: Path, tmp_path: Path
) -> None:
    """12 kills at moments that no count of changes chooses."""
    run = tmp_path / "run"
    kills = killed_from_outside(photos, run, 4 * list(SIGNALS), 60)
    assert kills >= 8
    print(f"\nfrom outside: {kills} kills")
    with started(photos, run) as process:
        assert process.wait() == 0
    assert differences(contents(run), contents(whole)) == []


@pytest.mark.slow
def test_a_killed_run_with_loaders_can_be_started_again_at_once(
    photos: Path, whole: Path, tmp_path: Path
) -> None:
    """Loader processes, which outlive it by seconds, held its lock."""
    run = tmp_path / "run"
    flags = ("--machine.workers", "2", "--until", "classify")
    with started(photos, run, *flags) as process:
        checkpoint = run / STAGES["classify"].folder / "checkpoint-00000002"
        limit = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    lock = FolderLock(run)
    lock.acquire()
    lock.release()
    with started(photos, run, *flags) as process:
        assert process.wait() == 0
    name = f"{STAGES['classify'].folder}/classifier.safetensors"
    assert (run / name).read_bytes() == (whole / name).read_bytes()
