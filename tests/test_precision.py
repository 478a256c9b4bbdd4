"""bfloat16: where it is chosen, what stays float32, what runs of both precisions have in common.

Here it is computed by way of float32, slowly; what is equal is so on any processor.
"""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_stage_parts import unread

import esol.training.fit
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.method.classifier import Classifier
from esol.method.localizer import Localizer
from esol.predict.model import Model, load
from esol.runs.folder import RunFolder
from esol.settings.load import load_settings
from esol.stages import reads, run
from esol.stages.begun import as_begun, with_precision
from esol.system import precision
from esol.system.precision import half, resolved, whole
from esol.training.features import cache_folder

SMOKE = str(Path(__file__).parent / "smoke.yaml")
CPU = torch.device("cpu")
COMPUTES = precision.computes_bfloat16  # as it is without tests/conftest.py
SMALL = (
    *("--machine.device=cpu", "--machine.checkpoint_seconds=0", "--input.size=32"),
    *("--refine.affinity.input.size=32", "--segment.input.size=32", "--segment.longest=32"),
    *(f"--{stage}.fit.batch=2" for stage in ("classify", "expand", "shrink", "segment")),
    *(f"--{stage}.fit.steps=2" for stage in ("classify", "expand", "shrink", "segment")),
    *("--refine.affinity.fit.batch=2", "--refine.affinity.fit.steps=2"),
    *("--refine.instances=true", "--refine.methods=[irn,affinity]", "--refine.crf.iterations=1"),
)
TRAINED = ("classify", "expand", "shrink", "refine", "segment")
MADE = (*TRAINED[:3], "cams", *TRAINED[3:])
"""Stages that compute with a network."""


def settings(asked, *flags):
    return load_settings(SMOKE, *SMALL, f"--machine.precision={asked}", *flags)


def made(asked, photos, folder, first="classify") -> Path:
    return run(settings(asked), photos, folder, first=first, last="segment")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("precision") / "photos"
    write_synthetic(root, photos=6, size=32, seed=0, val_fraction=0.34, hard=True)
    return root


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    both = ("no", "bf16")
    return {asked: made(asked, photos, folder / asked) for asked in both}


@pytest.fixture
def native(monkeypatch):
    monkeypatch.setattr(precision, "computes_bfloat16", lambda: True)


