"""The public names, frozen: a change here is a change for users."""

import doctest

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


def test_example_in_the_package_docstring_runs():
    assert doctest.testmod(esol).failed == 0


def test_help_does_not_wait_for_torch():
    import subprocess
    import sys

    code = "import sys, esol.cli.main as m; m.main(['--help']); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("False")
