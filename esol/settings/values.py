"""Values that are not of a setting's type, as a message that says which would be."""

import ast
import re

from esol.errors import spelled
from esol.settings.checks import either

_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
_LIST = "tuple"

_LONGEST = 100
"""Characters of a value that are shown."""


def wrong_value(message: str) -> str:
    r"""What is wrong with a value, from jsonargparse's message; "" if that is about something else.

    >>> wrong_value('Parser key "seed": Expected a <class \'int\'>. Got value: many')
    'seed = many: must be a whole number'
    """
    found = re.match(r'Parser key "([^"]+)":\s*(.*)', message, re.DOTALL)
    if found is None:
        return ""
    key, fault = found.groups()
    if fault.startswith("Unable to load config"):
        return f"{key} is a group of settings: give them one by one, as --{key}.NAME VALUE"
    given = re.search(r"(?:Got|Given) value: (.*)", fault, re.DOTALL)
    kinds = [_kind(text) for text in re.findall(r"Expected an? (.+?)(?:\. Got value|\n|$)", fault)]
    if given is None or not kinds or "" in kinds:
        return ""
    value = _shown(given[1])
    must = either(dict.fromkeys(kinds))
    advice = f": write [{value}]" if kinds == ["a list"] else ""
    return f"{key} = {value}: must be {must}{advice}"


def _kind(expected: str) -> str:
    """What jsonargparse expected, in words; "" for what it never says of our settings."""
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", expected):
        return either(map(str, ast.literal_eval(f"[{choices[1]}]")))
    if several := re.fullmatch(r"tuple with (\d+) elements", expected):
        return f"a list of {several[1]} values"
    name = expected.removeprefix("<class '").removesuffix("'>")
    return "a list" if name == _LIST else _TYPES.get(name, "")


def _shown(text: str) -> str:
    """A value that Python wrote, as YAML spells it."""
    if len(text) > _LONGEST:
        return f"{text[:_LONGEST]}..."
    try:
        return spelled(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text
