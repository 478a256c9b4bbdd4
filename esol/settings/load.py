"""Configurations: complete named runs that come with the package, and settings files as objects."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from jsonargparse import (
    SUPPRESS,
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
    set_loader,
    set_parsing_settings,
)

from esol.errors import InputError
from esol.settings import Settings
from esol.settings.values import wrong_value
from esol.system.read import read_yaml


def config_folder() -> Path:
    """Folder of the configurations: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Names of the configurations that come with esol."""
    return sorted(file.stem for file in config_folder().glob("*.yaml"))


def find_config(name: str) -> Path:
    """A settings file, by its path or by the name of one that comes with esol.

    Raises:
        InputError: there is no such file (the message lists the names), it is not YAML, or it has
            a key that no setting has.
    """
    path = Path(name)
    if path.is_file():
        check_keys(path)
        return path
    shipped = config_folder() / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(config_names())
    raise InputError(f"{name}: no such settings file; by name there are: {names}")


RETIRED = {"quirks": {"momentum": False, "checkpoint": False, "crop": False}}
"""Settings of earlier versions, with the only value that still loads: stored runs have them."""

EARLIER = ("--data.untagged=skip",)
"""What runs did that were made before there was a setting for it."""

LAST_WITH_QUIRKS = "3c53725"
"""Last commit that had these settings."""


def check_keys(path: Path) -> None:
    """Refuse what the parser would pass over in silence, such as a number where a group belongs.

    Raises:
        InputError: the file is not YAML, or has a key that no setting has.
    """
    content = read_yaml(path)
    if content is None:
        raise InputError(f"{path}: no settings in it: write some, or leave the file out")
    if isinstance(content, dict):
        # Their own keys are the parser's to check.
        content = {key: value for key, value in content.items() if key not in RETIRED}
    _check_group(content, asdict(Settings()), path, "")


def _check_group(content: Any, known: dict[str, Any], path: Path, prefix: str) -> None:
    if not isinstance(content, dict):
        name = prefix.rstrip(".") or "the whole file"
        raise InputError(f"{path}: {name} must be a group of settings ({', '.join(known)})")
    for key, value in content.items():
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"there are: {', '.join(known)}"
            raise InputError(f"{path}: no setting {prefix}{key}; {hint}")
        if isinstance(known[key], dict):
            _check_group(value, known[key], path, f"{prefix}{key}.")


class _TextInLists(yaml.SafeLoader):
    """Leaves what lists hold as the text it is; the parser makes numbers of it where it needs some.

    YAML takes yes, no, on, null, 007 and 1e3 for other things, but they may be names of classes.
    """

    def construct_sequence(self, node: yaml.Node, deep: bool = False) -> list[Any]:
        """The texts, and whatever is not one."""
        return [
            part.value if isinstance(part, yaml.ScalarNode) else self.construct_object(part, deep)
            for part in node.value
        ]


_TextInLists.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if not tag.endswith(":timestamp")]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _load_yaml(text: str) -> Any:
    try:
        return _TextInLists(text).get_single_data()
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error


class _Formatter(DefaultHelpFormatter):
    """Help that shows a setting's type and range without the word Annotated."""

    def _expand_help(self, action: Any) -> str:
        text = str(super()._expand_help(action))
        return re.sub(r"type: Annotated\[(.*)\](?=, default)", r"type: \1", text)


class Parser(ArgumentParser):
    """Parser whose errors are one line, without the usage text; flags are whole names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise the message as an InputError."""
        if wrong := wrong_value(str(message)):
            raise InputError(wrong)
        line = " ".join(part.strip(" -") for part in str(message).splitlines() if part.strip())
        raise InputError(line.replace("Parser key ", "").strip() + self._nearest(line))

    def told(self) -> dict[str, str]:
        """Option, setting or group of settings, without hyphens -> what is said of it.

        The choices come first, where there are some.
        """
        told = {}
        for action in self._actions:
            if action.option_strings and action.help not in (None, SUPPRESS):
                text = " ".join(str(action.help).split())
                hint = getattr(action, "_typehint", None)
                choices = get_args(hint) if get_origin(hint) is Literal else action.choices or ()
                told[action.dest] = f"{', '.join(choices)}: {text}" if choices else text
        return told

    def _nearest(self, message: str) -> str:
        """What a misspelt key may have been meant to be; "" if none is near."""
        keys = [
            option.lstrip("-")
            for option in self._option_string_actions
            if option.startswith("--") and option[2:].split(".")[0] not in RETIRED
        ]
        wrong = [word.strip("'\"-:,.").split("=")[0] for word in message.split()]
        unknown = [word for word in wrong if word and word not in keys]
        near = [key for word in unknown for key in get_close_matches(word, keys, 1, 0.8)]
        return f" (did you mean {near[0]}?)" if near else ""


