"""Which files are a stage's outputs, their digest, and those that a power cut has shortened."""

import hashlib
import json
import shutil

import pytest

from esol.runs.manifest import NOT_OUTPUTS, SIZES, count, digest, outputs, remove_cut, write_sizes

FILES = {"a.bin": b"one", "maps/b.npz": b"seven b", "maps/deep/c.png": b""}
OTHERS = (
    *NOT_OUTPUTS,
    ".tmp-half",
    "maps/.tmp-half",
    "checkpoint-00000012/state.bin",
    "maps/checkpoint-00000012/deep/state.bin",
)
# Names of photos that only look like those of checkpoints.
PHOTOS = ("checkpoint-00000012.jpg", "checkpoint-3/a.jpg", "maps/identity.json")


@pytest.fixture
def folder(tmp_path):
    for name in (*OTHERS, *PHOTOS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 5)
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_outputs_are_all_files_but_records_checkpoints_and_leftovers(folder):
    found = dict(outputs(folder))
    assert list(found) == sorted((*FILES, *PHOTOS), key=lambda name: (folder / name).parts)
    assert all(path == folder / name for name, path in found.items())
    assert count(folder) == {"files": 6, "bytes": 3 + 7 + 0 + 3 * 5}


def test_digest_is_that_of_names_and_contents(folder):
    whole = hashlib.sha256()
    for name, path in outputs(folder):
        whole.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    before = digest(folder)
    assert before == {**count(folder), "sha256": whole.hexdigest()}
    (folder / "log.txt").write_text("longer than before")
    assert digest(folder) == before
    (folder / "a.bin").write_bytes(b"two")
    other = digest(folder)
    assert (other["bytes"], other["sha256"]) != (before["bytes"], before["sha256"])
    (folder / "a.bin").write_bytes(b"one")
    (folder / "a.bin").rename(folder / "z.bin")
    assert digest(folder)["sha256"] != before["sha256"]


def test_outputs_of_another_size_than_noted_are_removed(folder):
    write_sizes(folder)
    noted = json.loads((folder / SIZES).read_text())
    assert noted == {name: path.stat().st_size for name, path in outputs(folder)}
    assert remove_cut(folder) == []
    (folder / "a.bin").write_bytes(b"on")
    (folder / "maps/b.npz").write_bytes(b"")
    (folder / "maps/new.npz").write_bytes(b"not noted, so not known to be cut")
    (folder / "maps/deep/c.png").unlink()
    kept = set(dict(outputs(folder))) - {"a.bin", "maps/b.npz"}
    assert remove_cut(folder) == ["a.bin", "maps/b.npz"]
    assert set(dict(outputs(folder))) == kept
    assert "maps/new.npz" in kept
    assert all((folder / name).exists() for name in OTHERS)


def test_without_noted_sizes_nothing_is_removed(folder):
    (folder / SIZES).unlink()
    before = digest(folder)
    assert remove_cut(folder) == []
    (folder / SIZES).write_text("{half")
    assert remove_cut(folder) == []
    assert digest(folder) == before
    shutil.rmtree(folder / "maps")
    assert remove_cut(folder) == []
