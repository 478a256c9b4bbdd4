"""The public names, frozen: a change here is a change for users."""

import doctest
import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import esol

NAMES = [
    *("Dataset", "InputError", "Maps", "Model", "Prediction", "Sample", "Settings"),
    *("check", "deform_conv2d_frozen", "dense_crf", "dump_settings", "evaluate_masks"),
    *("load", "load_maps", "load_settings", "open_dataset", "random_walk", "run", "seed_mask"),
    *("write_report", "write_synthetic"),
]


def test_public_names_are_these():
    assert list(esol.__all__) == NAMES
    assert {name for name in NAMES if getattr(esol, name).__doc__} == set(NAMES)


def test_names_are_listed_before_they_are_used():
    code = "import sys, esol; print(*dir(esol)); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, torch_is_loaded = found.stdout.splitlines()
    assert [name for name in listed.split() if not name.startswith("_")] == NAMES
    assert torch_is_loaded == "False"


def test_help_names_every_name():
    text = pydoc.render_doc(esol, renderer=pydoc.plaintext).partition("PACKAGE CONTENTS")[0]
    assert [name for name in NAMES if not re.search(rf"\b{name}\b", text)] == []


def test_type_checkers_see_every_name():
    source = Path(esol.__file__).read_text(encoding="utf-8")
    assert sorted(re.findall(r"^    from \S+ import (\w+) as \1$", source, re.M)) == sorted(NAMES)


def test_names_of_earlier_versions_still_work():
    assert esol.seed is esol.seed_mask


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(esol, "no_such_name")


PATHS = {"root", "path", "data", "out", "run", "masks", "truth", "saliency"}
"""Parameters of public functions that are files or folders."""


def functions():
    """Public functions, and the public methods of public classes."""
    for name in NAMES:
        thing = getattr(esol, name)
        if inspect.isfunction(thing):
            yield thing
        elif not issubclass(thing, Exception):
            methods = inspect.getmembers(thing, inspect.isfunction)
            yield from (method for key, method in methods if not key.startswith("_"))


def choices(hint):
    """The types that a hint allows, those inside lists and unions too."""
    return (
        {hint}
        if not get_args(hint)
        else {kind for part in get_args(hint) for kind in choices(part)}
    )


def path_parameters(function):
    """Name -> types, of the parameters that are paths by their name or their type."""
    kinds = {
        key: choices(hint) for key, hint in get_type_hints(function).items() if key != "return"
    }
    return {key: found for key, found in kinds.items() if key in PATHS or Path in found}


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
    for images in (kind(photo), [kind(photo)]):
        model.predict_folder(images, kind(root / "predicted"), overwrite=True)
    yield esol.load
    yield esol.Model.predict_folder
    model.predict(kind(photo)).save(kind(root / "mask.png"))
    yield esol.Prediction.save


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_may_be_text(kind, tmp_path):
    called = set(calls(kind, tmp_path))
    assert called == {function for function in functions() if path_parameters(function)}


def test_every_path_parameter_says_that_it_takes_text():
    found = [path_parameters(function) for function in functions()]
    assert sum(map(len, found)) > 10
    for parameters in found:
        assert all({str, Path} <= kinds for kinds in parameters.values())


def test_example_in_the_package_docstring_runs():
    assert doctest.testmod(esol).failed == 0


def test_help_does_not_wait_for_torch():
    code = "import sys, esol.cli.main as m; m.main(['--help']); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("False")