def settings_parser(command: str, positionals: str, text: str, **options: Any) -> Parser:
    """Parser of a command that takes every setting as a flag, and a settings file.

    Args:
        command: its name.
        positionals: how its positional arguments are called in the usage line.
        text: what it does.
        **options: more flags, each with the arguments of ``add_argument``.
    """
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    set_loader("yaml", _load_yaml, (yaml.YAMLError,))
    parser = Parser(
        prog=f"esol {command}",
        description=text,
        usage=f"esol {command} {positionals} [--group.setting VALUE ...]",
        print_config=None,
        formatter_class=_Formatter,
    )
    parser.add_argument("paths", nargs="*", help=positionals)
    parser.add_argument("--config", action="config", help="settings file; flags override it")
    parser.add_argument(
        "--print_config", action="store_true", help="print all settings as YAML, and stop"
    )
    for name, arguments in options.items():
        parser.add_argument(f"--{name}", **arguments)
    parser.add_class_arguments(Settings)
    for key in setting_keys(RETIRED):
        parser.add_argument(f"--{key}", type=bool, default=False, help=SUPPRESS)
    return parser


def setting_keys(group: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Keys of all settings that must have a value, those of groups as "group.name"."""
    for name, value in group.items():
        if isinstance(value, dict):
            yield from setting_keys(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name


def to_settings(parser: Parser, parsed: Namespace) -> Settings:
    """The settings among the parsed values, checked.

    Raises:
        InputError: a value is out of range.
    """
    if empty := [key for key in setting_keys(asdict(Settings())) if parsed.get(key) is None]:
        raise InputError(f"{empty[0]} = null: give a value, or leave it out")
    if retired := [key for key in setting_keys(RETIRED) if parsed[key]]:
        raise InputError(f"{retired[0]}: no longer there; commit {LAST_WITH_QUIRKS} has it")
    built = parser.instantiate(parsed)
    return Settings(**{field.name: built[field.name] for field in fields(Settings)})


def parse(parser: Parser, file: Path | None, flags: Sequence[str]) -> tuple[Namespace, Settings]:
    """Everything that flags say, over a settings file if there is one.

    Raises:
        InputError: a wrong type or a value out of range; the file is named if it is the file's.
    """

    def read(*arguments: str) -> tuple[Namespace, Settings]:
        parsed = parser.parse_args(arguments)
        return parsed, to_settings(parser, parsed)

    if file is None:
        return read(*flags)
    try:
        return read("--config", str(file), *flags)
    except InputError as error:
        try:
            read("--config", str(file))
        except InputError as own:
            if str(own) == str(error):
                raise InputError(f"{file}: {error}") from error
        raise


def load_settings(name: Path | str, *flags: str) -> Settings:
    """Settings from a file or a configuration's name, with overriding flags.

    Args:
        name: path of a YAML file, or the name of a configuration that comes with esol.
        *flags: as on the command line, for example "--seed=1".

    Raises:
        InputError: no such file, a misspelt key, a wrong type, a value out of range.

    Examples:
        >>> settings = load_settings("tags-folder-cpu", "--seed=1", "--expand.alpha=0.1")
        >>> settings.seed, settings.expand.alpha, settings.backbone.name
        (1, 0.1, 'tf_efficientnet_lite2')
    """
    return parse(settings_parser("run", "", ""), find_config(str(name)), flags)[1]


def stored_settings(path: Path) -> Settings:
    """Settings stored in a run folder.

    Raises:
        InputError: they cannot be read, perhaps because another version wrote them.
    """
    try:
        return load_settings(path, *earlier_flags(path))
    except InputError as error:
        raise InputError(
            f"{error} (of a run: was it edited, or made by another version of esol?)"
        ) from error


def earlier_flags(path: Path) -> tuple[str, ...]:
    """Flags that say what a run did whose stored settings lack a setting that came later.

    Raises:
        InputError: the file is not YAML.
    """
    content = read_yaml(path)
    data = content.get("data") if isinstance(content, dict) else None
    older = data is None or (isinstance(data, dict) and "untagged" not in data)
    return EARLIER if older else ()


def dump_settings(settings: Settings) -> str:
    """All settings as YAML that ``load_settings`` reads back.

    Examples:
        >>> print(dump_settings(Settings())[:20])
        seed: 0
        method: esol
    """
    return yaml.safe_dump(json.loads(json.dumps(asdict(settings))), sort_keys=False)
