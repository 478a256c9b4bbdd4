"""``--help`` of the commands that take settings: those that matter for the command, or all."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from esol.runs.folder import SETTINGS
from esol.runs.stages import STAGES, unused
from esol.settings import Settings
from esol.settings.load import Parser, find_config, parse, setting_keys

CHANGED_MOST = (
    *("seed", "method", "data.train", "data.evaluate", "data.classes", "data.limit"),
    *("input.size", "backbone.name", "backbone.weights", "classify.fit.steps", "seeds.threshold"),
    *("masks.threshold", "segment.network", "segment.fit.epochs", "machine.device"),
)
"""Settings that the help of ``esol run`` shows."""

_FOR_ALL = ("data", "machine")
"""Groups that every stage reads."""

_WIDEST = 100
"""Columns of a line at most."""

_LONGEST_FLAG = 36
"""Columns of the flags that decide where descriptions begin; a longer one shifts its own."""


def answer_help(parser: Parser, rest: Sequence[str]) -> None:
    """Print the help and end the program, if the arguments ask for it.

    ``--help all`` shows every setting with its range. A settings file or a configuration among the
    arguments gives the values shown, and so do flags.

    Args:
        parser: of ``esol run``, ``esol check`` or a stage.
        rest: the command's arguments.

    Raises:
        InputError: a flag or the settings file is wrong, or there is no such file.
    """
    place = next((i for i, word in enumerate(rest) if word in ("-h", "--help")), None)
    # A shell that completes the line wants no text.
    if place is None or "_ARGCOMPLETE" in os.environ:
        return
    everything = list(rest[place + 1 : place + 2]) == ["all"]
    others = [*rest[:place], *rest[place + 1 + everything :]]
    given = parser.parse_args(others)
    paths = list(map(str, given.paths or ()))
    # Two paths are data and run folder; one alone may be a run, which has settings, or the data.
    file = None
    if paths and (Path(paths[0]) / SETTINGS).is_file():
        file = Path(paths[0]) / SETTINGS
    elif len(paths) in (1, 3) and not Path(paths[0]).is_dir():
        file = find_config(paths[0])
    parsed, settings = parse(parser, file, others)
    values = {key: parsed[key] for key in setting_keys(asdict(settings))}
    if everything:
        parser.set_defaults(values)
        parser.print_help()
    else:
        config = " and ".join([*paths[: file is not None], *map(str, given.config or ())])
        groups, idle = _shown(parser.prog.split()[-1], settings), unused(settings)
        keys = [key for key in values if _is_among(key, groups) and not _is_among(key, idle)]
        print("\n".join(_page(parser, config, values, keys)))
    sys.exit(0)


def _page(
    parser: Parser, config: str, values: Mapping[str, Any], keys: Sequence[str]
) -> Iterator[str]:
    """Lines of the help of a command, which shows the settings ``keys``."""
    command, told = parser.prog.split()[-1], parser.told()
    options = [name for name in told if not any(_is_among(key, (name,)) for key in values)]
    about = textwrap.wrap(parser.description or "", _width())
    yield from (f"usage: {parser.usage}", "", *about, "")
    yield from _lines((f"--{name}", told[name]) for name in options)
    of = f"values of {config}" if config else "package's defaults"
    which = {"run": "that people change most", "check": "that it reads"}
    yield from ("", f"Settings {which.get(command, 'that this stage reads')}, with the {of}:", "")
    yield from _lines((f"--{key} {as_flag(values[key])}", told[key]) for key in keys)
    example = config or "[CONFIG]"
    yield from ("", f"`esol {command} {example} --help all` shows all {len(values)} settings.")


def _shown(command: str, settings: Settings) -> tuple[str, ...]:
    """Keys of the settings, or of their groups, that the help of a command shows."""
    if command == "run":
        return CHANGED_MOST
    if command == "check":
        networks = ("input.size", "segment.network", "segment.encoder", "segment.weights")
        return ("data", "masks.saliency", "backbone", *networks, "segment.stride")
    return (*STAGES[command].reads(settings), *_FOR_ALL)


def _is_among(key: str, groups: Sequence[str]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def _lines(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each flag, with as much of what is said of it as there is room for."""
    entries = list(entries)
    column = max(len(flag) for flag, _ in entries if len(flag) < _LONGEST_FLAG) + 4
    for flag, text in entries:
        start = f"  {flag}".ljust(column - 2) + "  "
        yield start + textwrap.shorten(text, max(20, _width() - len(start)), placeholder=" ..")


def _width() -> int:
    return min(_WIDEST, shutil.get_terminal_size((_WIDEST, 0)).columns)


def as_flag(value: Any) -> str:
    """A setting's value as it is written on the command line.

    >>> as_flag(("a", "b")), as_flag(True), as_flag("")
    ('[a, b]', 'true', "''")
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_flag, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or "''"
