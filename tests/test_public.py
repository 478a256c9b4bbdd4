"""The public names, frozen: a change here is a change for users."""

import doctest
import inspect
from pathlib import Path

import pytest

import esol

NAMES = [
    *("Dataset", "InputError", "Maps", "Prediction", "Sample", "Settings"),
    *("check", "deform_conv2d_frozen", "dense_crf", "dump_settings", "evaluate_masks"),
    *("load", "load_maps", "load_settings", "open_dataset", "random_walk", "run", "seed_mask"),
    *("write_report", "write_synthetic"),
]


def test_public_names_are_these():
    assert list(esol.__all__) == NAMES
    assert {name for name in NAMES if getattr(esol, name).__doc__} == set(NAMES)


def test_names_of_earlier_versions_still_work():
    assert esol.seed is esol.seed_mask


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(esol, "no_such_name")


PATHS = {"root", "path", "data", "out", "run", "masks", "truth", "name", "saliency"}
"""Arguments of public functions that are files or folders."""


def calls(kind, root):
    """Every public function that takes files or folders, and its methods, with paths of a kind."""
    smoke, run = Path(__file__).with_name("smoke.yaml"), root / "run"
    settings = esol.load_settings(kind(smoke), "--segment.fit.steps=1")
    yield esol.load_settings
    esol.write_synthetic(kind(root / "data"), photos=8, size=64, seed=0)
    yield esol.write_synthetic
    esol.open_dataset(kind(root / "data"), settings.data)
    yield esol.open_dataset
    esol.check(kind(root / "data"), settings.data, saliency=kind(root / "data/saliency"))
    yield esol.check
    esol.run(settings, kind(root / "data"), kind(run))
    yield esol.run
    assert esol.write_report(kind(run)) == run / "report.html"
    yield esol.write_report
    maps = next((run / "04-cams").rglob("*.npz"))
    esol.load_maps(kind(maps))
    yield esol.load_maps
    esol.evaluate_masks(kind(root / "data/masks"), kind(root / "data/masks"))
    yield esol.evaluate_masks
    model = esol.load(kind(run))
    photo = next((root / "data/images").iterdir())
    model.predict(kind(photo))
    for images in (kind(photo), [kind(photo)]):
        model.predict_folder(images, kind(root / "predicted"), overwrite=True)
    yield esol.load


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_may_be_text(kind, tmp_path):
    called = set(calls(kind, tmp_path))
    functions = {f for f in (getattr(esol, name) for name in NAMES) if inspect.isfunction(f)}
    takes_paths = {f for f in functions if PATHS & set(inspect.signature(f).parameters)}
    assert called == takes_paths
    for function in functions:
        hints = inspect.get_annotations(function)
        assert not [k for k, hint in hints.items() if hint in (Path, "Path") and k != "return"]


def test_example_in_the_package_docstring_runs():
    assert doctest.testmod(esol).failed == 0


def test_help_does_not_wait_for_torch():
    import subprocess
    import sys

    code = "import sys, esol.cli.main as m; m.main(['--help']); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("False")
