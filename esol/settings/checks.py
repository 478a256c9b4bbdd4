"""Ranges of settings: rules that stand beside a field's type, and the check of all fields."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from esol.errors import InputError, spelled


@dataclass(frozen=True, repr=False)
class Rule:
    """What values a setting may have: ``Annotated[float, POSITIVE]``."""

    text: str
    """Follows "must be" in the message."""

    test: Callable[[Any], bool]
    """Whether a value is allowed."""

    def __repr__(self) -> str:
        return self.text


POSITIVE = Rule("greater than 0", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Rule("0 or more", lambda value: 0 <= value < math.inf)
BELOW_1 = Rule("in [0, 1)", lambda value: 0 <= value < 1)
UP_TO_1 = Rule("in [0, 1]", lambda value: 0 <= value <= 1)
THRESHOLD = Rule(
    "auto, in [0, 1), or the share that objects fill, above 0% and below 100%, such as 5%",
    lambda value: (
        value == "auto" or percent(value) is not None
        if isinstance(value, str)
        else BELOW_1.test(value)
    ),
)
SHARE = Rule("in (0, 1]", lambda value: 0 < value <= 1)
CONFIDENCE = Rule("in [0.5, 1)", lambda value: 0.5 <= value < 1)
SEED = Rule("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32)
SIDE = Rule("at least 32", lambda value: value >= 32)
SIDE_OR_0 = Rule("0, or at least 32", lambda value: value == 0 or value >= 32)
SIDES = Rule("two sizes, 32 <= low <= high", lambda value: 32 <= value[0] <= value[1])
BETWEEN = Rule(
    "two numbers, 0 <= low < high <= 1",
    lambda value: 0 <= value[0] < value[1] <= 1,
)
SCALES = Rule(
    "one or more numbers in (0, 4]", lambda value: bool(value) and all(0 < s <= 4 for s in value)
)
MEAN = Rule(
    "auto, or three numbers from 0 to 1: of red, green and blue",
    lambda value: value == "auto" or (len(value) == 3 and all(0 <= v <= 1 for v in value)),
)
DEVIATION = Rule(
    "auto, or three numbers above 0, up to 1: of red, green and blue",
    lambda value: value == "auto" or (len(value) == 3 and all(0 < v <= 1 for v in value)),
)
COLUMNS = Rule(
    "of image=NAME, label=NAME or labels=NAME, and split=NAME, each once",
    lambda value: (
        all(re.fullmatch(r"(image|labels?|split)=.+", pair) for pair in value)
        and len({pair.split("=")[0].rstrip("s") for pair in value}) == len(value)
    ),
)
WITHOUT_REPEATS = Rule("without repeats", lambda value: len(set(value)) == len(value))


def at_least(least: int) -> Rule:
    """Numbers from ``least`` on."""
    return Rule(f"{least} or more", lambda value: value >= least)


def at_most(most: float) -> Rule:
    """Numbers up to ``most``."""
    return Rule(f"at most {most:g}", lambda value: value <= most)


def within(low: int, high: int) -> Rule:
    """Numbers from ``low`` to ``high``, both included."""
    return Rule(f"from {low} to {high}", lambda value: low <= value <= high)


def one_of(*values: object) -> Rule:
    """One of a few values."""
    return Rule(either(map(spelled, values)), lambda value: value in values)


def either(words: Iterable[str]) -> str:
    """The words as a choice.

    >>> either(["auto", "4", "8"])
    'auto, 4 or 8'
    """
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def named(text: str) -> Rule:
    """Text that is not empty; ``text`` says what it names."""
    return Rule(text, bool)


def percent(value: str) -> float | None:
    """The share, in (0, 1), that text such as "5%" or "12.5 %" names, None if it names none."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value)
    share = float(number[1]) / 100 if number else 0
    return share if 0 < share < 1 else None


def check(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raise an InputError unless ``ok``."""
    if not ok:
        shown = repr(value) if isinstance(value, str) else spelled(value)
        raise InputError(f"{key} = {shown}: must be {allowed}")


def check_ranges(group: Any, prefix: str = "") -> None:
    """Check every field of a group of settings, and of the groups in it, against its rules.

    Args:
        group: a dataclass of settings.
        prefix: begins the keys that messages name: "refine.crf.".

    Raises:
        InputError: a value is out of range.
    """
    for field in fields(group):
        key, value = f"{prefix}{field.name}", getattr(group, field.name)
        if is_dataclass(value):
            check_ranges(value, f"{key}.")
        for rule in getattr(field.type, "__metadata__", ()):
            check(rule.test(value), key, value, rule.text)
