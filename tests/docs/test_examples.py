"""Examples in README, docs and docstrings run as they stand, in a folder with photos and a run."""

import contextlib
import doctest
import io
import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from PIL import Image

import esol
from esol.data.voc import VOC_CLASSES
from esol.label_tools.exports import export_masks
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import save_bundle
from esol.settings import Segment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMOKE = ROOT / "tests" / "smoke.yaml"

SMALLER = {'load_settings("tags-folder-cpu")': f'load_settings("{SMOKE}")'}
"""What README's example does in minutes -> the same in seconds."""


def blocks() -> list[tuple[str, str]]:
    """Place and text of every Python block; README first, whose photos and run the others use."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", match[1]))
    return found


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """The current folder of all examples, with what they name besides what README's makes."""
    place = tmp_path_factory.mktemp("examples")
    with contextlib.chdir(place):
        Path("holiday").mkdir()
        Path("new-photos").mkdir()
        for new in ("holiday/beach.jpg", "new-photos/0001.jpg"):
            Image.new("RGB", (50, 40), "navy").save(new)
        esol.write_synthetic("photos", photos=24, size=64, seed=0)
        torch.save({"state_dict": {"module.weight": torch.ones(2)}}, "mine.pth")
        (place / "VOC2012" / "JPEGImages").mkdir(parents=True)
        lists = place / "VOC2012" / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        Image.new("RGB", (32, 32), "green").save("VOC2012/JPEGImages/2008_000006.jpg")
        (lists / "test.txt").write_text("2008_000006\n")
        voc_network(place / "runs" / "voc12" / "08-segment" / "model.safetensors")
        (label, readme), *_ = blocks()
        assert label.startswith("README.md")
        for text, smaller in SMALLER.items():
            assert text in readme
            readme = readme.replace(text, smaller)
        execute(label, readme)
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
    exec(compile(text, label, "exec"), names)
    return names


def test_readme_finds_what_it_says(folder):
    run = folder / "runs" / "mine"
    assert (run / "report.html").is_file()
    maps = esol.load_maps(run / "04-cams" / "shrinkage" / "00001.npz").full()
    assert maps.min() >= 0
    assert maps.max() <= 1


@pytest.mark.parametrize(("label", "text"), blocks()[1:], ids=[at for at, _ in blocks()[1:]])
def test_block_runs(label, text):
    execute(label, text)


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
