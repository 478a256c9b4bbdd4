"""A stage that is replaced keeps the parts that the change does not reach, byte for byte."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.predict.bundle import load_bundle
from esol.predict.model import load
from esol.runs.folder import RunFolder
from esol.runs.manifest import NOT_OUTPUTS, digest
from esol.runs.stages import STAGES
from esol.runs.work import Part, work_on
from esol.settings.load import load_settings
from esol.stages import reads, run

SMOKE = Path(__file__).parent / "smoke.yaml"
PARTS = (Part(("one.txt", "checkpoint-*"), ("a", "group.x")), Part(("two",), ("b", "group.y")))


class Kill(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def make(folder: Path, a: int, b: int, y: int = 0, *, overwrite: bool = True) -> None:
    """A stage of two parts and a file that depends on both; what is there stays."""
    identity = {"a": a, "b": b, "group": {"x": 0, "y": y}}
    with work_on(RunFolder(folder), "seeds", identity, overwrite=overwrite, parts=PARTS) as stage:
        if stage is None:
            return
        texts = {"one.txt": f"{a}", "both.txt": f"{a} {b} {y}"}
        texts |= {f"two/{i}.txt": f"{b} {y} {i}" for i in range(3)}
        for name, text in texts.items():
            path = stage.path / name
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                path.write_text(text)


def texts(folder: Path) -> dict[str, str]:
    """What the stage left behind, but for the description of how."""
    path = RunFolder(folder).stage("seeds")
    return {
        file.relative_to(path).as_posix(): file.read_text()
        for file in sorted(path.rglob("*.txt"))
        if file.name != "log.txt"
    }


def inodes(path: Path) -> dict[str, tuple[int, int]]:
    """Output files with what tells an old file from an equal new one."""
    return {
        file.relative_to(path).as_posix(): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }


def test_only_what_depends_on_the_change_is_new(tmp_path):
    folder = RunFolder(tmp_path).stage("seeds")
    for number, (now, kept) in enumerate(
        {
            (1, 1, 0): (),
            (1, 2, 0): ("one.txt",),
            (3, 2, 0): ("two/",),
            (3, 2, 5): ("one.txt",),
        }.items()
    ):
        before = inodes(folder)
        make(tmp_path, *now)
        after = inodes(folder)
        make(tmp_path / f"fresh{number}", *now)
        assert texts(tmp_path) == texts(tmp_path / f"fresh{number}")
        same = {name for name in texts(tmp_path) if before.get(name) == after[name]}
        assert same == {name for name in texts(tmp_path) if name.startswith(kept or ("none",))}
    make(tmp_path, 3, 2, 5)
    assert inodes(folder) == after


def test_refusal_tells_what_overwriting_would_keep(tmp_path):
    make(tmp_path, 1, 1)
    before = inodes(RunFolder(tmp_path).stage("seeds"))
    with pytest.raises(InputError, match=r"made with b = 1, not 2; .*--overwrite, which keeps one"):
        make(tmp_path, 1, 2, overwrite=False)
    with pytest.raises(InputError, match=r"--overwrite$"):
        make(tmp_path, 2, 2, overwrite=False)
    assert inodes(RunFolder(tmp_path).stage("seeds")) == before


def test_an_unfinished_training_is_kept_too(tmp_path):
    make(tmp_path, 1, 1)
    folder = RunFolder(tmp_path).stage("seeds")
    (folder / "manifest.json").unlink()
    (folder / "one.txt").rename(folder / "state")
    (folder / "checkpoint-00000007").mkdir()
    (folder / "state").rename(folder / "checkpoint-00000007" / "state")
    make(tmp_path, 1, 2)
    assert (folder / "checkpoint-00000007" / "state").exists()
    make(tmp_path, 2, 2)
    assert not (folder / "checkpoint-00000007").exists()


def test_another_version_keeps_nothing(tmp_path, monkeypatch):
    make(tmp_path, 1, 1)
    before = inodes(RunFolder(tmp_path).stage("seeds"))
    monkeypatch.setitem(STAGES, "seeds", replace(STAGES["seeds"], version=99))
    make(tmp_path, 1, 2)
    assert before.items().isdisjoint(inodes(RunFolder(tmp_path).stage("seeds")).items())


def test_files_behind_a_link_belong_to_another_run(tmp_path):
    make(tmp_path / "other", 1, 1)
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").stage("seeds").symlink_to(
        RunFolder(tmp_path / "other").stage("seeds")
    )
    before = inodes(RunFolder(tmp_path / "other").stage("seeds"))
    make(tmp_path / "run", 1, 2)
    assert inodes(RunFolder(tmp_path / "other").stage("seeds")) == before
    assert texts(tmp_path / "run")["both.txt"] == "1 2 0"


def test_killed_at_every_step_of_the_exchange(tmp_path, monkeypatch):
    """Before every file operation: then a fresh result comes of the old, new or other settings."""
    old, new, other = (1, 1), (1, 2), (3, 1)
    for settings in (old, new, other):
        make(tmp_path / str(settings), *settings)
    number, left, real = 0, 0, {name: getattr(os, name) for name in ("unlink", "rmdir", "replace")}

    def killing(name):
        def call(*arguments, **keywords):
            nonlocal left
            left -= 1
            if left < 0:
                raise Kill
            return real[name](*arguments, **keywords)

        return call

    while True:
        start = tmp_path / "start"
        shutil.copytree(tmp_path / str(old), start)
        left, killed = number, False
        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(os, name, killing(name))
            try:
                make(start, *new)
            except Kill:
                killed = True
        if RunFolder(start).is_finished("seeds"):
            made = old if RunFolder(start).manifest("seeds")["identity"]["b"] == old[1] else new
            assert texts(start) == texts(tmp_path / str(made)), number
        for settings in (old, new, other):
            copy = shutil.copytree(start, tmp_path / "copy")
            make(copy, *settings)
            assert texts(copy) == texts(tmp_path / str(settings)), (number, settings)
            shutil.rmtree(copy)
        shutil.rmtree(start)
        if not killed:
            break
        number += 1
    assert number >= 10


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_synthetic(root, photos=20, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("done") / "run"
    return run(load_settings(str(SMOKE)), photos, target, last="segment")


TRAINED = ("irn.safetensors", "metrics.jsonl", "labels/")


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (["--refine.walk.steps=4"], ("crf/", *TRAINED)),
        (["--refine.walk.start=cam"], ("crf/", *TRAINED)),
        (["--refine.threshold=0.5"], ("crf/", "irn/", *TRAINED)),
        (["--refine.methods=[irn]"], ("irn/", *TRAINED)),
        (["--refine.methods=[crf]", "--masks.source=crf"], ("crf/",)),
        (["--seeds.threshold=0.2"], ("irn/", *TRAINED)),
        (["--refine.affinity.fit.lr=0.05"], ("crf/",)),
        (["--refine.instances=true"], ("crf/",)),
        (["--refine.crf.iterations=1"], ()),
        (["--seeds.kind=cam"], ()),
        (["--refine.longest=32"], ()),
        (["--data.evaluate=[val]", "--cams.lists=[train,val]"], ("crf/", "irn/", *TRAINED)),
        (["--refine.methods=[crf,irn,affinity]"], ("crf/", "irn/", *TRAINED)),
        (["--refine.methods=[crf,irn,distil]"], ("crf/", "irn/", *TRAINED)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refine_keeps_what_the_change_does_not_reach(
    done, photos, tmp_path, monkeypatch, flags, kept
):
    exchanged(done, photos, tmp_path, monkeypatch, "refine", flags, kept)


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (["--segment.scales=[1.0,0.5]"], ("metrics.jsonl",)),
        (["--segment.flip=false", "--segment.longest=300"], ("metrics.jsonl",)),
        (["--segment.crf.iterations=1"], ("metrics.jsonl",)),
        (["--data.evaluate=[val]"], ("metrics.jsonl", "model.safetensors")),
        (["--segment.fit.steps=4"], ()),
        (["--seed=1"], ()),
        (["--segment.truth=true"], ()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_segment_keeps_its_network_when_only_testing_changes(
    done, photos, tmp_path, monkeypatch, flags, kept
):
    found = exchanged(done, photos, tmp_path, monkeypatch, "segment", flags, kept)
    settings = load_settings(str(SMOKE), *flags).segment
    described = load(found, "cpu").description
    assert described["scales"] == list(settings.scales)
    assert described["flip"] == settings.flip
    assert described["longest"] == settings.longest
    assert described["crf"]["iterations"] == settings.crf.iterations


def exchanged(done, photos, tmp_path, monkeypatch, stage, flags, kept) -> Path:
    """Replace a stage of a finished run; equal to a fresh one, and just ``kept`` is old."""
    settings = load_settings(str(SMOKE), *flags)
    copy, fresh = tmp_path / "run", tmp_path / "fresh"
    # Some settings are other stages' too, which stay here as they were.
    monkeypatch.setattr("esol.stages.check_others", lambda *_, **__: None)
    shutil.copytree(done, copy)
    before = inodes(RunFolder(copy).stage(stage))
    ignored = shutil.ignore_patterns(RunFolder(done).stage(stage).name)
    shutil.copytree(done, fresh, ignore=ignored)
    run(settings, photos, fresh, first=stage, last=stage)
    with monkeypatch.context() as patch:
        if "metrics.jsonl" in kept:
            for module in ("refine", "segment"):
                patch.setattr(f"esol.stages.{module}.fit", None)
        for _ in range(2):
            run(settings, photos, copy, first=stage, last=stage, overwrite=True)
    after, expected = (RunFolder(folder).manifest(stage) for folder in (copy, fresh))
    assert {**after, "record": 0} == {**expected, "record": 0}
    now = inodes(RunFolder(copy).stage(stage))
    own = set(NOT_OUTPUTS)
    same = {name for name in now if before.get(name) == now[name]} - own
    assert same == {name for name in now if name.startswith(kept or ("none",))}
    return copy


def test_lists_to_measure_may_grow_after_the_network_is_there(done, photos, tmp_path, monkeypatch):
    """Photos of another list have no predictions yet; the stage must not pass as done."""
    copy = tmp_path / "run"
    shutil.copytree(done, copy)
    monkeypatch.setattr("esol.stages.segment.fit", None)
    for lists, count in (("[val]", 5), ("[train,val]", 20)):
        settings = load_settings(str(SMOKE), f"--data.evaluate={lists}")
        with pytest.raises(InputError, match=r"data\..*which keeps metrics\.jsonl, model"):
            run(settings, photos, copy, first="segment", last="segment")
        run(settings, photos, copy, first="segment", last="segment", overwrite=True)
        predictions = RunFolder(copy).stage("segment") / "predictions"
        assert len(list(predictions.rglob("*.png"))) == count


def test_the_walk_starts_from_the_maps_that_it_is_told(done, photos, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(done, copy)
    before = RunFolder(copy)
    cam, shrinkage = (
        {path.name: load_maps(path).maps for path in before.maps(kind).rglob("*.npz")}
        for kind in ("cam", "shrinkage")
    )
    names = {path.name for path in before.maps("irn").rglob("*.npz")}
    assert names == set(cam) == set(shrinkage)
    # Without a step the maps stay what they start from, a little less at edges.
    for start, near, far in (("auto", shrinkage, cam), ("cam", cam, shrinkage)):
        flags = [f"--refine.walk.start={start}", "--refine.walk.steps=0"]
        settings = load_settings(str(SMOKE), *flags)
        run(settings, photos, copy, first="refine", last="refine", overwrite=True)
        walked = {p.name: load_maps(p).maps for p in RunFolder(copy).maps("irn").rglob("*.npz")}
        assert walked.keys() == names
        to_near, to_far = (
            sum(float(np.abs(walked[name] - maps[name]).sum()) for name in names)
            for maps in (near, far)
        )
        assert 3 * to_near < to_far


def test_instances_are_cut_again_from_the_same_maps(done, photos, tmp_path, monkeypatch):
    copy, flags = tmp_path / "run", ["--refine.instances=true"]
    shutil.copytree(done, copy)
    settings = load_settings(str(SMOKE), *flags)
    run(settings, photos, copy, first="refine", last="refine", overwrite=True)
    exchanged(copy, photos, tmp_path / "again", monkeypatch, "refine",
              [*flags, "--refine.threshold=0.05"], ("crf/", "irn/", *TRAINED))  # fmt: skip


def test_maps_by_affinities_are_made_again_where_what_they_read_changes(
    done, photos, tmp_path, monkeypatch
):
    copy, flags = tmp_path / "run", ["--refine.methods=[crf,irn,affinity]"]
    shutil.copytree(done, copy)
    run(load_settings(str(SMOKE), *flags), photos, copy, first="refine", last="refine",
        overwrite=True)  # fmt: skip
    identity = json.loads((RunFolder(copy).stage("refine") / "identity.json").read_text())
    parts = (reads._CRF, reads._AFFINITY, *reads._IRN)
    assert unread(identity, parts) == {"refine.methods"}
    for number, (flag, kept) in enumerate(
        [
            ("--refine.similarity.steps=3", ("crf/", "irn/", *TRAINED)),
            ("--refine.walk.steps=4", ("crf/", "affinity/", *TRAINED)),
            ("--seeds.threshold=0.2", ("affinity/", "irn/", *TRAINED)),
        ]
    ):
        exchanged(copy, photos, tmp_path / str(number), monkeypatch, "refine", [*flags, flag], kept)


def test_a_distilled_network_is_trained_again_where_its_maps_change(
    done, photos, tmp_path, monkeypatch
):
    copy, flags = tmp_path / "run", ["--refine.methods=[crf,irn,distil]"]
    shutil.copytree(done, copy)
    run(load_settings(str(SMOKE), *flags), photos, copy, first="refine", last="refine",
        overwrite=True)  # fmt: skip
    identity = json.loads((RunFolder(copy).stage("refine") / "identity.json").read_text())
    assert unread(identity, (reads._CRF, reads._DISTIL, *reads._IRN)) == {"refine.methods"}
    for number, (flag, kept) in enumerate(
        [
            ("--refine.distil.lr=0.001", ("crf/", "irn/", *TRAINED)),
            # A share holds for the masks that the head learns, too.
            ("--masks.threshold=20%", ("crf/", "irn/", *TRAINED)),
            ("--refine.walk.steps=4", ("crf/", *TRAINED)),
            ("--seeds.threshold=0.2", ("network/", "distil/", "irn/", *TRAINED)),
        ]
    ):
        exchanged(copy, photos, tmp_path / str(number), monkeypatch, "refine", [*flags, flag], kept)
    without = ["--refine.methods=[crf,distil]", "--masks.source=distil"]
    exchanged(copy, photos, tmp_path / "seeds", monkeypatch, "refine", without, ("crf/",))


def test_masks_of_other_lists_do_not_touch_the_network(done, photos, tmp_path, monkeypatch):
    copy, settings = tmp_path / "run", load_settings(str(SMOKE))
    shutil.copytree(done, copy)
    masks, folder = RunFolder(copy).stage("masks"), RunFolder(copy).stage("segment")
    rows = (photos / "labels.csv").read_text().splitlines()[1:]
    names = {
        s: [Path(r.split(",")[0]).stem for r in rows if r.endswith(s)] for s in ("train", "val")
    }
    trained: list[str] = []

    def change(name: str) -> None:
        shutil.copy(masks / f"{names['train'][0]}.png", masks / f"{name}.png")
        manifest = RunFolder(copy).manifest("masks") | {"outputs": digest(masks)}
        (masks / "manifest.json").write_text(json.dumps(manifest))
        assert not RunFolder(copy).is_current("segment")

    def fail(*arguments, **keywords):
        trained.append("again")
        raise Kill

    monkeypatch.setattr("esol.stages.segment.fit", fail)
    before = {n: i for n, i in inodes(folder).items() if n.endswith((".png", "model.safetensors"))}
    change(names["val"][0])
    run(settings, photos, copy, first="segment", last="segment", overwrite=True)
    assert RunFolder(copy).is_current("segment")
    assert before.items() <= inodes(folder).items()
    change(names["train"][1])
    with pytest.raises(Kill):
        run(settings, photos, copy, first="segment", last="segment", overwrite=True)
    assert trained


def test_killed_before_the_model_file_is_described_anew(done, photos, tmp_path, monkeypatch):
    copy, settings = tmp_path / "run", load_settings(str(SMOKE), "--segment.flip=false")
    shutil.copytree(done, copy)
    path = RunFolder(copy).weights("segment")

    def kill(*arguments):
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr("esol.stages.segment.redescribe", kill)
        with pytest.raises(Kill):
            run(settings, photos, copy, first="segment", last="segment", overwrite=True)
    assert not RunFolder(copy).is_finished("segment")
    assert load_bundle(path)[1]["flip"]
    run(settings, photos, copy, first="segment", last="segment")
    assert not load_bundle(path)[1]["flip"]


def leaves(identity: dict) -> set[str]:
    """Keys of an identity, and those inside its groups as "group.name"."""
    groups = {key for key, value in identity.items() if isinstance(value, dict) and key != "data"}
    inner = {f"{group}.{key}" for group in groups for key in identity[group]}
    return inner | (identity.keys() - groups)


def unread(identity: dict, parts: tuple) -> set[str]:
    """Keys of an identity that no part reads."""
    reads = {key for part in parts for key in part.reads}
    keys = {key for key in leaves(identity) if not {key, key.split(".")[0]} & reads}
    return keys - {"stage", "version", "train.photos", "train.sha256"}


@pytest.mark.parametrize(
    ("stage", "parts", "left"),
    [
        # What is made; no output depends on what else is.
        ("refine", (reads._CRF, *reads._IRN), {"refine.methods"}),
        # Only the training masks are read; they have a key.
        ("segment", reads._SEGMENT, {"after.masks"}),
    ],
)
def test_every_key_of_an_identity_is_read_by_a_part(done, stage, parts, left):
    """A key that no part names could change without any output being made again."""
    identity = json.loads((RunFolder(done).stage(stage) / "identity.json").read_text())
    assert unread(identity, parts) == left
    keys = {key for part in parts for key in part.reads}
    assert {key.split(".")[0] for key in keys} <= {
        *identity,
        *("truth", "corrected", "longest side", "machine"),
        "backbone",  # of the network "head"
    }
