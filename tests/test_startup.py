"""What commands import: PyTorch takes 1.5 s, torchvision and timm 2.6 s more."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from esol.cli.main import main
from esol.data.normalisation import Normalisation
from esol.data.synthetic import write_synthetic
from esol.networks import pretrained
from esol.networks.pretrained import own_normalisation, recall
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings

SMOKE = str(Path(__file__).parent / "smoke.yaml")
HEAVY = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "accelerate", "scipy")
CODE = f"""
import sys
from esol.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(code, *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """Photos, and a finished run on them from weights that want another mean than ImageNet's."""
    place = tmp_path_factory.mktemp("startup")
    write_synthetic(place / "photos", photos=16, size=64, seed=0, val_fraction=0.25, hard=True)
    save_file(timm.create_model("test_resnet").state_dict(), place / "weights.safetensors")
    words = ["run", SMOKE, str(place / "photos"), str(place / "run")]
    words += ["--backbone.weights", str(place / "weights.safetensors"), "--refine.methods", "[]"]
    words += ["--masks.source", "crf", "--classify.fit.epochs", "1", "--segment.fit.steps", "2"]
    assert main(words) == 0
    return place


def imported(place: Path, *words: str, code: str = CODE) -> tuple[set[str], str]:
    """Which heavy packages a command imports, in a process of its own; and what it says."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=place, check=False
    )
    *_, last = done.stderr.splitlines()
    status, *names = last.split()
    assert status == "0", done.stderr
    return set(names), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        *("--help", "run --help", "export --help", "check photos", "run run", "masks run"),
        *("evaluate run/07-masks --gt photos/masks", "report run --photos 0"),
    ],
)
def test_what_trains_nothing_imports_nothing_heavy(place, words):
    assert imported(place, *words.split())[0] == set()


@pytest.mark.parametrize("stage", ["seeds", "masks", "evaluate"])
def test_stages_without_a_network_import_pytorch_alone(place, tmp_path, stage):
    run = shutil.copytree(place / "run", tmp_path / "run")
    shutil.rmtree(RunFolder(run).stage(stage))
    assert imported(place, stage, str(run))[0] == {"torch"}
    assert RunFolder(run).is_finished(stage)


@pytest.mark.parametrize("weights", ["none", "imagenet"])
def test_a_new_run_says_what_it_will_do_before_it_imports_pytorch(place, tmp_path, weights):
    stop = "import sys, esol.stages as s; s._say_what_is_to_do = lambda names: sys.exit(0)"
    words = ["run", SMOKE, "photos", str(tmp_path), f"--backbone.weights={weights}"]
    assert imported(place, *words, code=stop + CODE)[0] == set()


def test_so_does_a_run_that_goes_on(place, tmp_path):
    run = shutil.copytree(place / "run", tmp_path / "run")
    shutil.rmtree(RunFolder(run).stage("seeds"))
    stop = "import sys, esol.stages as s; s.check_input = lambda *_: sys.exit(0)"
    names, said = imported(place, "run", str(run), code=stop + CODE)
    assert said.startswith("to do: seeds, evaluate; first a look")
    assert names == set()


def test_timm_is_asked_again_where_the_run_was_made_with_another(place, tmp_path):
    run = shutil.copytree(place / "run", tmp_path / "run")
    description = json.loads((run / "run.json").read_text())
    assert description["timm"] == version("timm")
    assert description["normalisation"] == {"test_resnet": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (run / "run.json").write_text(json.dumps(description | {"timm": "0.1"}))
    names, said = imported(place, "run", str(run))
    assert "timm" in names
    assert "done before: classify" in said
    assert json.loads((run / "run.json").read_text()) == description


@pytest.mark.parametrize(
    ("said", "mean"),
    [
        ({"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}, (0.1, 0.2, 0.3)),
        ({"mean": [0.1, 0.2], "std": [0.5, 0.5, 0.5]}, (0.5, 0.5, 0.5)),
        ({"mean": ["x", 0, 0], "std": [0.5, 0.5, 0.5]}, (0.5, 0.5, 0.5)),
        ({"mean": [0.1, 0.2, 0.3], "std": [0.5, 0, 0.5]}, (0.5, 0.5, 0.5)),
        ({"mean": [0.1, 0.2, 0.3]}, (0.5, 0.5, 0.5)),
        ("x", (0.5, 0.5, 0.5)),
    ],
)
def test_only_what_may_be_a_normalisation_is_recalled(monkeypatch, said, mean):
    monkeypatch.setattr(pretrained, "_told", {})
    recall({"timm": version("timm"), "normalisation": {"test_resnet": said}})
    found = own_normalisation(BackboneSettings(name="test_resnet"))
    assert found == Normalisation(mean, (0.5, 0.5, 0.5))
