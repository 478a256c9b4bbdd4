"""Run folders: skip, refuse, replace, never half-finished."""

import json
import logging

import pytest
import torch

import esol.runs.work
from esol.errors import InputError
from esol.runs.folder import RunFolder
from esol.runs.work import Part, remove_leftovers, work_on


def do(run, identity, *, overwrite=False, text="result") -> bool:
    """Enter the stage "seeds" and write a file; whether there was work to do."""
    with work_on(RunFolder(run), "seeds", identity, overwrite=overwrite) as stage:
        if stage is None:
            return False
        (stage.path / "out.txt").write_text(text)
        stage.results["number"] = 1
    return True


def test_same_identity_is_skipped(tmp_path):
    assert do(tmp_path, {"a": {"b": 1, "c": [1, 2]}})
    assert not do(tmp_path, {"a": {"b": 1, "c": (1, 2)}})
    assert RunFolder(tmp_path).manifest("seeds")["results"] == {"number": 1}


@pytest.mark.parametrize("finish", [True, False])
def test_other_identity_is_refused_naming_the_first_difference(tmp_path, finish):
    do(tmp_path, {"same": 0, "a": {"b": 1, "c": 2}})
    if not finish:
        (RunFolder(tmp_path).stage("seeds") / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"made with a\.c = 2, not 3"):
        do(tmp_path, {"same": 0, "a": {"b": 1, "c": 3}})
    assert (RunFolder(tmp_path).stage("seeds") / "out.txt").read_text() == "result"


def test_overwrite_replaces(tmp_path):
    do(tmp_path, {"a": 1})
    (RunFolder(tmp_path).stage("seeds") / "old.txt").write_text("")
    assert do(tmp_path, {"a": 2}, overwrite=True)
    assert not (RunFolder(tmp_path).stage("seeds") / "old.txt").exists()
    assert not do(tmp_path, {"a": 2}, overwrite=True)


