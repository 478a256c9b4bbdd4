"""The compared methods through the same stages as ours."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors.torch import load_file

from esol.cli.main import main
from esol.data import open_dataset
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.metrics.folders import evaluate_masks
from esol.runs.folder import RunFolder
from esol.settings import KINDS
from esol.settings.load import load_settings
from esol.stages import run
from esol.system.read import read_json

SMOKE = Path(__file__).parent / "smoke.yaml"
SHORT = ("--sccam.clusters=3", "--sccam.rounds=2", "--drs.fit.steps=4", "--masks.saliency=saliency")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_synthetic(root, photos=24, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


def settings(method: str, *flags: str):
    return load_settings(str(SMOKE), f"--method={method}", *SHORT, *flags)


@pytest.mark.parametrize("method", ["cam", "sccam", "drs", "eps", "lpcam"])
def test_a_method_goes_all_the_way_and_again_does_nothing(method, photos, tmp_path):
    done = run(settings(method), photos, tmp_path / "run")
    for kind in KINDS[method]:
        files = list((RunFolder(done).stage("cams") / kind).rglob("*.npz"))
        assert len(files) == 24
        assert sum(load_maps(path).maps.max() == 1 for path in files) > 5, kind
    assert {path.name for path in RunFolder(done).stage("cams").iterdir() if path.is_dir()} == set(
        KINDS[method]
    )
    assert not RunFolder(done).stage("expand").exists()
    assert RunFolder(done).manifest("seeds")["results"]["kind"] == KINDS[method][-1]
    found = read_json(RunFolder(done).stage("evaluate") / "metrics.json")["lists"]["val"]
    names = [path.stem for path in sorted((photos / "images").iterdir())][-6:]
    again = evaluate_masks(RunFolder(done).stage("seeds"), photos / "masks", names=names, classes=6)
    assert found[KINDS[method][-1]]["fixed"]["miou"] == pytest.approx(again["miou"])
    assert {"crf", "irn", "masks", "segmentation"} <= found.keys()
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.parent != done}
    run(settings(method), photos, done)
    assert before == {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.parent != done}


@pytest.mark.parametrize(
    ("method", "damage"),
    [("sccam", "round-2"), ("sccam", "sccam.safetensors"), ("drs", "maps"), ("drs", "suppressed")],
)
def test_half_a_peer_stage_is_finished_to_the_same_weights(method, damage, photos, tmp_path):
    """What a kill may leave: some of the stage's parts are missing."""
    done = run(settings(method), photos, tmp_path / "run", last="peer")
    folder = RunFolder(done).stage("peer")
    whole = {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}
    (folder / "manifest.json").unlink()
    last = folder / f"{KINDS[method][-1]}.safetensors"
    last.unlink()
    gone = folder / damage
    if gone.is_dir():
        shutil.rmtree(gone)
    run(settings(method), photos, done, last="peer")
    assert whole == {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_rounds_of_subcategories_differ_and_learn_from_the_plain_classifier(photos, tmp_path):
    done = run(settings("sccam"), photos, tmp_path / "run", last="peer")
    labels = [
        load_file(RunFolder(done).stage("peer") / f"round-{n}" / "sublabels.safetensors")[
            "sublabels"
        ]
        for n in (1, 2)
    ]
    assert all(one.shape == (18, 18) for one in labels)
    assert (labels[0] != labels[1]).any()
    assert "classify" in RunFolder(done).manifest("peer")["identity"]["after"]


def test_the_last_network_of_drs_learned_from_the_first_ones_maps(photos, tmp_path):
    done = run(settings("drs"), photos, tmp_path / "run", last="cams")
    maps = sorted((RunFolder(done).stage("peer") / "maps" / "drs").rglob("*.npz"))
    assert len(maps) == 18
    for path in maps:
        made = load_maps(path)
        again = load_maps(RunFolder(done).stage("cams") / "drs" / path.name)
        np.testing.assert_allclose(made.maps, again.maps, atol=1 / 255)


@pytest.mark.parametrize(("kind", "after"), [("cam", 1), ("shrinkage", 3)])
def test_as_a_control_drs_second_network_learns_another_methods_maps(kind, after, photos, tmp_path):
    chosen = settings("drs", f"--drs.maps={kind}")
    done = run(chosen, photos, tmp_path / "run", last="seeds")
    learned = ("classify", "expand", "shrink")[:after]
    assert tuple(RunFolder(done).manifest("peer")["identity"]["after"]) == learned
    assert chosen.map_kinds == ("drs_refined",)
    assert not (RunFolder(done).stage("peer") / "suppressed").exists()
    made = {path.parent.name for path in RunFolder(done).stage("cams").rglob("*.npz")}
    assert made == {"drs_refined"}
    ours = run(settings("esol"), photos, tmp_path / "esol", last="cams")
    for path in sorted((RunFolder(done).stage("peer") / "maps" / kind).iterdir()):
        theirs = load_maps(RunFolder(ours).stage("cams") / kind / path.name)
        np.testing.assert_allclose(load_maps(path).maps, theirs.maps, atol=1.01 / 255)
    again = [done.stat().st_mtime_ns for done in done.rglob("*.safetensors")]
    run(chosen, photos, done, last="seeds")
    assert again == [done.stat().st_mtime_ns for done in done.rglob("*.safetensors")]


def test_eps_learned_from_the_training_list_and_no_other(photos, tmp_path):
    """Saliency maps of evaluated photos may change: they enter the masks, not the network."""
    data = shutil.copytree(photos, tmp_path / "data")
    done = run(settings("eps"), data, tmp_path / "run", last="peer")
    before = RunFolder(done).stage("peer").joinpath("manifest.json").stat().st_mtime_ns
    names = {
        split: [s.name for s in open_dataset(data, settings("eps").data).samples(split)]
        for split in ("train", "val")
    }
    invert(data / "saliency" / f"{names['val'][0]}.png")
    run(settings("eps"), data, done, last="peer")
    assert RunFolder(done).stage("peer").joinpath("manifest.json").stat().st_mtime_ns == before
    invert(data / "saliency" / f"{names['train'][0]}.png")
    with pytest.raises(InputError, match="saliency files"):
        run(settings("eps"), data, done, last="peer")


def invert(path):
    with Image.open(path) as image:
        other = ImageOps.invert(image.convert("L"))
    other.save(path)


def test_what_overwrite_will_replace_is_looked_at_first(photos, tmp_path, capsys):
    done = run(settings("cam"), photos, tmp_path / "run", last="classify")
    given = [str(SMOKE), str(photos), str(done), "--method", "cam", "--overwrite"]
    kept = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    assert main(["run", *given, "--backbone.name", "resnet9000"]) == 2
    assert "resnet9000" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()} == kept


