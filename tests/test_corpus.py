"""Every kind of the corpus: refused with one line and nothing written, or read rightly."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from corpus import Kind, Place, documents, images, masks, runs, settings, tables, weights
from corpus.finished import odd_run

from esol.__main__ import main
from esol.runfolder import STAGES

KINDS = tuple(
    kind
    for module in (images, masks, tables, documents, settings, weights, runs)
    for kind in module.KINDS
)

PROGRESS = re.compile(rf"({'|'.join(STAGES)})(: done before)?|too few photos to learn from: .*")
"""What commands say on the way."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, on photos of which some are odd."""
    return odd_run(tmp_path_factory.mktemp("corpus"))


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.is_file() or path.is_dir()
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kind(kind: Kind, tmp_path: Path, finished: Path, capsys: pytest.CaptureFixture) -> None:
    place = Place(tmp_path, finished)
    command = [str(part) for part in kind.make(place)]
    before = tree(tmp_path)
    capsys.readouterr()
    code = main(command)
    out, err = capsys.readouterr()
    if kind.then is not None:
        assert code == 0, out + err
        assert not [line for line in err.splitlines() if not PROGRESS.fullmatch(line)]
        kind.then(place)
        return
    assert code == 2, out + err
    errors = [line for line in err.splitlines() if not PROGRESS.fullmatch(line)]
    problems = [line for line in out.splitlines() if line.startswith("problem: ")]
    assert len(errors + problems) == 1, out + err
    (line,) = errors + problems
    assert all(words in line for words in kind.says), line
    after = tree(tmp_path)
    changed = [name for name in {*before, *after} if before.get(name, 0) != after.get(name, 0)]
    assert not [name for name in changed if not any(fnmatch(name, p) for p in kind.leaves)], changed
