"""Kills: the server of killed runs as a Python object, plans, and what a run folder holds."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.runs.stages import STAGES

SMOKE = str(Path(__file__).parents[1] / "smoke.yaml")
FLAGS = [
    *("--machine.checkpoint_seconds", "0", "--machine.device", "cpu"),
    *("--expand.fit.steps", "3", "--shrink.fit.steps", "3", "--segment.fit.steps", "3"),
]
"""A checkpoint after every step: a kill may fall into its writing."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

ENDS = {signal.SIGKILL: {-9}, signal.SIGTERM: {-15, 130}, signal.SIGINT: {130}}
"""Exit codes that a signal may lead to: a training takes SIGTERM for Ctrl-C, and saves first."""

NOT_COMPARED = ("log.txt", "report.html")
"""Files that tell times. Of manifests the record is left out, which has times and memory."""

LAST = 6
"""As many of the last changes of a stage are where its last kill may fall."""


@dataclass
class Server:
    """Runs commands in forks of a process that has imported esol."""

    process: "subprocess.Popen[str]"
    errors: Path

    def call(
        self, run: Path, arguments: list[str], kill: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """Run a command to its end, or until it is killed.

        Args:
            run: folder whose changes count.
            arguments: of the command line.
            kill: see ``killer.watch``.
            more: ``largest`` file in bytes; ``clock`` "back": it goes back at every look.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"run": str(run), "arguments": arguments, "stderr": str(self.errors), "kill": kill}
        job |= more
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """A server, whose standard error goes to a file of the folder."""
    command = [sys.executable, str(Path(__file__).with_name("killer.py"))]
    # One thread: only then is a count of changes a moment, and may a process be forked.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:  # type: ignore[call-overload]
        yield Server(process, folder / "errors.txt")
        process.stdin.close()


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run folder, but for what tells of time."""
    found = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name in NOT_COMPARED:
            continue
        if path.name == "manifest.json":
            manifest = json.loads(content)
            del manifest["record"]
            content = json.dumps(manifest, sort_keys=True).encode()
        found[path.relative_to(run).as_posix()] = content
    return found


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of files that differ, or that only one has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def copied(whole: Path, run: Path, until: str) -> Path:
    """A run folder that has come as far as a stage."""
    names = [stage.folder for stage in STAGES.values()]
    for folder in names[: names.index(STAGES[until].folder) + 1]:
        if (whole / folder).exists():
            shutil.copytree(whole / folder, run / folder)
    return run


def unlike(run: Path, whole: Path) -> list[str]:
    """Names of files of a run's stages, all finished, that differ from those of another run."""
    stages = [stage.folder for stage in STAGES.values() if (run / stage.folder).exists()]
    assert all((run / folder / "manifest.json").exists() for folder in stages)
    one, other = (
        {name: file for name, file in contents(each).items() if name.split("/")[0] in stages}
        for each in (run, whole)
    )
    return differences(one, other)


def plans(
    stages: list[str], changes: list[list[str]], each: int, rng: random.Random
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Moments to kill a run at, in order: so many in each stage, the last near the stage's end.

    Args:
        stages: in the order in which they run.
        changes: those of an uninterrupted run.
        each: kills in a stage, at least 1.
        rng: of the moments.
    """
    number = rng.randrange(len(SIGNALS))
    for stage in stages:
        folder = f"{STAGES[stage].folder}/"
        mine = [change for change in changes if change[1].startswith(folder)]
        for kill in range(each):
            number += 1
            plan: dict[str, Any] = {"folder": folder, "signal": SIGNALS[number % len(SIGNALS)]}
            if kill < each - 1:
                # What is done before a kill is not done again: all of these moments will come.
                plan["count"] = rng.randint(1, max(1, len(mine) // (each + 1)))
            else:
                plan["before"] = rng.choice(mine[-LAST:])
            yield stage, plan


def kill_all(
    server: Server,
    run: Path,
    arguments: list[str],
    moments: Iterator[tuple[str, dict[str, Any]]],
) -> list[tuple[str, str]]:
    """Start a run again and again, each time killed at the next moment; then to its end.

    Returns:
        Stage and signal of every kill.
    """
    told = []
    for stage, plan in moments:
        answer = server.call(run, arguments, plan)
        assert answer["killed"], (stage, plan, answer["code"], answer["stderr"])
        assert answer["code"] in ENDS[plan["signal"]], (stage, plan, answer)
        assert "Traceback" not in answer["stderr"], (stage, plan, answer["stderr"])
        told.append((stage, signal.Signals(plan["signal"]).name))
    last = server.call(run, arguments)
    assert last["code"] == 0, last["stderr"]
    return told
