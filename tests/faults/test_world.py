"""What changes around a run: photos that vanish, a clock that goes back, streams that close."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kills import SMOKE, contents, copied, differences, unlike

import esol
from esol.runs.manifest import outputs
from esol.runs.stages import STAGES

Refused = Callable[..., str]


@pytest.fixture
def data(photos: Path, tmp_path: Path) -> Path:
    """Photos that a test may lose."""
    return Path(shutil.copytree(photos, tmp_path / "data"))


def vanishing(data: Path, stage: str, count: int) -> dict[str, object]:
    """The data folder is moved away at a change of a stage."""
    moved = [str(data), f"{data}-away"]
    return {"folder": f"{STAGES[stage].folder}/", "count": count, "move": moved}


@pytest.mark.parametrize(("stage", "count"), [("classify", 25), ("cams", 40), ("refine", 30)])
def test_photos_that_vanish_in_the_middle(stage, count, data, run, refused: Refused, whole):
    folder, until = data.parent / "run", ("--until", stage)
    if stage != "classify":
        before = {"cams": "shrink", "refine": "seeds"}
        copied(whole, folder, before[stage])
    message = refused(folder, data=data, kill=vanishing(data, stage, count), flags=until)
    assert str(data) in message
    os.rename(f"{data}-away", data)
    assert run(folder, data=data, flags=until)["code"] == 0
    assert unlike(folder, whole) == []


def test_masks_that_vanish_before_they_are_measured(data, run, refused: Refused, whole):
    folder = copied(whole, data.parent / "run", "segment")
    away = [str(data / "masks"), f"{data}-masks"]
    kill = {"folder": f"{STAGES['evaluate'].folder}/", "count": 3, "move": away}
    assert f"{data}/masks" in refused(folder, data=data, kill=kill)
    os.rename(*reversed(away))
    assert run(folder, data=data)["code"] == 0
    assert differences(contents(folder), contents(whole)) == ["run.json"]


def test_a_stage_folder_that_is_moved_away_is_not_finished_without_its_files(run, whole, tmp_path):
    """Its new folder got the manifest, over the few files written since."""
    folder, until = copied(whole, tmp_path / "run", "shrink"), ("--until", "cams")
    away = [str(folder / STAGES["cams"].folder), str(tmp_path / "away")]
    kill = {"folder": f"{STAGES['cams'].folder}/", "count": 60, "move": away}
    answer = run(folder, kill=kill, flags=until)
    assert answer["code"] == 2
    assert "was removed during the run" in answer["stderr"].splitlines()[-1]
    assert not (folder / STAGES["cams"].folder / "manifest.json").exists()
    shutil.rmtree(folder / STAGES["cams"].folder)
    assert run(folder, flags=until)["code"] == 0
    assert unlike(folder, whole) == []


@pytest.mark.parametrize("name", ["05-seeds", "05-seeds/identity.json", "05-seeds/log.txt"])
def test_a_folder_where_a_file_belongs_or_the_other_way_round(
    name, run, refused: Refused, whole, tmp_path
):
    folder, until = copied(whole, tmp_path / "run", "cams"), ("--until", "seeds")
    target = folder / name
    target.parent.mkdir(exist_ok=True)
    if target.suffix:
        target.mkdir()
    else:
        target.write_text("a file")
    assert str(folder / "05-seeds") in refused(folder, flags=until)
    target.rmdir() if target.suffix else target.unlink()
    assert run(folder, flags=until)["code"] == 0
    assert unlike(folder, whole) == []


def test_cut_and_removed_outputs_are_made_again(run, whole, tmp_path):
    """A cut file was kept, and counted as finished the next time."""
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    masks = sorted((folder / STAGES["seeds"].folder).rglob("*.png"))
    masks[0].write_bytes(masks[0].read_bytes()[:40])
    masks[1].unlink()
    weights = folder / STAGES["segment"].folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    answer = run(folder)
    assert answer["code"] == 0, answer["stderr"]
    assert "files were removed or changed" in answer["stderr"]
    assert differences(contents(folder), contents(whole)) == []


def test_a_photo_called_like_a_checkpoint_has_outputs(tmp_path):
    """Its masks were no part of the digest, and could change unnoticed."""
    for name in (
        "checkpoint-3.png",
        "checkpoint-shots/1.png",
        "checkpoint-00000003/state",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [name for name, _ in outputs(tmp_path)]
    assert found == ["checkpoint-3.png", "checkpoint-shots/1.png"]


def test_a_clock_that_goes_back(run, whole, tmp_path):
    folder = copied(whole, tmp_path / "run", "shrink")
    for path in folder.rglob("*"):
        os.utime(path, (4e9, 4e9))
    answer = run(folder, clock="back")
    assert answer["code"] == 0, answer["stderr"]
    assert answer["stderr"].count("done before") == 3
    assert differences(contents(folder), contents(whole)) == []
    for manifest in folder.glob("*/manifest.json"):
        assert json.loads(manifest.read_text())["record"]["seconds"] >= 0


def test_durations_are_taken_from_a_clock_that_cannot_go_back():
    calls = {
        f"{node.func.value.id}.{node.func.attr}"
        for path in Path(esol.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
    }
    assert "time.monotonic" in calls
    assert calls.isdisjoint({"time.time", "time.time_ns", "datetime.now", "datetime.today"})


def esol_command(*arguments: str, shell: str) -> "subprocess.CompletedProcess[str]":
    """A command as a shell starts it; ``shell`` says what becomes of its streams."""
    text = f'"$0" -m esol "$@" {shell}'
    command = ["bash", "-c", text, sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_closed_and_full_streams(photos: Path):
    check = ("check", SMOKE, str(photos))
    # `flush` of a standard output that is not there was a traceback.
    done = esol_command(*check, shell=">&- <&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = esol_command("check", "nowhere", shell="2>&-")
    assert (done.returncode, done.stdout) == (2, "")
    done = esol_command(*check, shell=">/dev/full")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "esol: standard output, or a file that is read: No space left on device"
    ]
    # The code was 1, from the library that prints.
    done = esol_command(*check, shell="| true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (141, "")


def test_a_run_outlives_the_reader_of_its_log(photos: Path, tmp_path: Path):
    """Lines of progress go to a pipe whose reader leaves: the run must not."""
    arguments = ["run", SMOKE, str(photos), str(tmp_path / "run"), "--until", "expand"]
    command = [sys.executable, "-m", "esol", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait() == 0
    assert (tmp_path / "run" / STAGES["expand"].folder / "manifest.json").exists()


def test_an_interruption_between_trainings_is_one_line(run, whole, tmp_path):
    folder = copied(whole, tmp_path / "run", "shrink")
    kill = {"folder": f"{STAGES['cams'].folder}/", "count": 30, "signal": signal.SIGINT}
    answer = run(folder, kill=kill)
    assert answer["code"] == 130
    assert answer["stderr"].splitlines()[-1].startswith("esol: interrupted; the same command goes")
