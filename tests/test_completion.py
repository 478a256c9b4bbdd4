"""Completion: the scripts are valid, bash completes by one, and nothing is done on the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from esol.cli.completion import SHELLS
from esol.cli.main import COMMANDS, main
from esol.runs.stages import STAGES

# Where the command esol is that goes with this Python.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def script(shell: str, capsys) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def completed(line: str, folder: Path, capsys) -> list[str]:
    """What bash offers after TAB at the end of a line, as a user's shell finds it."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    asked = f"""
{script("bash", capsys)}
COMP_LINE='{line}' COMP_POINT={len(line)} COMP_CWORD={len(words) - 1} COMP_TYPE=9
COMP_WORDS=({quoted})
$(complete -p esol | sed 's/.*-F \\([^ ]*\\).*/\\1/') esol
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": PATH},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return [word.rstrip() for word in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_valid(shell, capsys, tmp_path):
    text = script(shell, capsys)
    assert "esol" in text
    path = tmp_path / "script"
    path.write_text(text)
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands(tmp_path, capsys):
    assert completed("esol cla", tmp_path, capsys) == ["classify"]
    offered = completed("esol ", tmp_path, capsys)
    assert set(offered) >= {*COMMANDS, *STAGES}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("esol run --backbone.str", ["--backbone.stride"]),
        ("esol predict run photos out --device c", ["cpu", "cuda"]),
        ("esol export run out --to labelst", ["labelstudio"]),
        ("esol prepare v", ["voc12"]),
        ("esol run my-ph", ["my-photos/"]),
        ("esol evaluate m --gt g --li", ["--list"]),
        ("esol no-such-command ", [""]),
    ],
)
def test_settings_values_and_paths(line, offered, tmp_path, capsys):
    (tmp_path / "my-photos").mkdir()
    assert completed(line, tmp_path, capsys) == offered


@pytest.mark.parametrize("line", ["esol demo ", "esol run demo photos out ", "esol report . "])
def test_nothing_is_done(line, tmp_path, capsys):
    completed(line, tmp_path, capsys)
    assert not list(tmp_path.iterdir())
