"""Run as a program: runs esol in forked processes, and ends them at chosen moments.

It imports what esol needs once, and forks for each job before it has any thread, so that a start
costs milliseconds. Every job is one line of JSON, and so is every answer. A moment is counted in
file operations (opening to write, making, renaming, removing) below a folder, as Python's audit
events tell of them: with one thread, the same count is the same moment.
"""

import itertools
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def change(event: str, details: tuple[Any, ...]) -> str | None:
    """Path that an audit event is about to change, None for any other event."""
    if event == "open" and isinstance(details[0], str | bytes) and details[2] & WRITES:
        return os.fsdecode(details[0])
    if event in CHANGES and isinstance(details[0], str | bytes | os.PathLike):
        # Of a renaming the new name, which is the one that means something.
        return os.fsdecode(details[1 if event == "os.rename" else 0])
    return None


def watch(job: dict[str, Any], tell: int) -> None:
    """Report every change below the run folder, and strike where the job says.

    Its "kill" has a "folder" below the run's and either "count", of changes in there, or "before",
    one of them; and what happens then: "signal", or "move" (a path and its new one).
    """
    run, plan, seen = job["run"], job.get("kill"), 0

    def hook(event: str, details: tuple[Any, ...]) -> None:
        nonlocal plan, seen
        path = change(event, details)
        if path is None or not path.startswith(f"{run}/"):
            return
        short = path.removeprefix(f"{run}/")
        if ".tmp-" in short:
            short = short[: short.index(".tmp-")] + ".tmp"
        os.write(tell, json.dumps([event, short]).encode() + b"\n")
        if plan is None or not short.startswith(plan["folder"]):
            return
        seen += 1
        if seen == plan.get("count") or plan.get("before") == [event, short]:
            act, plan = plan, None
            os.write(tell, b'"killed"\n')
            if "move" in act:
                os.rename(*act["move"])
            else:
                os.kill(os.getpid(), act["signal"])

    sys.addaudithook(hook)


def child(job: dict[str, Any], tell: int) -> int:
    """What happens in the forked process: the command line's own entry, as far as its end."""
    for number, name in ((0, os.devnull), (1, os.devnull), (2, job["stderr"])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags, 0o644), number)
    # A shell's background jobs inherit that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from esol.cli.main import main

    if "largest" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest"], resource.RLIM_INFINITY))
    if job.get("clock") == "back":
        ticks = itertools.count()
        time.time = lambda: 1e9 - 3600 * next(ticks)
    watch(job, tell)
    code = main(job["arguments"])
    sys.stderr.flush()
    return code


def serve(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job: exit code (minus the signal's number), changes, and whether it was killed."""
    hear, tell = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(hear)
        code = 99
        try:
            code = child(job, tell)
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(hear) as stream:
        lines = [json.loads(line) for line in stream if line.endswith("\n")]
    _, status = os.waitpid(pid, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "changes": [line for line in lines if line != "killed"],
        "killed": "killed" in lines,
        "seconds": time.monotonic() - started,
        "stderr": Path(job["stderr"]).read_text(errors="replace"),
    }


if __name__ == "__main__":
    import esol.cli.export
    import esol.cli.main
    import esol.stages  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
