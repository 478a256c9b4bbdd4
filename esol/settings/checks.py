"""Range checks of settings: each names the key and what is allowed."""

import math

from esol.errors import InputError


def check(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raise an InputError unless ``ok``."""
    if not ok:
        raise InputError(f"{key} = {value!r}: must be {allowed}")


def positive(group: object, prefix: str, *names: str) -> None:
    """Check that the named fields are above 0."""
    for name in names:
        value = getattr(group, name)
        check(0 < value < math.inf, f"{prefix}.{name}", value, "greater than 0")


def at_least_zero(group: object, prefix: str, *names: str) -> None:
    """Check that the named fields are not negative."""
    for name in names:
        value = getattr(group, name)
        check(0 <= value < math.inf, f"{prefix}.{name}", value, "0 or more")
