"""Run folders: skip, refuse, replace, never half-finished."""

import json
import logging

import pytest

from esol.errors import InputError
from esol.runfolder import current, finished, output_of, read_manifest, stage_path, work_on


def do(run, identity, *, overwrite=False, text="result") -> bool:
    """Enter the stage "seeds" and write a file; whether there was work to do."""
    with work_on(run, "seeds", identity, overwrite=overwrite) as stage:
        if stage is None:
            return False
        (stage.path / "out.txt").write_text(text)
        stage.results["number"] = 1
    return True


def test_same_identity_is_skipped(tmp_path):
    assert do(tmp_path, {"a": {"b": 1, "c": [1, 2]}})
    assert not do(tmp_path, {"a": {"b": 1, "c": (1, 2)}})
    assert read_manifest(tmp_path, "seeds")["results"] == {"number": 1}


@pytest.mark.parametrize("finish", [True, False])
def test_other_identity_is_refused_naming_the_first_difference(tmp_path, finish):
    do(tmp_path, {"same": 0, "a": {"b": 1, "c": 2}})
    if not finish:
        (stage_path(tmp_path, "seeds") / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"made with a\.c = 2, not 3"):
        do(tmp_path, {"same": 0, "a": {"b": 1, "c": 3}})
    assert (stage_path(tmp_path, "seeds") / "out.txt").read_text() == "result"


def test_overwrite_replaces(tmp_path):
    do(tmp_path, {"a": 1})
    (stage_path(tmp_path, "seeds") / "old.txt").write_text("")
    assert do(tmp_path, {"a": 2}, overwrite=True)
    assert not (stage_path(tmp_path, "seeds") / "old.txt").exists()
    assert not do(tmp_path, {"a": 2}, overwrite=True)


def test_a_failed_stage_is_unfinished_and_goes_on(tmp_path):
    def fail() -> None:
        with work_on(tmp_path, "seeds", {"a": 1}) as stage:
            (stage.path / "half.txt").write_text("")
            (stage.path / ".tmp-rest").write_text("")
            (stage.path / ".tmp-folder" / "deep").mkdir(parents=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not finished(tmp_path, "seeds")
    assert do(tmp_path, {"a": 1})
    assert (stage_path(tmp_path, "seeds") / "half.txt").exists()
    assert not list(stage_path(tmp_path, "seeds").glob(".tmp-*"))


def test_foreign_files_are_not_touched(tmp_path):
    folder = stage_path(tmp_path, "seeds")
    folder.mkdir(parents=True)
    (folder / "holiday.jpg").write_text("")
    with pytest.raises(InputError, match="files of something else"):
        do(tmp_path, {"a": 1}, overwrite=True)
    assert (folder / "holiday.jpg").exists()


def test_digest_depends_on_names_and_contents_only(tmp_path):
    for run, text in (("one", "x"), ("two", "x"), ("three", "y")):
        do(tmp_path / run, {"a": run}, text=text)
    one, two, three = (output_of(tmp_path / run, "seeds") for run in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_unfinished_and_damaged_stages_are_named(tmp_path):
    with pytest.raises(InputError, match="run the stage seeds first"):
        read_manifest(tmp_path, "seeds")
    do(tmp_path, {"a": 1})
    (stage_path(tmp_path, "seeds") / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        read_manifest(tmp_path, "seeds")


def test_log_and_settings_are_kept_but_are_no_outputs(tmp_path):
    logging.getLogger("esol").setLevel(logging.INFO)
    digests = []
    for run, settings in ((tmp_path / "one", "seed: 1\n"), (tmp_path / "two", "seed: 2\n")):
        with work_on(run, "seeds", {"a": 1}, settings=settings) as stage:
            (stage.path / "out.txt").write_text("same")
            logging.getLogger("esol").info("hello from %s", run.name)
        assert (stage.path / "settings.yaml").read_text() == settings
        assert f"hello from {run.name}" in (stage.path / "log.txt").read_text()
        digests.append(output_of(run, "seeds"))
    assert digests[0] == digests[1]


def test_manifest_records_versions_time_and_memory(tmp_path):
    do(tmp_path, {"a": 1})
    record = read_manifest(tmp_path, "seeds")["record"]
    assert {"torch", "timm", "esol", "python", "commit", "seconds", "peak_memory_mib"} <= set(
        record
    )
    assert json.dumps(record)


def test_work_that_grows_is_done_again_for_more_stages_and_for_nothing_else(tmp_path):
    def measure(settings: int, **after: str) -> bool:
        identity = {"settings": settings, "after": after}
        with work_on(tmp_path, "evaluate", identity, grows=True) as stage:
            if stage is not None:
                (stage.path / "out.txt").write_text(str(len(after)))
            return stage is not None

    assert measure(1, cams="x")
    assert not measure(1, cams="x")
    assert measure(1, cams="x", masks="y")
    assert (stage_path(tmp_path, "evaluate") / "out.txt").read_text() == "2"
    for settings, after in ((2, {"cams": "x"}), (1, {"cams": "z"}), (1, {"cams": "x"})):
        with pytest.raises(InputError, match="made with"):
            measure(settings, **after)
    with pytest.raises(InputError, match="made with"):
        measure(1, cams="x", masks="other", segment="new")


def test_current_means_made_from_what_is_there_now(tmp_path):
    def make(name: str, text: str, *before: str) -> None:
        after = {stage: output_of(tmp_path, stage) for stage in before}
        with work_on(tmp_path, name, {"after": after}, overwrite=True) as stage:
            if stage is not None:
                (stage.path / "out.txt").write_text(text)

    assert not current(tmp_path, "cams")
    make("cams", "one")
    make("refine", "one", "cams")
    make("masks", "one", "refine")
    assert all(current(tmp_path, name) for name in ("cams", "refine", "masks"))
    manifest = stage_path(tmp_path, "cams") / "manifest.json"
    manifest.unlink()
    (stage_path(tmp_path, "cams") / "out.txt").unlink()
    make("cams", "two")
    assert current(tmp_path, "cams")
    assert not current(tmp_path, "refine")
    assert not current(tmp_path, "masks")
    make("refine", "one", "cams")
    assert current(tmp_path, "masks")
