"""Completion of commands, settings and their values in a shell, by argcomplete."""

import argparse
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import is_dataclass
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

import argcomplete
from argcomplete.completers import FilesCompleter
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from esol.errors import InputError

SHELLS = ("bash", "zsh", "fish")


def asked() -> bool:
    """Whether it is a shell that calls, to know what may come next."""
    return "_ARGCOMPLETE" in os.environ


def script(shell: str) -> str:
    """What a shell has to read for ``esol`` to be completed in it."""
    return shellcode(["esol"], True, shell)


def complete(commands: Iterable[str], dispatch: Callable[[str, list[str]], object]) -> int:
    """Answer the shell, and end the process; nothing of a command is done.

    Args:
        commands: their names.
        dispatch: calls a command with its arguments; its parser answers, and ends the process,
            instead of parsing (``esol.settings.load.Parser``).

    Returns:
        1, if there is nothing to say.
    """
    line = os.environ["COMP_LINE"]
    before = split_line(line, int(os.environ["COMP_POINT"]))[3]
    if len(before) < 2:
        parser = argparse.ArgumentParser(prog="esol")
        parser.add_argument("command", choices=list(commands))
        parser.add_argument("--version", action="store_true")
        argcomplete.autocomplete(parser)
    # The command's own parser is to take its name for the program's.
    os.environ["_ARGCOMPLETE"] = "2"
    with suppress(InputError):
        dispatch(before[1], before[2:])
    return 1


def names_or_files(names: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    """A completer: these names, and files and folders."""

    def completer(prefix: str, **_: object) -> list[str]:
        found: list[str] = FilesCompleter()(prefix)
        return [name for name in names() if name.startswith(prefix)] + found

    return completer


def offer_values(parser: argparse.ArgumentParser, group: type, prefix: str = "--") -> None:
    """Have a group's settings that are one of a few words complete to these words.

    Args:
        parser: has a flag for each setting.
        group: a dataclass of settings, or of groups of them.
        prefix: what its settings' flags begin with.
    """
    for name, kind in get_type_hints(group).items():
        if isinstance(kind, type) and is_dataclass(kind):
            offer_values(parser, kind, f"{prefix}{name}.")
        elif get_origin(kind) is Literal:
            action: Any = parser._option_string_actions[prefix + name]
            action.completer = partial(_words, get_args(kind))


def _words(words: Iterable[object], **_: object) -> list[str]:
    return [str(word) for word in words]
