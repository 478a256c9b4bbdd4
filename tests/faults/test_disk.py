"""Disks that are full, too small or read-only: one line, nothing lost, and a run that goes on."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from accelerate import Accelerator
from kills import contents, copied, differences, unlike

from esol.errors import InputError
from esol.label_tools.sources import unpacked
from esol.runs.stages import STAGES
from esol.system.files import append
from esol.training.fit import _Metrics

Refused = Callable[..., str]

ROOM = 12_000
"""Bytes left: for the files that a stage begins with, not for what it makes."""


def finished(run: Path) -> dict[str, bytes]:
    """Files of the finished stages."""
    stages = [
        stage.folder for stage in STAGES.values() if (run / stage.folder / "manifest.json").exists()
    ]
    return {
        name: content
        for name, content in contents(run).items()
        if name.split("/")[0] in stages and not name.endswith("settings.yaml")
    }


def test_a_full_disk_in_every_stage(disk, run, refused: Refused, whole):
    """Before each stage the disk is made so small that the stage does not fit."""
    folder = disk("size=64m") / "run"
    stages = [name for name in STAGES if name != "peer"]
    for stage, following in pairwise([None, *stages]):
        if stage:
            assert run(folder, flags=("--until", stage))["code"] == 0
        before = finished(folder)
        room = shutil.disk_usage(folder.parent).used + ROOM
        disk(f"size={room}")
        message = refused(folder, flags=("--until", following))
        assert str(folder / STAGES[following].folder) in message
        assert "cannot be written" in message
        assert "No space left" in message or "make room" in message
        # Once more: what is finished stays so, and nothing else has become so.
        refused(folder, flags=("--until", following))
        assert differences(before, finished(folder)) == []
        disk("size=64m")
    assert run(folder)["code"] == 0
    assert differences(contents(folder), contents(whole)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", range(500, 20_000, 1_500))
def test_a_disk_of_any_size(kilobytes, disk, run, whole):
    """Each first checkpoint fits, or the second, or the report."""
    folder = disk(f"size={kilobytes}k") / "run"
    answer = run(folder)
    told = (answer["stderr"].splitlines() or [""])[-1]
    print(f"\n{kilobytes} kB: exit code {answer['code']}: {told}")
    if answer["code"]:
        assert answer["code"] == 2
        assert "Traceback" not in answer["stderr"]
        assert str(folder) in told
        assert "cannot be written" in told
        assert ".cc:" not in told, "where PyTorch's source failed tells nobody anything"
    before = finished(folder)
    disk("size=64m")
    assert differences(before, finished(folder)) == []
    assert run(folder)["code"] == 0
    assert differences(contents(folder), contents(whole)) == []


@pytest.mark.parametrize("largest", [3_000, pytest.param(150_000, marks=pytest.mark.slow)])
def test_a_quota_on_files(largest, run, refused: Refused, whole, tmp_path):
    folder = tmp_path / "run"
    message = refused(folder, largest=largest)
    assert str(folder) in message
    assert "cannot be written" in message
    assert run(folder)["code"] == 0
    assert differences(contents(folder), contents(whole)) == []


def test_a_run_folder_that_becomes_read_only(disk, run, refused: Refused, whole):
    folder = copied(whole, disk("size=64m") / "run", "shrink")
    before, until = contents(folder), ("--until", "seeds")
    disk("ro")
    message = refused(folder, flags=until)
    assert str(folder) in message
    assert "Read-only file system" in message
    assert differences(contents(folder), before) == []
    disk("rw")
    assert run(folder, flags=until)["code"] == 0
    assert unlike(folder, whole) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write(refused: Refused, tmp_path):
    tmp_path.chmod(0o555)
    try:
        assert "Permission denied" in refused(tmp_path / "run")
    finally:
        tmp_path.chmod(0o755)


def test_a_user_without_the_right_to_write(tmp_path):
    """As above, where the tests are run by root: the right is given up in a process of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o755)

    code = """if True:
        import os, pathlib, sys
        from esol.system.files import write_atomic
        os.seteuid(65534)
        write_atomic(pathlib.Path(sys.argv[1]) / "a" / "b.txt", "x")"""
    command = [sys.executable, "-c", code, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True).stderr
    # On a line of its own; not the last one where coverage cannot write its file either.
    assert f"\nesol.errors.InputError: {folder}/a/b.txt: cannot be written (Permission" in told
    assert list(folder.iterdir()) == []


def test_data_on_a_read_only_disk_is_enough(disk, run, photos, whole, tmp_path):
    place = disk("size=8m")
    shutil.copytree(photos, place / "photos")
    disk("ro")
    assert run(tmp_path / "run", data=place / "photos")["code"] == 0
    found, expected = contents(tmp_path / "run"), contents(whole)
    # Only where the photos are differs.
    assert differences(found, expected) == ["run.json"]


def test_metrics_written_before_outlive_a_full_disk(disk):
    """They were emptied before they were written anew, and what was in them came never again."""
    path = disk("size=64k") / "metrics.jsonl"
    lines = "".join(f'{{"step": {n}, "loss": 0.5, "rate": 1.0}}\n' for n in range(1, 40))
    path.write_text(lines)
    with pytest.raises(OSError, match="No space"):
        (path.parent / "rest").write_bytes(bytes(200_000))
    with pytest.raises(InputError, match=r"metrics\.jsonl: cannot be written \(No space left"):
        _Metrics.open(path, Accelerator(cpu=True), keep=30, steps=1)
    assert path.read_text() == lines
    with pytest.raises(InputError, match=r"log\.txt: cannot be written \(No space left"):
        append(path.parent / "log.txt", "x" * 5000)


def test_an_archive_that_does_not_fit_where_it_is_unpacked(disk, tmp_path, monkeypatch):
    """The archive was said to be damaged."""
    with zipfile.ZipFile(tmp_path / "masks.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(2_000_000))
    place = disk("size=1m")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(InputError, match=rf"no room to unpack it to {place}: .* set TMPDIR"):
        unpacked(tmp_path / "masks.zip").__enter__()
    # Where what is free is told wrongly, as of quotas.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1 << 40))
    with pytest.raises(InputError, match="no room to unpack it"):
        unpacked(tmp_path / "masks.zip").__enter__()
    assert list(place.iterdir()) == []


def test_no_place_for_temporary_files(monkeypatch, tmp_path):
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="TMPDIR: a temporary folder cannot be created"):
        unpacked(tmp_path / "masks.zip").__enter__()