def contents(folder: Path) -> dict[str, bytes]:
    """What a run computed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in {".safetensors", ".jsonl", ".npz", ".png"}
    }


def identity(folder: Path, stage: str) -> dict:
    return json.loads((RunFolder(folder).stage(stage) / "identity.json").read_text())


@pytest.mark.parametrize("table", [{}, {"avx512_bf16": True}, {"amx_bf16": True}, {"avx2": True}])
def test_auto_follows_the_table_of_the_processor(table, monkeypatch):
    found = {"avx512_bf16": False, "amx_bf16": False, **table}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    monkeypatch.setattr(precision, "computes_bfloat16", COMPUTES)
    wanted = "bf16" if {"avx512_bf16", "amx_bf16"} & table.keys() else "no"
    assert resolved("auto", CPU) == wanted
    assert resolved("auto", torch.device("cuda")) == "no"
    assert resolved("no", CPU) == "no"
    assert resolved("bf16", CPU) == "bf16"


@pytest.mark.parametrize(("bf16", "amx"), [(False, False), (True, False), (False, True)])
def test_before_torch_2_11_there_is_no_table(bf16, amx, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert COMPUTES() == (bf16 or amx)


def test_fp16_is_refused_on_a_processor():
    with pytest.raises(InputError, match=r"machine.precision = 'fp16': not on this device"):
        resolved("fp16", CPU)


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    torch.manual_seed(0)
    frozen = settings("no", "--backbone.learn=[]", "--backbone.norm=frozen")
    model = Localizer.start(frozen, Classifier.start(frozen, 3)).eval()
    for part in (model.expansion, model.shrinkage):
        torch.nn.init.normal_(part.sampler.predict.weight, std=0.1)
    return model


def test_networks_compute_in_bfloat16_and_samplers_do_not(localizer):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = localizer.backbone(images)
        expected = localizer.maps(plain)
        with half(CPU, "bf16"):
            features = localizer.backbone(images)
            maps = localizer.maps(features)
            offset = localizer.expansion.sampler(plain)
            with whole(CPU):
                assert localizer.backbone(images).dtype == torch.float32
        with half(CPU, "no"):
            assert torch.equal(localizer.backbone(images), plain)
        assert torch.equal(offset, localizer.expansion.sampler(plain))
    assert features.dtype == torch.bfloat16
    assert 0 < (features.float() - plain).norm() < 0.02 * plain.norm()
    for kind, values in maps.items():
        assert values.dtype == torch.float32, kind
        assert 0 < (values - expected[kind]).norm() < 0.05 * expected[kind].norm(), kind


@pytest.mark.parametrize("learn", ["offsets", "offsets+w1", "w1"])
def test_gradients_of_samplers_and_weights_are_float32(learn, localizer):
    asked = settings("bf16", f"--expand.learn={learn}")
    model = Localizer.start(asked, copy.deepcopy(localizer.classifier))
    features = torch.rand(2, model.expansion.w1.shape[1], 6, 6)
    gradients = {}
    for kind in ("no", "bf16"):
        model.zero_grad()
        with half(CPU, kind):
            model.classifier.head.after_w1(model.expansion(features)).square().mean().backward()
        parameters = model.expansion.named_parameters()
        # That of a bias is 0: what all offsets have in common is taken away.
        gradients[kind] = {
            n: p.grad.clone() for n, p in parameters if p.dim() > 1 and p.grad is not None
        }
    assert gradients["no"].keys() == gradients["bf16"].keys() != set()
    for name, gradient in gradients["bf16"].items():
        assert gradient.dtype == torch.float32
        expected = gradients["no"][name]
        assert 0 < (gradient - expected).norm() < 0.15 * expected.norm(), name


def test_every_stage_computes_in_the_precision_of_its_identity(runs):
    plain, found = contents(runs["no"]), contents(runs["bf16"])
    assert plain.keys() == found.keys()
    for stage in MADE:
        old, new = identity(runs["no"], stage), identity(runs["bf16"], stage)
        assert "machine" not in old
        assert new.pop("machine") == {"precision": "bf16"}
        # Digests of what was made before differ.
        assert {k for k in old if old[k] != new[k]} <= {"after", "train maps", "train masks"}
        prefix = f"{RunFolder(runs['no']).stage(stage).name}/"
        assert any(plain[name] != found[name] for name in plain if name.startswith(prefix)), stage
    assert "machine" not in identity(runs["bf16"], "seeds")
    for stage in TRAINED:
        lines = [
            (RunFolder(folder).stage(stage) / "metrics.jsonl").read_text().splitlines()
            for folder in runs.values()
        ]
        for one, two in zip(*(map(json.loads, some) for some in lines), strict=True):
            assert two == pytest.approx(one, rel=0.2, abs=0.01), stage


@pytest.mark.parametrize(
    ("stage", "parts", "left"),
    [
        ("refine", (reads._CRF, reads._AFFINITY, *reads._IRN), {"refine.methods"}),
        ("segment", reads._SEGMENT, {"after.masks"}),
    ],
)
def test_outputs_of_another_precision_are_made_again(stage, parts, left, runs):
    assert unread(identity(runs["bf16"], stage), parts) == left
    networks = [part for part in parts if part.files != ("crf",)]
    assert all("machine" in part.reads for part in networks)


def test_stopped_in_every_training_it_ends_in_the_same_bytes(runs, photos, tmp_path, monkeypatch):
    class StopError(BaseException):
        """Stands for a kill: nothing in the program catches it."""

    stopped, save = set(), esol.training.fit._all_save

    def killing(accelerator, folder, step):
        save(accelerator, folder, step)
        if folder not in stopped:
            stopped.add(folder)
            raise StopError

    monkeypatch.setattr(esol.training.fit, "_all_save", killing)
    for _ in TRAINED:
        with pytest.raises(StopError):
            made("bf16", photos, tmp_path / "run")
    made("bf16", photos, tmp_path / "run")
    assert {path.name for path in stopped} == {
        RunFolder(tmp_path / "run").stage(stage).name for stage in TRAINED
    }
    assert contents(tmp_path / "run") == contents(runs["bf16"])


@pytest.mark.parametrize("begun", ["no", "bf16"])
@pytest.mark.parametrize("fits", [False, True])
def test_auto_goes_on_as_the_run_was_begun(begun, fits, runs, photos, monkeypatch, caplog):
    monkeypatch.setattr(precision, "computes_bfloat16", lambda: fits)
    here, new = "bf16" if fits else "no", RunFolder(photos / "nothing there")
    assert as_begun(settings("auto"), new).machine.precision == "auto"
    assert not caplog.messages
    before = {path: path.stat().st_mtime_ns for path in runs[begun].rglob("0*/*")}
    made("auto", photos, runs[begun])
    assert {path: path.stat().st_mtime_ns for path in runs[begun].rglob("0*/*")} == before
    assert RunFolder(runs[begun]).settings().machine.precision == begun
    assert "machine.precision" not in caplog.text  # there is nothing to do
    given, folder = settings("auto"), RunFolder(runs[begun])
    assert with_precision(given, as_begun(given, folder), folder).machine.precision == begun
    said = f"goes on with machine.precision = {begun}, with which it was begun; auto is {here} here"
    assert (said in caplog.text) == (begun != here)


@pytest.mark.parametrize(("begun", "asked"), [("no", "bf16"), ("bf16", "no")])
def test_another_precision_is_refused(begun, asked, runs, photos):
    said = f"made with machine.precision = {begun}, not {asked}; "
    with pytest.raises(InputError, match=f"01-classify was {said}use another folder"):
        made(asked, photos, runs[begun])
    with pytest.raises(InputError, match=f"01-classify was {said}leave that setting out"):
        made(asked, photos, runs[begun], "cams")


def test_a_run_of_a_version_without_it_goes_on_in_float32(tmp_path, caplog):
    """Its settings may say bf16: that was ignored but on GPUs, and stood in no identity."""
    folder = RunFolder(tmp_path)
    folder.stage("classify").mkdir()
    (folder.stage("classify") / "identity.json").write_text('{"backbone": {}}')
    assert as_begun(settings("bf16"), folder).machine.precision == "bf16"
    (folder.stage("classify") / "settings.yaml").write_text("machine: {precision: bf16}")
    assert as_begun(settings("bf16"), folder).machine.precision == "no"
    assert "goes on in float32: it was begun by a version whose machine.precision" in caplog.text


def test_features_of_both_have_folders_of_their_own(native, tmp_path):
    names = {asked: cache_folder(settings(asked), tmp_path).name for asked in ("no", "bf16")}
    assert names["no"] != names["bf16"] == cache_folder(settings("auto"), tmp_path).name
    # As earlier versions named it, which computed in float32 alone.
    assert names["no"] == "features-6a6b95e71b6a9555"


def test_prediction_in_bfloat16(runs, photos, tmp_path, native):
    images = sorted((photos / "images").iterdir())
    found = {asked: load(runs["no"], "cpu", asked) for asked in ("no", "bf16", "auto")}
    assert [model.precision for model in found.values()] == ["no", "bf16", "bf16"]
    scores = {asked: model.predict(images[0]).scores for asked, model in found.items()}
    assert scores["bf16"].dtype == np.float32
    np.testing.assert_array_equal(scores["auto"], scores["bf16"])
    assert 0 < np.abs(scores["bf16"] - scores["no"]).max() < 0.05
    np.testing.assert_allclose(scores["bf16"].sum(0), 1, atol=1e-5)
    # A model that is no one's says what it is.
    assert Model(found["no"].segmenter, found["no"].description).precision == "no"
    found["no"].predict_folder(images[:1], tmp_path / "masks")
    assert "precision" not in json.loads((tmp_path / "masks/classes.json").read_text())
    with pytest.raises(InputError, match="masks of another model or of other settings"):
        found["bf16"].predict_folder(images, tmp_path / "masks")
