"""Configurations: complete named runs that come with the package, and settings files as objects."""

import json
from dataclasses import asdict, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from esol.errors import InputError
from esol.settings import Settings


def config_folder() -> Path:
    """Folder of the configurations: inside an installed package, or beside it in a checkout."""
    installed = Path(str(files("esol"))) / "configs"
    return installed if installed.is_dir() else installed.parent.parent / "configs"


def find_config(given: str) -> Path:
    """A settings file, by its path or by the name of one that comes with esol.

    Raises:
        InputError: there is no such file; the message lists the names.
    """
    path = Path(given)
    if path.is_file():
        return path
    named = config_folder() / f"{given}.yaml"
    if named.is_file():
        return named
    names = ", ".join(sorted(file.stem for file in config_folder().glob("*.yaml")))
    raise InputError(f"{given}: no such settings file; by name there are: {names}")


class Parser(ArgumentParser):
    """Parser whose errors are one line, without the usage text."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise InputError(_one_line(message))


def _one_line(message: str) -> str:
    lines = [line.strip(" -") for line in str(message).splitlines() if line.strip()]
    return " ".join(lines).replace("Parser key ", "").strip()


def settings_parser(command: str, positionals: str, text: str, **options: Any) -> Parser:
    """Parser of a command that takes every setting as a flag, and a settings file.

    Args:
        command: its name.
        positionals: how its positional arguments are called in the usage line.
        text: what it does.
        **options: more flags, each with the arguments of ``add_argument``.
    """
    parser = Parser(
        prog=f"esol {command}",
        description=text,
        usage=f"esol {command} {positionals} [--group.setting VALUE ...]",
        exit_on_error=True,
    )
    parser.add_argument("paths", nargs="*", help=positionals)
    parser.add_argument("--config", action="config", help="settings file; flags override it")
    for name, arguments in options.items():
        parser.add_argument(f"--{name}", **arguments)
    parser.add_class_arguments(Settings)
    return parser


def to_settings(parser: Parser, parsed: Namespace) -> Settings:
    """The settings among the parsed values, checked.

    Raises:
        InputError: a value is out of range.
    """
    built = parser.instantiate_classes(parsed)
    return Settings(**{field.name: built[field.name] for field in fields(Settings)})


def load_settings(given: str, *flags: str) -> Settings:
    """Settings from a file or a configuration's name, with overriding flags.

    Args:
        given: path of a YAML file, or the name of a configuration that comes with esol.
        *flags: as on the command line, for example "--seed=1".

    Raises:
        InputError: no such file, a misspelt key, a wrong type, a value out of range.
    """
    parser = settings_parser("run", "", "")
    return to_settings(parser, parser.parse_args(["--config", str(find_config(given)), *flags]))


def dump_settings(settings: Settings) -> str:
    """All settings as YAML that ``load_settings`` reads back."""
    return yaml.safe_dump(json.loads(json.dumps(asdict(settings))), sort_keys=False)
