"""Completion of commands and flags in a shell, by argcomplete."""

import argparse
import os
from collections.abc import Callable, Iterable
from contextlib import suppress

import argcomplete
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from esol.errors import InputError

SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """Script that a shell must read to complete ``esol``."""
    return shellcode(["esol"], True, shell)


def complete(commands: Iterable[str], dispatch: Callable[[str, list[str]], object]) -> int:
    """Answer the shell and end the process, without doing anything of a command.

    Args:
        commands: their names.
        dispatch: calls a command with its arguments; the command's parser answers instead of
            parsing, and ends the process.

    Returns:
        1, if there is nothing to offer.
    """
    line = os.environ["COMP_LINE"]
    words = split_line(line, int(os.environ["COMP_POINT"]))[3]
    if len(words) < 2:
        parser = argparse.ArgumentParser(prog="esol")
        parser.add_argument("command", choices=list(commands))
        parser.add_argument("--version", action="store_true")
        argcomplete.autocomplete(parser)
    # Start of the command's own parser: its name counts as the program's.
    os.environ["_ARGCOMPLETE"] = "2"
    with suppress(InputError):
        dispatch(words[1], words[2:])
    return 1
