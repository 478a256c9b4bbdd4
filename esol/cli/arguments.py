"""Arguments of the commands that take settings: paths, a settings file, flags over it."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from jsonargparse import Namespace

from esol.errors import InputError
from esol.settings import Settings
from esol.settings.load import (
    Parser,
    check_keys,
    config_names,
    dump_settings,
    find_config,
    parse,
)

OVERWRITE = {
    "overwrite": {
        "action": "store_true",
        "help": "replace stages of other settings, except parts that do not depend on them",
    }
}


def parse_call(
    parser: Parser, rest: Sequence[str], paths: int
) -> tuple[Namespace, Settings, list[str]]:
    """Parse twice: first to find the positionals, then with the settings file put before the flags,
    so that flags always win.
    """
    for flag, value in pairwise([*rest, ""]):
        if flag == "--config" or flag.startswith("--config="):
            check_keys(Path(value if flag == "--config" else flag.removeprefix("--config=")))
    positionals = parser.parse_args(rest)
    named = [str(path) for path in positionals.paths]
    if positionals.print_config:
        named, paths = named[:1] if len(named) in (1, paths + 1) else [], 0
    if len(named) not in (paths, paths + 1):
        raise InputError(f"{len(named)} paths were given; use: {parser.usage}")
    config = named.pop(0) if len(named) == paths + 1 else None
    if config is None and named and named[0] in config_names() and not Path(named[0]).exists():
        raise InputError(f"{named[0]} is a configuration, and a folder is missing; {parser.usage}")
    parsed, settings = parse(parser, None if config is None else find_config(config), rest)
    if parsed.print_config:
        print(dump_settings(settings), end="")
        sys.exit(0)
    return parsed, settings, named
