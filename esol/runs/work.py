"""Working in a run folder: its lock, and entering a stage, which may be done, whole or in parts."""

import errno
import json
import logging
import os
import platform
import resource
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from esol.errors import InputError
from esol.runs.folder import IDENTITY, MANIFEST, SETTINGS, RunFolder, read_record
from esol.runs.manifest import (
    count,
    digest,
    first_difference,
    only,
    provenance,
    remove_cut,
    write_sizes,
)
from esol.runs.stages import STAGES
from esol.system.distributed import all_from_main, all_wait, main_process, processes
from esol.system.files import (
    TEMPORARY,
    append,
    make_folder,
    remove_folder,
    write_atomic,
    write_json,
    written,
)
from esol.system.progress import headline, log

OWNER = ".owner"
"""File in a locked folder that is locked, and says who works there."""

_held: set[BaseFileLock] = set()
"""Locks of this process: one that nobody refers to would release itself."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Part:
    """Outputs that depend on a part of their stage's identity only.

    A key that is missing in ``reads`` would let outputs pass for those of other settings: a test
    compares the keys of real identities with these lists.

    Attributes:
        files: names at the top of the stage's folder; "*" matches anything.
        reads: keys of the identity that these outputs depend on, a group ("head") or a setting in
            it ("refine.walk").
    """

    files: tuple[str, ...]
    reads: tuple[str, ...]


@dataclass
class OpenStage:
    """A stage being worked on.

    Attributes:
        name: stage name.
        path: its folder.
        identity: everything its outputs depend on, as nested plain values.
        results: numbers for the manifest, filled in by the stage.
    """

    name: str
    path: Path
    identity: Mapping[str, Any]
    results: dict[str, Any] = field(default_factory=dict)


class FolderLock:
    """A lock on a folder, which the system takes back when its process ends, however it ends.

    The text in the file is informational: only the kernel's lock counts, not what a killed process
    or another machine left there.

    Args:
        folder: created if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / OWNER, thread_local=False)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: another process has it; the message says which. Or nothing can be written.
        """
        make_folder(self.folder)
        path = self.folder / OWNER
        with written(path):
            try:
                # Long enough to try again where the owner removes the file while we open it.
                self._lock.acquire(timeout=0.2)
            except Timeout as error:
                raise InputError(
                    f"{self.folder}: {self._owner()} is working on it; wait, or name another folder"
                ) from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                log.warning(
                    "%s: its file system has no locks (%s); let no other process work there",
                    *(self.folder, error.strerror),
                )
            _held.add(self._lock)
            now = time.strftime("%Y-%m-%d %H:%M")
            path.write_text(f"process {os.getpid()} on {platform.node()}, since {now}\n")

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        if self._lock in _held:
            _held.discard(self._lock)
            # In a folder that has become read-only, who it was stays written.
            with suppress(OSError):
                (self.folder / OWNER).unlink(missing_ok=True)
            self._lock.release()

    def _owner(self) -> str:
        try:
            text = (self.folder / OWNER).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            text = ""
        # The owner has the lock, and has not yet written who it is.
        return text or "another process"


class OtherSettingsError(InputError):
    """A folder holds work of another identity.

    Attributes:
        conflict: the folder, and the first difference.
    """

    def __init__(self, conflict: str, advice: str) -> None:
        super().__init__(f"{conflict}; {advice}")
        self.conflict = conflict


@contextmanager
def work_on(
    run: RunFolder,
    name: str,
    identity: Mapping[str, Any],
    *,
    overwrite: bool = False,
    settings: str = "",
    parts: Sequence[Part] = (),
) -> Iterator[OpenStage | None]:
    """Enter a stage's folder; yields None where the same work is already finished.

    An unfinished folder of the same identity is entered as it is, so that the stage can go on
    from its checkpoints. A folder of another identity is entered with ``overwrite`` only, after
    the outputs that depend on the difference are removed. The manifest is written on leaving
    without an exception.

    All processes of a run enter and leave together. The main one looks at the folder, clears it and
    writes the manifest.

    Args:
        run: run folder.
        name: stage name.
        identity: everything that the stage's outputs depend on.
        overwrite: replace work of another identity.
        settings: all settings as YAML, kept beside the outputs for the reader.
        parts: outputs that stay when what they depend on is unchanged; all others are removed.

    Raises:
        OtherSettingsError: the folder was made from something else.
        InputError: the folder holds files of no stage, or is damaged.
    """
    path = run.stage(name)
    stage = OpenStage(name, path, plain_identity(name, identity))
    if not all_from_main(lambda: _enter(run, stage, overwrite, settings, parts)):
        yield None
        return
    started = time.monotonic()
    with _log_to(path / "log.txt") if main_process() else nullcontext():
        yield stage
    all_wait()
    if main_process():
        _write_manifest(stage, started)
    all_wait()


def plain_identity(name: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's whole identity in JSON's own types, as it is read back."""
    whole = {"stage": name, "version": STAGES[name].version, **identity}
    plain: dict[str, Any] = json.loads(json.dumps(whole))
    return plain