def test_eps_without_saliency_and_foreign_kinds_are_refused(photos, tmp_path, capsys):
    with pytest.raises(InputError, match=r"masks\.saliency"):
        load_settings(str(SMOKE), "--method=eps")
    with pytest.raises(InputError, match=r"seeds\.kind = 'shrinkage'.*drs_refined \(method drs\)"):
        load_settings(str(SMOKE), "--method=drs", "--seeds.kind=shrinkage")
    with pytest.raises(InputError, match=r"walk\.start = 'shrinkage'.*drs_refined"):
        load_settings(str(SMOKE), "--method=drs", "--refine.walk.start=shrinkage")
    with pytest.raises(InputError, match=r"drs\.everywhere"):
        load_settings(str(SMOKE), "--method=drs", "--backbone.learn=[]")
    target = tmp_path / "run"
    assert main(["expand", str(SMOKE), str(photos), str(target), "--method", "cam"]) == 2
    assert "method cam has no stage expand" in capsys.readouterr().err
    assert not target.exists()


def test_another_method_does_not_pass_for_this_one(photos, tmp_path, capsys):
    target = tmp_path / "run"
    run(settings("cam"), photos, target, last="cams")
    given = ["cams", str(SMOKE), str(photos), str(target), "--method", "esol"]
    assert main(given) == 2
    assert "is not finished; run the stage expand first" in capsys.readouterr().err
