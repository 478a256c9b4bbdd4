"""``--help``: what a stage reads, with the values it would have, on one or two screens."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from esol.cli.help import CHANGED_MOST, as_flag
from esol.cli.main import main
from esol.runs.stages import STAGES
from esol.settings import Settings
from esol.settings.load import load_settings

SCREENS = 90
"""Lines of the longest help; two screens."""


@pytest.fixture
def helped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert not stop.value.code
        return capsys.readouterr().out

    return run


def keys(group: dict, prefix: str = "") -> list[str]:
    found = []
    for name, value in group.items():
        found += keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


ALL = keys(asdict(Settings()))


def shown(text: str) -> dict[str, str]:
    """Setting -> the rest of its line."""
    lines = re.findall(r"^  --(\S+) +(.*)$", text, re.MULTILINE)
    return {key: rest for key, rest in lines if key in ALL}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("config", [None, "tags-folder-cpu"])
def test_a_stage_shows_what_it_reads_on_two_screens(helped, stage, config):
    text = helped(stage, *([config] if config else []), "--help")
    assert len(text.splitlines()) <= SCREENS
    assert all(len(line) <= 100 for line in text.splitlines())
    settings = load_settings(config) if config else Settings()
    groups = (*STAGES[stage].reads(settings), "data", "machine")
    of_one = {"affinity": "irn", "walk": "irn", "instances": "irn", "similarity": "affinity"}
    idle = [
        f"refine.{key}"
        for key, method in {**of_one, "distil": "distil"}.items()
        if method not in settings.refine.methods
    ]

    def among(key: str, names: Sequence[str]) -> bool:
        return any(key == name or key.startswith(f"{name}.") for name in names)

    assert list(shown(text)) == [k for k in ALL if among(k, groups) and not among(k, idle)]
    assert f"shows all {len(ALL)} settings" in text
    assert (f"values of {config}:" if config else "package's defaults:") in text


@pytest.mark.parametrize("method", ["esol", "cam", "sccam", "drs", "eps", "lpcam"])
def test_keys_that_stages_read_are_settings(method):
    settings = load_settings("tags-folder", f"--method={method}", "--masks.saliency=S")
    for stage in STAGES.values():
        for key in stage.reads(settings):
            assert any(one == key or one.startswith(f"{key}.") for one in ALL), key


def test_values_are_those_of_the_configuration_and_of_flags(helped, tmp_path):
    assert shown(helped("expand", "-h"))["expand.alpha"].startswith("0.01 ")
    file = tmp_path / "mine.yaml"
    file.write_text("expand: {alpha: 0.5, clip: 0.75}\n")
    text = helped("expand", str(file), "--help", "--expand.clip", "1")
    assert f"values of {file}:" in text
    found = shown(text)
    assert found["expand.alpha"].startswith("0.5 ")
    assert found["expand.clip"].startswith("1.0 ")
    text = helped("expand", "--config", str(file), "--help")
    assert shown(text)["expand.alpha"].startswith("0.5 ")
    assert f"values of {file}:" in text


def test_data_and_run_folders_may_be_there(helped, tmp_path):
    for words in ([str(tmp_path)], [str(tmp_path), "out"]):
        assert "package's defaults:" in helped("run", *words, "--help")
    assert "values of demo:" in helped("run", "demo", str(tmp_path), "out", "--help")


def test_a_misspelt_configuration_is_named(capsys):
    assert main(["expand", "no-such", "--help"]) == 2
    assert "no-such: no such settings file; by name there are:" in capsys.readouterr().err
    assert main(["expand", "--expand.alpa", "1", "--help"]) == 2
    assert "did you mean expand.alpha?" in capsys.readouterr().err


def test_run_shows_the_settings_that_people_change(helped):
    text = helped("run", "tags-folder-cpu", "--help")
    assert list(shown(text)) == [key for key in ALL if key in CHANGED_MOST]
    assert set(CHANGED_MOST) <= set(ALL)
    assert shown(text)["backbone.name"].startswith("tf_efficientnet_lite2 ")
    for option in ("--from", "--until", "--overwrite", "--print_config", "--config"):
        assert re.search(rf"^  {option} ", text, re.MULTILINE)
    assert f"`esol run tags-folder-cpu --help all` shows all {len(ALL)} settings." in text


@pytest.mark.parametrize("command", ["run", "check", "evaluate"])
def test_all_settings_are_there_on_demand(helped, command):
    text = helped(command, "--expand.alpha=0.25", "--help", "all")
    assert all(f"--{key} " in text for key in ALL)
    assert "greater than 0, default: 0.25)" in " ".join(text.split())


def test_values_are_written_as_flags_take_them():
    settings = load_settings("voc-animals-cpu")
    words = [
        f"--{key}={'' if (text := as_flag(value)) == repr('') else text}"
        for key, value in flat(asdict(settings)).items()
    ]
    assert load_settings("demo", *words) == settings


def flat(group: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in group.items():
        inner = (
            flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
        found |= inner
    return found


def test_a_shell_that_completes_gets_no_help(tmp_path):
    line = "esol expand --help --expand.al"
    environment = {
        **{"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line))},
        **{"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"), "_ARGCOMPLETE_IFS": "\n"},
    }
    done = subprocess.run(
        [sys.executable, "-m", "esol"], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.stdout == ""
    assert Path(tmp_path / "out").read_text().split() == ["--expand.alpha"]
