"""The Dockerfile: linted, not built; what it copies is there, and is enough for the package."""

import fnmatch
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


def instructions(name: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in LINES if line.startswith(f"{name} ")]


def copied() -> list[str]:
    return [source for line in instructions("COPY") for source in line.split()[:-1]]


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    hadolint = Path(sys.executable).with_name("hadolint")
    return subprocess.run([hadolint, path], capture_output=True, text=True)


def test_hadolint_has_nothing_to_say():
    done = lint(ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


@pytest.mark.parametrize(
    ("fault", "rule"),
    [("RUN cd /tmp", "DL3003"), ("USER root", "DL3002"), ("COPY a b c", "DL3021")],
)
def test_hadolint_finds_faults_in_it(fault, rule, tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text((ROOT / "Dockerfile").read_text() + f"{fault}\n")
    done = lint(path)
    assert done.returncode != 0
    assert rule in done.stdout


def test_the_base_can_be_chosen_and_the_user_is_not_root():
    assert instructions("FROM") == ["${BASE}"]
    assert instructions("USER") == ["10001"]
    after = LINES[next(i for i, line in enumerate(LINES) if line.startswith("USER ")) :]
    assert not [line for line in after if line.startswith(("RUN ", "COPY "))]


def test_what_it_copies_is_all_that_is_sent():
    ignored, *kept = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    sent = [line.removeprefix("!") for line in kept if line.startswith("!")]
    assert sorted(sent) == sorted(copied())
    assert all((ROOT / source).exists() for source in copied())


def test_the_package_builds_from_what_it_copies_alone(tmp_path):
    for source in copied():
        if (ROOT / source).is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, tmp_path / source, ignore=skip)
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert fnmatch.fnmatch(wheel.name, "esol-*-py3-none-any.whl")
