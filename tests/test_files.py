"""Whole files or none; JSON that repeats byte for byte."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from esol.errors import InputError
from esol.system.files import TEMPORARY, atomic, new_folder, sha256, write_atomic, write_json
from esol.system.read import read_json


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "cats" / "a.txt"
    write_atomic(path, "é\r\n")
    assert path.read_bytes() == b"\xc3\xa9\r\n"
    write_atomic(path, b"\x00", sync=True)
    assert path.read_bytes() == b"\x00"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_block_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    block = atomic(path)
    temporary = block.__enter__()
    assert temporary.parent == path.parent
    assert temporary.suffix == ".bin"
    assert temporary.name.startswith(TEMPORARY)
    temporary.write_bytes(b"new, unfinished")
    assert path.read_bytes() == b"old"
    stop = RuntimeError("half way")
    assert not block.__exit__(RuntimeError, stop, None)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_folder_is_filled_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"

    def stopped(folder: Path) -> None:
        write_atomic(folder / "cats" / "1.txt", "x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), new_folder(path) as folder:
        stopped(folder)
    assert not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    with pytest.raises(KeyboardInterrupt), new_folder(path) as folder:
        stopped(folder)
    assert list(path.iterdir()) == []
    with new_folder(path) as folder:
        write_atomic(folder / "cats" / "1.txt", "x")
        assert not (path / "cats").exists()
    assert [file.relative_to(path).as_posix() for file in path.rglob("*")] == ["cats", "cats/1.txt"]
    with pytest.raises(InputError, match="not an empty folder"), new_folder(path):
        pass
    with pytest.raises(InputError, match="not an empty folder"), new_folder(path / "cats/1.txt"):
        pass


def test_the_longest_name_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".npz")
    write_atomic(path, b"x")
    assert path.read_bytes() == b"x"


def test_unwritable_places_are_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "below.txt", tmp_path):
        with pytest.raises(InputError) as caught:
            write_atomic(path, b"x")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_json_is_sorted_and_knows_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = {
        "b": np.float32(0.5),
        "a": [float("nan"), np.array([1.0, np.nan])],
        "p": Path("x/y"),
        "n": np.int64(3),
        "t": (True, None, "ü"),
    }
    write_json(path, content)
    text = path.read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["a", "b", "n", "p", "t"]
    assert json.loads(text) == {
        "a": [None, [1.0, None]],
        "b": 0.5,
        "n": 3,
        "p": "x/y",
        "t": [True, None, "ü"],
    }
    assert "NaN" not in text
    write_json(tmp_path / "b.json", dict(reversed(content.items())))
    assert (tmp_path / "b.json").read_bytes() == path.read_bytes()
    assert read_json(path) == json.loads(text)


def test_json_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": float("inf")})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe\x00"])
def test_unreadable_json_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(path)


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = bytes(range(256)) * 9000
    path.write_bytes(data)
    assert sha256(path) == hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match="missing"):
        sha256(tmp_path / "missing")
