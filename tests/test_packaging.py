"""What is built: the source archive, the wheel made from it, and the program out of that wheel."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import esol

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder of esol-VERSION.tar.gz and of the wheel, which is built from that archive alone."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", f"--outdir={out}", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The wheel's files, as an installation has them."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_version_has_one_place(built):
    assert "version" not in PYPROJECT["project"]
    names = sorted(path.name for path in built.iterdir())
    assert names == [f"esol-{esol.__version__}-py3-none-any.whl", f"esol-{esol.__version__}.tar.gz"]


def test_the_wheel_has_the_package_and_nothing_else(installed):
    source = files(ROOT / "esol") | {f"configs/{name}" for name in files(ROOT / "configs")}
    assert files(installed / "esol") == source
    assert {"py.typed", "configs/demo.yaml", "report/page.html.j2", "reproduce/paper.json"} < source
    folders = {path.name for path in installed.iterdir()}
    assert folders == {"esol", f"esol-{esol.__version__}.dist-info"}


def test_what_the_wheel_says_of_itself(installed):
    said = message_from_bytes(next(installed.glob("*.dist-info/METADATA")).read_bytes())
    assert said["Version"] == esol.__version__
    assert said["License-Expression"] == "Apache-2.0"
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == PYPROJECT["project"]["requires-python"]
    assert set(said.get_all("Provides-Extra")) == set(PYPROJECT["project"]["optional-dependencies"])


def test_the_source_archive_can_be_tested_and_built(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tests = {f"tests/{name}" for name in files(ROOT / "tests")}
    given = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "Makefile", ".ci/run"}
    assert given | tests | {f"esol/{name}" for name in files(ROOT / "esol")} <= names


def test_the_program_runs_out_of_the_wheel(installed, tmp_path):
    """From another folder, and with everything that it looks up beside its own files."""
    script = """
import sys
from pathlib import Path
import esol
from esol.settings.load import config_folder
from esol.report.page import ReportData, build
from esol.reproduce.tables import paper

site = Path(sys.argv[1])
assert Path(esol.__file__).is_relative_to(site), esol.__file__
assert config_folder() == site / "esol" / "configs", config_folder()
for path in config_folder().glob("*.yaml"):
    esol.load_settings(path.stem)
assert paper()
build(ReportData("title", (), {}, None, "", {}), Path("report.html"))
"""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    run = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", script, str(installed)], **run)
    assert done.returncode == 0, done.stderr
    assert "</html>" in (tmp_path / "report.html").read_text()
    for arguments, said in [
        (["--version"], esol.__version__),
        (["run", "demo", "--print_config"], "backbone:"),
        (["check", "nothing-here"], "nothing-here"),
    ]:
        done = subprocess.run([sys.executable, "-m", "esol", *arguments], **run)
        assert said in done.stdout + done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_python_versions_are_told_once():
    """The classifiers, the linter's target and the CI agree with requires-python."""
    lowest = re.fullmatch(r">=3\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert lowest
    told = [
        int(line.rpartition(".")[2])
        for line in PYPROJECT["project"]["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert told == list(range(int(lowest[1]), max(told) + 1))
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py3{lowest[1]}"
