"""Arguments of the commands that take settings: paths, a settings file, flags over it."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from jsonargparse import Namespace

from esol.cli.help import answer_help
from esol.errors import InputError
from esol.runs.folder import DESCRIPTION, SETTINGS, RunFolder
from esol.settings import Settings
from esol.settings.load import (
    Parser,
    check_keys,
    config_names,
    dump_settings,
    earlier_flags,
    find_config,
    parse,
)
from esol.system.progress import log

RUN_PATHS = "RUN | [CONFIG] DATA OUT"
"""Paths of the commands that work in a run folder."""

OVERWRITE = {
    "overwrite": {
        "action": "store_true",
        "help": "replace stages of other settings, except parts that do not depend on them",
    }
}


def parse_call(
    parser: Parser, rest: Sequence[str], paths: int
) -> tuple[Namespace, Settings, list[str]]:
    """Settings and paths of a call: ``[CONFIG] PATH ...``, or the folder of a run alone.

    Parses twice: first to find the positionals, then with the settings file put before the flags,
    so that flags always win. A run brings its own settings file and data folder.

    Args:
        parser: of the command, from ``settings_parser``.
        rest: the words after the command.
        paths: how many paths the command takes besides CONFIG; with two, data and run folder, one
            path is that of a run.

    Raises:
        InputError: a wrong number of paths, a wrong setting, or a run whose data have moved.
    """
    answer_help(parser, rest)
    for flag, value in pairwise([*rest, ""]):
        if flag == "--config" or flag.startswith("--config="):
            check_keys(Path(value if flag == "--config" else flag.removeprefix("--config=")))
    positionals = parser.parse_args(rest)
    named = [str(path) for path in positionals.paths]
    if positionals.print_config:
        named, paths = named[:1] if len(named) in (1, paths + 1) else [], 0
        if named and (Path(named[0]) / SETTINGS).is_file():
            named = [str(Path(named[0]) / SETTINGS)]
    elif paths == 2 and len(named) == 1:
        named = _of_run(parser, Path(named[0]))
    if len(named) not in (paths, paths + 1):
        given = f"{len(named)} path{' was' if len(named) == 1 else 's were'} given"
        raise InputError(f"{given}; use: {parser.usage}")
    config = named.pop(0) if len(named) == paths + 1 else None
    if config is None and named and _names_config(named[0]):
        raise InputError(f"{named[0]} is a configuration, and a folder is missing; {parser.usage}")
    if config is None:
        parsed, settings = parse(parser, None, rest)
        if paths == 2 and not parsed.config:
            log.warning("no CONFIG given: these are the paper's settings, %s", _EXPENSIVE)
    else:
        file = find_config(config)
        parsed, settings = parse(parser, file, [*_earlier(file), *rest])
    if parsed.print_config:
        print(dump_settings(settings), end="")
        sys.exit(0)
    return parsed, settings, named


_EXPENSIVE = "ResNet-50 at 512 pixels, for a GPU; on a CPU take tags-folder-cpu"


def _names_config(word: str) -> bool:
    return word in config_names() and not Path(word).exists()


def _of_run(parser: Parser, path: Path) -> list[str]:
    """Settings file, data folder and folder of a run.

    Raises:
        InputError: the folder is not that of a run, or the data have moved.
    """
    if _names_config(str(path)):
        raise InputError(f"{path} is a configuration, and folders are missing; {parser.usage}")
    run = RunFolder(path)
    if not (path / DESCRIPTION).is_file():
        fault = f"is not the folder of a run (no {DESCRIPTION})" if path.exists() else "is missing"
        advice = ""
        if parser.prog == "esol evaluate":
            advice = "; to measure a folder of masks: esol evaluate MASKS --gt DIR"
        raise InputError(f"{path} {fault}{advice}; use: {parser.usage}")
    if not (path / SETTINGS).is_file():
        raise InputError(f"{path / SETTINGS} is missing; use: {parser.usage}")
    data = run.data_root()
    if not data.is_dir():
        call = f"{parser.prog} {path / SETTINGS} DATA {path}"
        raise InputError(
            f"{data}: the photos of {path} are no longer there; say where they are: {call}"
        )
    return [str(path / SETTINGS), str(data), str(path)]


def _earlier(file: Path) -> tuple[str, ...]:
    """Flags for settings that did not exist when a run stored its own."""
    is_of_run = file.name == SETTINGS and (file.parent / DESCRIPTION).is_file()
    return earlier_flags(file) if is_of_run else ()
