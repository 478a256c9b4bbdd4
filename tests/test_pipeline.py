"""The whole thread on a small synthetic set: run, skip, switch; tests/faults kills it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from esol.cli.main import main
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.metrics.folders import evaluate_masks
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings.load import load_settings
from esol.stages import run

SMOKE = Path(__file__).parent / "smoke.yaml"


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_synthetic(root, photos=40, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


@pytest.fixture(scope="session")
def done(photos, tmp_path_factory) -> Path:
    target = run(load_settings(str(SMOKE)), photos, tmp_path_factory.mktemp("done") / "run")
    # Maps that are 0 everywhere would make every comparison below an empty one.
    for kind in ("cam", "expansion", "shrinkage"):
        files = (RunFolder(target).stage("cams") / kind).rglob("*.npz")
        assert sum(load_maps(path).maps.max() == 1 for path in files) > 10, kind
    return target


def contents(run_folder: Path) -> dict[str, bytes]:
    """Weights, loss curves, maps, seeds and metrics: everything but times and versions."""
    return {
        str(path.relative_to(run_folder)): path.read_bytes()
        for path in sorted(run_folder.rglob("*"))
        if path.suffix in {".safetensors", ".jsonl", ".npz", ".png"} or path.name == "metrics.json"
    }


def test_every_stage_leaves_its_files(done):
    for stage in (stage for stage in STAGES if stage != "peer"):
        assert RunFolder(done).manifest(stage)["outputs"]["files"] > 0, stage
    maps = RunFolder(done).stage("cams")
    assert [
        len(list((maps / kind).rglob("*.npz"))) for kind in ("cam", "expansion", "shrinkage")
    ] == [40] * 3
    for stage, photos in (("seeds", 40), ("masks", 40), ("refine", 40 + 30)):
        assert len(list(RunFolder(done).stage(stage).rglob("*.png"))) == photos
    assert len(list((RunFolder(done).stage("refine") / "irn").rglob("*.npz"))) == 40
    assert len(list((RunFolder(done).stage("segment") / "predictions").rglob("*.png"))) == 40
    assert not list(done.rglob("*checkpoint*"))
    assert not list(done.rglob(".tmp-*"))
    page = (done / "report.html").read_text()
    assert "Shrinkage" in page


def test_metrics_are_those_of_the_masks(done, photos):
    """The seeds on disk, measured as any folder of masks, give the fixed-threshold numbers."""
    content = json.loads((RunFolder(done).stage("evaluate") / "metrics.json").read_text())
    names = [
        Path(row.split(",")[0]).stem
        for row in (photos / "labels.csv").read_text().splitlines()[1:]
        if row.endswith(",val")
    ]
    found = evaluate_masks(RunFolder(done).stage("seeds"), photos / "masks", names=names, classes=6)
    fixed = content["lists"]["val"]["shrinkage"]["fixed"]
    for key in ("miou", "precision", "recall", "f1_of_means", "foreground_recall"):
        assert found[key] == pytest.approx(fixed[key]), key


def test_later_stages_are_measured_as_their_masks_are(done, photos):
    content = json.loads((RunFolder(done).stage("evaluate") / "metrics.json").read_text())
    folders = RunFolder(done).mask_folders(load_settings(str(SMOKE)))
    assert list(folders) == ["crf", "masks", "segmentation"]
    names = [path.stem for path in (photos / "masks").iterdir()]
    assert len(names) == 40
    for kind, folder in folders.items():
        found = evaluate_masks(folder, photos / "masks", names=names, classes=6)
        parts = [content["lists"][split][kind]["fixed"] for split in ("train", "val")]
        # No metric of both lists is a mean of the lists' own, but it lies between them.
        low, high = sorted(part["foreground_recall"] for part in parts)
        assert low - 1e-9 <= found["foreground_recall"] <= high + 1e-9
    assert content["lists"]["val"]["irn"]["threshold"] == 0.2
    # The pseudo masks are IRN's maps at the same threshold.
    for split in ("train", "val"):
        measured = content["lists"][split]
        assert measured["irn"]["fixed"]["miou"] == measured["masks"]["fixed"]["miou"]


def test_evaluation_is_made_again_once_later_stages_exist(done, photos, tmp_path):
    import shutil

    copy = tmp_path / "run"
    for stage in ("classify", "expand", "shrink", "cams", "seeds"):
        shutil.copytree(RunFolder(done).stage(stage), RunFolder(copy).stage(stage))
    settings = load_settings(str(SMOKE))
    metrics = RunFolder(copy).stage("evaluate") / "metrics.json"
    run(settings, photos, copy, first="evaluate")
    assert "irn" not in json.loads(metrics.read_text())["lists"]["val"]
    run(settings, photos, copy)
    assert metrics.read_bytes() == (RunFolder(done).stage("evaluate") / "metrics.json").read_bytes()


def test_truth_and_saliency_are_settings_away(done, photos, tmp_path):
    import shutil

    from PIL import Image

    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    for path in (data / "masks").iterdir():
        Image.open(path).point(lambda v: 255 * (v > 0), "L").save(tmp_path / "saliency.png")
        target = data / "saliency" / path.relative_to(data / "masks")
        target.parent.mkdir(exist_ok=True)
        shutil.move(tmp_path / "saliency.png", target)
    copy = tmp_path / "run"
    for stage in ("classify", "expand", "shrink", "cams", "seeds", "refine"):
        shutil.copytree(RunFolder(done).stage(stage), RunFolder(copy).stage(stage))
    flags = ["--masks.saliency=saliency", "--masks.source=seeds", "--masks.threshold=auto"]
    settings = load_settings(str(SMOKE), *flags, "--segment.truth=true")
    run(settings, data, copy)
    found = RunFolder(copy).manifest("masks")["results"]
    assert 0 < found["threshold"] < 0.5
    assert found["ignored"] > 0
    for path in RunFolder(copy).stage("masks").rglob("*.png"):
        mask = np.asarray(Image.open(path))
        truth = np.asarray(
            Image.open(data / "masks" / path.relative_to(RunFolder(copy).stage("masks")))
        )
        assert not ((truth == 0) & (mask > 0) & (mask < 255)).any()
    assert RunFolder(copy).manifest("segment")["results"]["photos"] == 30
    assert "GROUND TRUTH" in (copy / "report.html").read_text()
    missing = next((data / "saliency").iterdir())
    missing.unlink()
    with pytest.raises(InputError, match=rf"{missing.name}.*no saliency map"):
        run(settings, data, copy, last="masks")


def test_training_list_without_maps_is_refused_before_any_work(photos, tmp_path):
    settings = load_settings(str(SMOKE), "--cams.lists=[val]", "--data.evaluate=[val]")
    with pytest.raises(InputError, match="must hold 'train'"):
        run(settings, photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_second_call_skips_everything(done, photos, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.parent != done}
    for stage in ("classify", "fitting", "refine", "segment"):
        monkeypatch.setattr(f"esol.stages.{stage}.fit", None)
    monkeypatch.setattr("esol.stages.photo_maps.localize", None)
    run(load_settings(str(SMOKE)), photos, done)
    assert before == {
        path: path.stat().st_mtime_ns for path in done.rglob("*") if path.parent != done
    }


def test_changed_setting_is_refused_by_the_stage_that_reads_it(done, photos, capsys):
    assert main(["run", str(SMOKE), str(photos), str(done), "--shrink.area", "3"]) == 2
    message = capsys.readouterr().err
    assert "03-shrink" in message
    assert "shrink.area = 2.0, not 3.0" in message


def test_evaluated_lists_do_not_touch_training(done, photos, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(done, copy)
    settings = load_settings(str(SMOKE), "--data.evaluate=[val]")
    for last in ("classify", "expand", "shrink"):
        run(settings, photos, copy, last=last)
    assert (copy / "run.json").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--expand.learn=nothing", "--expand.clip=1"],
        ["--expand.learn=w1", "--expand.clip=1"],
        ["--expand.learn=offsets+w1"],
        ["--expand.objective=minimise", "--shrink.area=0"],
        ["--shrink.learn=v", "--shrink.area=0"],
        ["--shrink.learn=offsets+v"],
    ],
    ids=" ".join,
)
def test_every_ablation_is_a_setting_away(done, photos, tmp_path, flags):
    copy = tmp_path / "run"
    copy.mkdir()
    os.symlink(RunFolder(done).stage("classify"), RunFolder(copy).stage("classify"))
    run(load_settings(str(SMOKE), *flags), photos, copy, last="cams")
    maps = contents(copy)
    if flags[0] == "--expand.learn=nothing":
        name = next(name for name in maps if "/cam/" in name)
        assert maps[name] == maps[name.replace("/cam/", "/expansion/")]


def test_folders_are_numbered_in_order():
    numbers = [stage.folder.split("-")[0] for stage in STAGES.values()]
    assert numbers == sorted(numbers)
    assert all(stage.folder.endswith(f"-{name}") for name, stage in STAGES.items())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--segment.network=DeeplabV3"], "segment.network"),
        (["--segment.encoder=tu-nonsense"], "segment.encoder"),
        (["--segment.stride=16"], "segment.stride"),
        (["--segment.weights=/no/such.safetensors"], "no such file"),
        (["--masks.saliency=nothing-there"], "no saliency map"),
        (["--cams.lists=[val]", "--data.evaluate=[val]", "--segment.network=none"], "cams.lists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_would_fail_after_hours_is_refused_at_once(photos, tmp_path, flags, message):
    settings = load_settings(str(SMOKE), *flags)
    with pytest.raises(InputError, match=message):
        run(settings, photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_truth_without_masks_is_refused_at_once(photos, tmp_path):
    import shutil

    data = tmp_path / "data"
    shutil.copytree(photos, data, ignore=shutil.ignore_patterns("masks"))
    settings = load_settings(str(SMOKE), "--segment.truth=true")
    with pytest.raises(InputError, match="no masks to learn from"):
        run(settings, data, tmp_path / "run")


def test_stages_that_do_not_belong_together_are_not_measured_together(
    done, photos, tmp_path, caplog
):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(done, copy)
    settings = load_settings(str(SMOKE), "--masks.source=seeds", "--masks.threshold=0.1")
    run(settings, photos, copy, first="masks", last="masks", overwrite=True)
    run(settings, photos, copy, first="evaluate", overwrite=True)
    assert "segment is older" in caplog.text
    found = json.loads((RunFolder(copy).stage("evaluate") / "metrics.json").read_text())["lists"][
        "val"
    ]
    assert "segmentation" not in found
    # Not that of the masks, which are made of seeds now.
    assert found["irn"]["threshold"] == 0.25
