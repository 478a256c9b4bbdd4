"""Where memory runs out, one line names the photo and what helps; nothing is half written."""

import errno
import re
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

import esol.maps.localize
import esol.masks.refine
import esol.networks.segmenter
import esol.predict.model
import esol.stages.classify
import esol.stages.evaluate
import esol.stages.masks
import esol.stages.refine
import esol.stages.seeds
import esol.stages.segment
import esol.training.inputs
from esol.cli.main import main
from esol.data.memory import enough_memory
from esol.data.synthetic import write_synthetic
from esol.errors import InputError, is_shortage

SMOKE = str(Path(__file__).parent / "smoke.yaml")
CPU = "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory: you"
SHORTAGES = [
    MemoryError(),
    RuntimeError(f"{CPU} tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ..."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("DataLoader worker (pid 71) is killed by signal: Killed. "),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_all_ways_to_run_out_of_memory(error, tmp_path):
    photo = tmp_path / "a.png"
    Image.new("RGB", (8, 4)).save(photo)
    expected = "not enough memory for .*a.png .8 x 4.: lower cams.scales or input.longest, or make"
    with (
        pytest.raises(InputError, match=expected),
        enough_memory([photo], "cams.scales", "input.longest"),
    ):
        raise error


def test_the_largest_photo_of_a_batch_is_named(tmp_path):
    for name, size in {"a": (8, 4), "b": (9, 9), "c": (1, 1)}.items():
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    named = r"b.png \(9 x 9\) and 2 more photos at once: lower x, or"
    with pytest.raises(InputError, match=named), enough_memory(paths, "x"):
        raise MemoryError


def test_other_errors_pass():
    assert not is_shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_shortage(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(ZeroDivisionError), enough_memory([]):
        raise ZeroDivisionError


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """Photos, and a finished run."""
    root = tmp_path_factory.mktemp("memory")
    write_synthetic(root / "photos", photos=8, size=64, seed=0, val_fraction=0.25, hard=True)
    assert main(["run", SMOKE, str(root / "photos"), str(root / "run")]) == 0
    return root


def raising(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


STAGES = {
    "classify": (esol.stages.classify, "classify_losses", "classify.fit.batch or input.size"),
    "cams": (esol.maps.localize, "resize", "cams.scales or input.size"),
    "seeds": (esol.stages.seeds, "photo_seed", "make the photo smaller, or give more memory"),
    "refine": (esol.stages.refine, "crf_masks", "lower refine.longest"),
    "masks": (esol.stages.masks, "pseudo_mask", "make the photo smaller, or give more memory"),
    "segment": (
        *(esol.stages.segment, "segment_losses"),
        "lower segment.fit.batch or segment.input.size",
    ),
    "evaluate": (esol.stages.evaluate, "confusion", "make the photo smaller"),
}
"""Stage -> where a shortage is raised in it, and what helps."""


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_says_what_helps(stage, done, tmp_path, monkeypatch, capsys):
    module, name, advice = STAGES[stage]
    monkeypatch.setattr(module, name, raising)
    run = tmp_path / "run"
    shutil.copytree(done / "run", run)
    shutil.rmtree(next(run.glob(f"0*-{stage}")))
    capsys.readouterr()
    code = main([stage, SMOKE, str(done / "photos"), str(run)])
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert line.startswith("esol: not enough memory for ")
    assert re.search(r"\.jpg \(\d+ x 64\)|\.jpg \(64 x \d+\)", line)
    assert advice in line
    monkeypatch.undo()
    assert main([stage, SMOKE, str(done / "photos"), str(run)]) == 0


def test_a_prediction_says_what_helps(done, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(esol.predict.model.Model, "probabilities", raising)
    images = str(done / "photos" / "images")
    assert main(["predict", str(done / "run"), images, str(tmp_path)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "more photos at once: lower --longest or --batch" in line


def test_a_photo_in_a_loading_process(done, tmp_path, monkeypatch, capsys):
    """Where it is decoded and cut, the photo alone is to blame."""
    monkeypatch.setattr(esol.training.inputs, "squash", raising)
    command = ["classify", SMOKE, str(done / "photos"), str(tmp_path / "run")]
    assert main([*command, "--machine.workers=1"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "not enough memory for " in line
    assert line.endswith(": make the photo smaller, or give more memory")


def test_elsewhere_it_is_one_line_too(monkeypatch, capsys):
    monkeypatch.setattr("esol.stages.run", raising)
    assert main(["run", SMOKE, "photos", "run"]) == 2
    told = capsys.readouterr().err
    assert told.splitlines() == [
        "esol: not enough memory (CUDA out of memory. Tried to allocate 20.00 GiB.):"
        " give more memory"
    ]


def test_a_network_that_cannot_be_made_for_want_of_memory(done, tmp_path, monkeypatch, capsys):
    """It is not the network's fault: no other one is recommended."""
    monkeypatch.setattr("esol.networks.backbone.timm.create_model", raising)
    assert main(["classify", SMOKE, str(done / "photos"), str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("esol: not enough memory (CUDA")


@pytest.mark.skipif(sys.platform != "linux", reason="the system's limit is Linux's")
def test_a_real_shortage(done, tmp_path):
    """The system refuses what the allocator asks for: no fake error."""
    photo = next((done / "photos" / "images").iterdir())
    Image.open(photo).resize((6000, 6000)).save(tmp_path / "large.jpg")
    limited = partial(resource.setrlimit, resource.RLIMIT_DATA, (1_100_000_000,) * 2)
    words = ["predict", str(done / "run"), str(tmp_path / "large.jpg"), str(tmp_path / "out")]
    told = subprocess.run(
        [sys.executable, "-m", "esol", *words, "--longest", "4096"],
        capture_output=True,
        text=True,
        preexec_fn=limited,
    )
    assert told.returncode == 2, told.stderr
    line = told.stderr.splitlines()[-1]
    assert line.startswith("esol: ")
    assert "large.jpg" in line
    assert "not enough memory" in line
    assert "Traceback" not in told.stderr
    assert not list((tmp_path / "out").glob("*.png"))