def check_same(
    path: Path, name: str, difference: str, kept: Sequence[str], *, overwrite: bool
) -> None:
    """Refuse to replace work of another identity unasked.

    Args:
        path: the stage's folder.
        name: the stage.
        difference: of the identities, "" if they are equal.
        kept: what would stay.
        overwrite: whether it was asked for.

    Raises:
        OtherSettingsError: the identities differ, and the work is neither to be replaced nor of a
            stage that is renewed in any case.
    """
    if difference and not overwrite and not STAGES[name].renewed:
        keeping = f", which keeps {', '.join(kept)}" if kept else ""
        raise OtherSettingsError(
            f"{path} was made with {difference}",
            f"use another folder, or --overwrite{keeping}",
        )


def check_own(path: Path) -> None:
    """Refuse a stage's folder that has no identity, but files of something else."""
    entries = path.iterdir() if path.exists() else ()
    if not all(entry.name.startswith(TEMPORARY) for entry in entries):
        raise InputError(f"{path} holds files of something else; use another folder")


def _enter(
    run: RunFolder, stage: OpenStage, overwrite: bool, settings: str, parts: Sequence[Part]
) -> bool:
    """Make the stage's folder ready; returns whether there is work to do."""
    path, identity = stage.path, stage.identity
    remove_leftovers(run.path)
    remove_leftovers(path)
    if (path / IDENTITY).is_file():
        old_identity = read_record(path / IDENTITY)
        difference = first_difference(old_identity, identity)
        kept = unchanged(path, parts, old_identity, identity) if difference else []
        check_same(path, stage.name, difference, kept, overwrite=overwrite)
        if difference:
            if not overwrite:
                log.info("%s: anew, as it was made with %s", stage.name, difference)
            _clear(path, kept)
        elif is_whole(path):
            log.info("%s: done before", stage.name)
            return False
        else:
            _prepare_rest(path)
    else:
        check_own(path)
    make_folder(path)
    log.info("%s", headline(stage.name, STAGES[stage.name].purpose))
    write_json(path / IDENTITY, identity)
    write_atomic(path / SETTINGS, settings)
    return True


def _write_manifest(stage: OpenStage, started: float) -> None:
    # Only now: a finished run is recognised without it.
    import torch

    if not (stage.path / IDENTITY).is_file():
        raise InputError(
            f"{stage.path} was removed during the run; remove what is left of it, and run again"
        )
    write_sizes(stage.path)
    write_json(
        stage.path / MANIFEST,
        {
            "identity": stage.identity,
            "outputs": digest(stage.path),
            "results": stage.results,
            "record": {
                **provenance(),
                "processes": processes(),
                "threads": torch.get_num_threads(),
                "seconds": round(time.monotonic() - started, 1),
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            },
        },
        sync=True,
    )


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Write what is logged to a file too, after what earlier attempts wrote."""
    handler = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _LogFile(logging.Handler):
    """Adds lines to a file. Logging's own would print a traceback where it cannot, and go on."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        append(path, "")

    def emit(self, record: logging.LogRecord) -> None:
        append(self.path, f"{self.format(record)}\n")


def unchanged(
    path: Path, parts: Sequence[Part], old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[str]:
    """Names at the top of a stage's folder that are as good for one identity as for the other."""
    patterns = [
        pattern
        for part in parts
        if only(old, part.reads) == only(new, part.reads)
        for pattern in part.files
    ]
    # What is behind a link belongs to another run.
    return [] if path.is_symlink() else sorted({p.name for g in patterns for p in path.glob(g)})


def _clear(path: Path, kept: Sequence[str]) -> None:
    """Remove a stage's files except those to be kept.

    The manifest goes first and the identity stays until the next one is written over it: a kill in
    between leaves the unfinished work of the old identity, less some files.
    """
    if path.is_symlink():
        path.unlink()
        return
    (path / MANIFEST).unlink(missing_ok=True)
    stay = {*kept, IDENTITY, *(["log.txt"] if kept else [])}
    for entry in [entry for entry in path.iterdir() if entry.name not in stay]:
        if entry.is_dir() and not entry.is_symlink():
            remove_folder(entry)
        else:
            entry.unlink()
    if kept:
        log.info("%s: kept %s", path, ", ".join(kept))


def is_whole(path: Path) -> bool:
    """Whether a stage is finished and none of its files was removed or cut since."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        return False
    recorded, outputs = read_record(manifest)["outputs"], count(path)
    return outputs == {name: recorded[name] for name in outputs}


def _prepare_rest(path: Path) -> None:
    """Make a stage ready to go on; of a finished one, files were removed or changed."""
    if not (path / MANIFEST).is_file():
        return
    log.warning("%s: files were removed or changed since it was finished; working on it", path)
    (path / MANIFEST).unlink()
    # Existing files are not made again, so cut files must go.
    if cut := remove_cut(path):
        log.warning("%s: %d files of another size are made again, first %s", path, len(cut), cut[0])


def remove_leftovers(path: Path) -> None:
    """Remove files and folders that a killed run left under temporary names.

    Looks through a stage's folder, and at the top of a run's.
    """
    stage = path.name in {stage.folder for stage in STAGES.values()}
    leftovers = path.rglob(f"{TEMPORARY}*") if stage else path.glob(f"{TEMPORARY}*")
    for leftover in list(leftovers):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
