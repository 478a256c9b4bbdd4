"""Examples in README, docs and docstrings run as they stand, in a folder with photos and a run."""

import contextlib
import doctest
import io
import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import esol
from esol.cli.main import main
from esol.data.classes import VOC_CLASSES
from esol.label_tools.exports import export_masks
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import save_bundle
from esol.predict.onnx import torch_is_too_old
from esol.settings import Segment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMOKE = ROOT / "tests" / "smoke.yaml"

SMALLER = {
    'load_settings("demo", "--seed=1")': f'load_settings("{SMOKE}", "--seed=1")',
    'load_settings("tags-folder-cpu")': f'load_settings("{SMOKE}", "--seed=1")',
    'write_synthetic("photos", photos=600, size=96, seed=0)': (
        'write_synthetic("photos", photos=24, size=64, seed=0)'
    ),
}
"""What examples of a whole run have in minutes -> the same in seconds."""


def blocks() -> list[tuple[str, str]]:
    """Place and text of every Python block."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", match[1]))
    return found


def whole_runs() -> list[tuple[str, str]]:
    """Blocks that make photos and a run, the first for the others to use."""
    return [block for block in blocks() if "write_synthetic(" in block[1] and ".run(" in block[1]]


def onnx_example() -> tuple[str, str]:
    (block,) = [block for block in blocks() if "onnxruntime" in block[1]]
    return block


def others() -> list[tuple[str, str]]:
    return [block for block in blocks() if block not in (whole_runs()[0], onnx_example())]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """The current folder of all examples, with what they name besides what the first makes."""
    place = tmp_path_factory.mktemp("examples")
    with contextlib.chdir(place):
        Path("holiday").mkdir()
        Path("new-photos").mkdir()
        for new in ("holiday/beach.jpg", "new-photos/0001.jpg"):
            Image.new("RGB", (50, 40), "navy").save(new)
        torch.save({"state_dict": {"module.weight": torch.ones(2)}}, "mine.pth")
        (place / "VOC2012" / "JPEGImages").mkdir(parents=True)
        lists = place / "VOC2012" / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        Image.new("RGB", (32, 32), "green").save("VOC2012/JPEGImages/2008_000006.jpg")
        (lists / "test.txt").write_text("2008_000006\n")
        voc_network(place / "runs" / "voc12" / "08-segment" / "model.safetensors")
        execute(*whole_runs()[0])
        corrected_masks(Path("corrected.json"))
        yield place


def voc_network(path: Path) -> None:
    """A network for VOC's classes, of random weights."""
    path.parent.mkdir(parents=True)
    network = Segmenter(
        Segment(network="FPN", encoder="tu-test_resnet", weights="none", stride=8, norm="frozen"),
        21,
    )
    test = {"resize": "squash", "size": 32, "longest": 32, "scales": [1.0], "flip": False}
    crf = {"iterations": 0}
    save_bundle(path, network, {**test, "crf": crf, "classes": list(VOC_CLASSES)})


def corrected_masks(path: Path) -> None:
    """The run's masks as a label tool gives them back, one photo's taken away by hand."""
    export_masks("runs/mine", path, to="coco")
    content = json.loads(path.read_text())
    wrong = content["annotations"][0]["image_id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != wrong]
    path.write_text(json.dumps(content))


def execute(label: str, text: str) -> dict[str, object]:
    names: dict[str, object] = {}
    for minutes, seconds in SMALLER.items():
        text = text.replace(minutes, seconds)
    exec(compile(text, label, "exec"), names)
    return names


def test_a_whole_run_finds_what_it_says(folder):
    run = folder / "runs" / "mine"
    assert (run / "report.html").is_file()
    maps = esol.load_maps(run / "04-cams" / "shrinkage" / "00001.npz").full()
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.parametrize(("label", "text"), others(), ids=[at for at, _ in others()])
def test_block_runs(label, text, tmp_path):
    with contextlib.chdir(tmp_path if (label, text) in whole_runs() else "."):
        execute(label, text)


@pytest.mark.skipif(torch_is_too_old(), reason="this torch's exporter is too old")
def test_onnx_example_finds_what_predict_finds():
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    assert main(["export", "runs/mine", "mine.onnx", "--to", "onnx"]) == 0
    names: Any = execute(*onnx_example())
    expected = esol.load("runs/mine").predict("photos/images/00002.jpg", crf=False)
    assert np.mean(names["mask"] == expected.mask) >= 0.999
    assert np.abs(names["scores"] - expected.scores).max() < 1e-3
    assert sorted(names["found"]) == sorted(expected.classes)
    assert ["background", *names["classes"]] == list(expected.names)


def modules() -> list[str]:
    """Modules of esol with an example."""
    names = ["esol", *(found.name for found in pkgutil.walk_packages(esol.__path__, "esol."))]
    sources = {name: ROOT.joinpath(*name.split(".")) for name in names}
    files = {
        name: path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for name, path in sources.items()
    }
    return [name for name, file in files.items() if ">>> " in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name):
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        failed, tried = doctest.testmod(import_module(name))
    assert tried
    assert not failed, told.getvalue()


def test_every_public_function_has_an_example():
    with_example = {name for name in esol.__all__ if ">>> " in (getattr(esol, name).__doc__ or "")}
    functions = {name for name in esol.__all__ if name[0].islower()}
    pages = " ".join(text for _, text in blocks())
    assert {name for name in functions - with_example if f"{name}(" not in pages} == set()
