"""Every kind of the corpus: refused with one line and nothing written, or read rightly."""

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from corpus import (
    Kind,
    Place,
    archives,
    documents,
    images,
    layouts,
    masks,
    packed,
    runs,
    settings,
    tables,
    weights,
)
from corpus.finished import odd_run

from esol.cli.main import main
from esol.runs.stages import STAGES
from esol.settings.load import Parser, settings_parser

KINDS = tuple(
    kind
    for module in (
        images,
        masks,
        tables,
        layouts,
        packed,
        documents,
        settings,
        weights,
        runs,
        archives,
    )
    for kind in module.KINDS
)

CHILDREN = ("photo: zero bytes", "settings: bomb of aliases in a setting", "model: a pickle")


PARSERS: dict[str, Parser] = {}

PROGRESS = re.compile(
    rf"(stage \d+ of \d+: )?({'|'.join(STAGES)}): .*|(done before|to do): .*|list '.*': .*"
)
"""What commands say on the way."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, on photos of which some are odd."""
    return odd_run(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def _one_parser_per_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building the parser of all settings takes longer than most kinds."""

    def built(command: str, *texts: str, **options: Any) -> Parser:
        if command not in PARSERS:
            PARSERS[command] = settings_parser(command, *texts, **options)
        return PARSERS[command]

    monkeypatch.setattr("esol.cli.main.settings_parser", built)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.is_file() or path.is_dir()
    }


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.slow], ids=attrgetter("name"))
def test_kind(kind: Kind, tmp_path: Path, finished: Path, capsys: pytest.CaptureFixture) -> None:
    def called(command: list[str]) -> tuple[int, str, str]:
        capsys.readouterr()
        return (main(command), *capsys.readouterr())

    examine(kind, Place(tmp_path, finished), called)


@pytest.mark.parametrize("name", CHILDREN)
def test_kind_in_a_process_of_its_own(name: str, tmp_path: Path, finished: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == name)
    examine(kind, Place(tmp_path, finished), in_child)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.slow], ids=attrgetter("name"))
def test_large_kind(kind: Kind, tmp_path: Path, finished: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    examine(kind, Place(tmp_path, finished), in_child)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, mebibytes = used.ru_utime - before, used.ru_maxrss / 1024
    print(f"{kind.name}: {seconds:.0f} s of one core, {mebibytes:.0f} MiB")
    assert seconds < 120
    assert mebibytes < 4096


def in_child(command: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "esol", *command], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def examine(kind: Kind, place: Place, call: Callable[[list[str]], tuple[int, str, str]]) -> None:
    """Make a kind, call its command line, and look at what came of it."""
    command = [str(part) for part in kind.make(place)]
    before = tree(place.folder)
    code, out, err = call(command)
    if kind.then is not None:
        assert code == 0, out + err
        told = [line for line in err.splitlines() if not line.startswith("backbone")]
        assert not [line for line in told if not PROGRESS.fullmatch(line)]
        kind.then(place)
        return
    assert code == 2, out + err
    errors = [line for line in err.splitlines() if not PROGRESS.fullmatch(line)]
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(errors + problems) == 1, out + err
    (line,) = errors + problems
    assert all(words in line for words in kind.says), line
    after = tree(place.folder)
    changed = [name for name in {*before, *after} if before.get(name, 0) != after.get(name, 0)]
    assert not [name for name in changed if not any(fnmatch(name, p) for p in kind.leaves)], changed
