"""Every command in README and docs exists, with the flags and the configuration it is given."""

import contextlib
import functools
import io
import re
import shlex
from pathlib import Path

import pytest

from esol.cli.main import COMMANDS as BESIDES
from esol.cli.main import main
from esol.runs.stages import STAGES
from esol.settings.load import config_folder, find_config, settings_parser, to_settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Its commands are mistakes, and test_troubleshooting.py runs them.
PAGES.remove(ROOT / "docs" / "troubleshooting.md")
# Of past days, with the flags of their time.
PAGES.remove(ROOT / "docs" / "LOG.md")

COMMANDS = (*BESIDES, *STAGES)
SETTINGS = {"run", "check"}
"""Commands that take settings, besides the stages."""
FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*[a-z\d]")


def code() -> list[tuple[str, str]]:
    """Page and text of all code: lines of blocks, and what stands between backticks."""
    found = []
    for page in PAGES:
        text = re.sub(r" *\\\n *", " ", page.read_text(encoding="utf-8"))
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        blocks += re.findall(r"^ {4}.*$", text, re.MULTILINE)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        inline = [" ".join(part.split()) for part in re.findall(r"`([^`]+)`", rest)]
        found += [(page.name, part) for part in dict.fromkeys([*lines, *inline])]
    return found


def commands() -> list[tuple[str, str]]:
    """Page and text of every call of esol."""
    called = re.compile(r"(?:^|&& |-m )(esol [a-zA-Z].*?)(?= &&| {2,}#|$)")
    return [(page, match[1]) for page, line in code() if (match := called.search(line))]


def flags_alone() -> list[tuple[str, str]]:
    """Page and text of flags that stand between backticks without their command."""
    # speed.md is about the flags of benchmarks/.
    return [(page, part) for page, part in code() if FLAG.match(part) and page != "speed.md"]


@functools.cache
def help_of(command: str, *more: str) -> frozenset[str]:
    """Flags in the help text of a command."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main([command, *more, "--help", *([] if command in BESIDES.keys() - SETTINGS else ["all"])])
    assert text.getvalue().startswith("usage: esol")
    return frozenset(FLAG.findall(text.getvalue()))


def flags_of(command: str, given: list[str]) -> frozenset[str]:
    """Flags that a call may have; evaluate is a stage, and with --gt a command of its own."""
    return help_of(command, *(["--gt", "x"] if command == "evaluate" and "--gt" in given else []))


def test_there_is_something_to_look_at():
    assert len(commands()) > 60
    assert len(flags_alone()) > 40
    assert len(settings_flags()) > 20


@pytest.mark.parametrize(("page", "text"), commands(), ids=lambda value: value[:60])
def test_command_exists_with_its_flags(page, text):
    name, given = text.split()[1], FLAG.findall(text)
    if name in ("STAGE", "COMMAND"):
        return
    assert name in COMMANDS
    assert set(given) <= flags_of(name, given)


@pytest.mark.parametrize(("page", "text"), flags_alone(), ids=lambda value: value[:60])
def test_flag_alone_is_one_of_some_command(page, text):
    known = frozenset().union(*(help_of(command) for command in COMMANDS))
    # Of torchrun, docker, pip-audit.
    others = {"--nproc-per-node", "--build-arg", "--user", "--strict"}
    assert set(FLAG.findall(text)) <= known | help_of("evaluate", "--gt", "x") | others


def settings_flags() -> list[str]:
    """Flags of settings with their values, as far as these are no placeholders."""
    pair = re.compile(
        r"--(?:[a-z_\d]+\.[a-z_.\d]+|method|seed)[ =](?:'[^']*'|\[[^]]*\]|[\w.,+*/%-]+)"
    )
    found = [match for _, line in code() for match in pair.findall(line)]
    return [flag for flag in dict.fromkeys(found) if not re.search(r"[ =][A-Z]|\|", flag)]


def test_value_of_a_setting_is_one_that_it_can_have():
    parser = settings_parser("run", "", "")
    # With all refinements, which values of masks.source need.
    demo = ["--config", str(find_config("demo")), "--refine.methods=[crf,irn,affinity]"]
    for flag in settings_flags():
        key, value = re.split("[ =]", flag, maxsplit=1)
        parsed = parser.parse_args([*demo, f"{key}={shlex.split(value)[0]}"])
        if (key, value) != ("--method", "eps"):  # which needs saliency maps beside it
            to_settings(parser, parsed)


def test_configurations_named_are_there():
    there = {file.stem for file in config_folder().glob("*.yaml")}
    for page, text in commands():
        words = text.split()
        if words[1] in ("run", *STAGES) and "--gt" not in words:
            paths = []
            for word in words[2:]:
                if word.startswith("--"):
                    break
                paths.append(word)
            if len(paths) == 3 and not paths[0].isupper() and not paths[0].startswith("["):
                assert paths[0] in there or paths[0].endswith(".yaml"), (page, text)
    named = [re.findall(r"--config ([a-z][\w-]*)", line) for _, line in code()]
    assert {name for names in named for name in names} <= there