def test_a_failed_stage_is_unfinished_and_goes_on(tmp_path):
    def fail() -> None:
        with work_on(RunFolder(tmp_path), "seeds", {"a": 1}) as stage:
            (stage.path / "half.txt").write_text("")
            (stage.path / ".tmp-rest").write_text("")
            (stage.path / ".tmp-folder" / "deep").mkdir(parents=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not RunFolder(tmp_path).is_finished("seeds")
    assert do(tmp_path, {"a": 1})
    assert (RunFolder(tmp_path).stage("seeds") / "half.txt").exists()
    assert not list(RunFolder(tmp_path).stage("seeds").glob(".tmp-*"))


def test_foreign_files_are_not_touched(tmp_path):
    folder = RunFolder(tmp_path).stage("seeds")
    folder.mkdir(parents=True)
    (folder / "holiday.jpg").write_text("")
    with pytest.raises(InputError, match="files of something else"):
        do(tmp_path, {"a": 1}, overwrite=True)
    assert (folder / "holiday.jpg").exists()


def test_digest_depends_on_names_and_contents_only(tmp_path):
    for run, text in (("one", "x"), ("two", "x"), ("three", "y")):
        do(tmp_path / run, {"a": run}, text=text)
    one, two, three = (
        RunFolder(tmp_path / run).outputs_of("seeds") for run in ("one", "two", "three")
    )
    assert one == two
    assert one != three


def test_unfinished_and_damaged_stages_are_named(tmp_path):
    with pytest.raises(InputError, match="run the stage seeds first"):
        RunFolder(tmp_path).manifest("seeds")
    do(tmp_path, {"a": 1})
    (RunFolder(tmp_path).stage("seeds") / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        RunFolder(tmp_path).manifest("seeds")


def test_log_and_settings_are_kept_but_are_no_outputs(tmp_path, caplog):
    caplog.set_level(logging.INFO, "esol")
    digests = []
    for run, settings in ((tmp_path / "one", "seed: 1\n"), (tmp_path / "two", "seed: 2\n")):
        with work_on(RunFolder(run), "seeds", {"a": 1}, settings=settings) as stage:
            (stage.path / "out.txt").write_text("same")
            logging.getLogger("esol").info("hello from %s", run.name)
        assert (stage.path / "settings.yaml").read_text() == settings
        assert f"hello from {run.name}" in (stage.path / "log.txt").read_text()
        digests.append(RunFolder(run).outputs_of("seeds"))
    assert digests[0] == digests[1]


def test_manifest_records_versions_time_and_memory(tmp_path):
    do(tmp_path, {"a": 1})
    record = RunFolder(tmp_path).manifest("seeds")["record"]
    assert {"torch", "timm", "esol", "python", "commit", "seconds", "peak_memory_mib"} <= set(
        record
    )
    # Sums depend on them, and so the last bits of what is trained.
    assert record["threads"] == torch.get_num_threads()
    assert json.dumps(record)


def test_measurements_are_made_anew_when_what_they_measure_changed(tmp_path, caplog):
    def measure(**after: str) -> bool:
        with work_on(RunFolder(tmp_path), "evaluate", {"after": after}) as stage:
            if stage is not None:
                (stage.path / "out.txt").write_text(" ".join(after.values()))
            return stage is not None

    caplog.set_level(logging.INFO, "esol")
    assert measure(cams="x")
    assert not measure(cams="x")
    for after in ({"cams": "x", "masks": "y"}, {"cams": "z"}):
        caplog.clear()
        assert measure(**after)
        assert "evaluate: anew, as it was made with after." in caplog.text
        written = (RunFolder(tmp_path).stage("evaluate") / "out.txt").read_text()
        assert written == " ".join(after.values())


def test_current_means_made_from_what_is_there_now(tmp_path):
    def make(name: str, text: str, *before: str) -> None:
        after = {stage: RunFolder(tmp_path).outputs_of(stage) for stage in before}
        with work_on(RunFolder(tmp_path), name, {"after": after}, overwrite=True) as stage:
            if stage is not None:
                (stage.path / "out.txt").write_text(text)

    assert not RunFolder(tmp_path).is_current("cams")
    make("cams", "one")
    make("refine", "one", "cams")
    make("masks", "one", "refine")
    assert all(RunFolder(tmp_path).is_current(name) for name in ("cams", "refine", "masks"))
    manifest = RunFolder(tmp_path).stage("cams") / "manifest.json"
    manifest.unlink()
    (RunFolder(tmp_path).stage("cams") / "out.txt").unlink()
    make("cams", "two")
    assert RunFolder(tmp_path).is_current("cams")
    assert not RunFolder(tmp_path).is_current("refine")
    assert not RunFolder(tmp_path).is_current("masks")
    make("refine", "one", "cams")
    assert RunFolder(tmp_path).is_current("masks")


def test_the_log_starts_anew_where_nothing_is_kept_and_goes_on_where_something_is(tmp_path, caplog):
    caplog.set_level(logging.INFO, "esol")
    one = Part(files=("out.txt",), reads=("a",))
    log = RunFolder(tmp_path).stage("seeds") / "log.txt"
    for identity, told in (
        ({"a": 1, "b": 1}, ["first"]),
        ({"a": 1, "b": 2}, ["first", "second"]),
        ({"a": 2, "b": 2}, ["third"]),
    ):
        with work_on(RunFolder(tmp_path), "seeds", identity, overwrite=True, parts=[one]) as stage:
            (stage.path / "out.txt").write_text("result")
            logging.getLogger("esol").info(told[-1])
        lines = [line.rsplit(" ", 1)[-1] for line in log.read_text().splitlines()]
        assert [line for line in lines if line != "seeds"] == told
    kept = [line.getMessage() for line in caplog.records if "kept" in line.getMessage()]
    assert kept == [f"{stage.path}: kept out.txt"]


def test_a_replacement_that_fails_at_once_leaves_unfinished_work(tmp_path, monkeypatch):
    do(tmp_path, {"a": 1})
    (RunFolder(tmp_path).stage("seeds") / "folder").mkdir()
    monkeypatch.setattr(esol.runs.work, "remove_folder", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        do(tmp_path, {"a": 2}, overwrite=True)
    assert not RunFolder(tmp_path).is_finished("seeds")
    monkeypatch.undo()
    with pytest.raises(InputError, match="made with a = 1, not 2"):
        do(tmp_path, {"a": 2})
    assert do(tmp_path, {"a": 1})


def test_cut_and_lost_files_are_made_again_and_told(tmp_path, caplog):
    do(tmp_path, {"a": 1})
    for spoil, lines in (
        (lambda file: file.write_text("res"), 2),
        (lambda file: file.unlink(), 1),
    ):
        caplog.clear()
        spoil(RunFolder(tmp_path).stage("seeds") / "out.txt")
        assert do(tmp_path, {"a": 1})
        told = [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]
        assert len(told) == lines
        assert "files were removed or changed" in told[0]
        assert all("1 files of another size are made again, first out.txt" in t for t in told[1:])
        assert not do(tmp_path, {"a": 1})


def test_leftovers_are_removed_from_a_stage_s_depths_and_from_a_run_s_top(tmp_path):
    stage = RunFolder(tmp_path).stage("seeds")
    there = [stage / ".tmp-a", stage / "maps/.tmp-b", tmp_path / ".tmp-c", tmp_path / "data/.tmp-d"]
    for path in there:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    (stage / ".tmp-folder").mkdir()
    (stage / ".tmp-folder" / "x").write_text("half")
    (stage / "whole.txt").write_text("whole")
    remove_leftovers(tmp_path)
    assert [path.exists() for path in there] == [True, True, False, True]
    remove_leftovers(stage)
    assert [path.exists() for path in there] == [False, False, False, True]
    assert [path.name for path in stage.rglob("*") if path.is_file()] == ["whole.txt"]
    assert not (stage / ".tmp-folder").exists()


def test_outputs_that_are_not_those_that_were_written_are_refused(tmp_path):
    do(tmp_path, {"a": 1})
    RunFolder(tmp_path).check_outputs("seeds")
    (RunFolder(tmp_path).stage("seeds") / "out.txt").write_text("resulT")
    with pytest.raises(InputError, match="changed since it was made; remove it and run seeds"):
        RunFolder(tmp_path).check_outputs("seeds")


def test_unfinished_work_of_another_identity_is_refused_and_replaced(tmp_path):
    part = Part(files=("out.txt",), reads=("a",))
    path = RunFolder(tmp_path).stage("seeds")

    def fail():
        with work_on(RunFolder(tmp_path), "seeds", {"a": 1, "b": 1}, parts=[part]):
            (path / "out.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    for now, advice in (
        ({"a": 1, "b": 2}, r"made with b = 1, not 2; .*--overwrite, which keeps out\.txt$"),
        ({"a": 2, "b": 1}, r"made with a = 1, not 2; .*--overwrite$"),
    ):
        with (
            pytest.raises(InputError, match=advice),
            work_on(RunFolder(tmp_path), "seeds", now, parts=[part]),
        ):
            pass
    assert (path / "out.txt").read_text() == "half"
    assert do(tmp_path, {"a": 2, "b": 1}, overwrite=True)
    assert RunFolder(tmp_path).is_finished("seeds")
