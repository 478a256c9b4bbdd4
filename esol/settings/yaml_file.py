"""YAML files from anywhere: read without running anything, growing without end, or losing a key."""

from pathlib import Path
from typing import Any

import yaml

from esol.errors import InputError

MOST_BYTES = 100_000
"""A file of all settings has 3,000."""

MOST_VALUES = 10_000
"""Values in a file, aliases counted as often as they stand for something."""


def read_yaml(path: Path) -> Any:
    """Content of a YAML file, in plain types.

    Raises:
        InputError: it cannot be read, is not YAML, has a key twice, or is too large to be
            meant, aliases of aliases included.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"{size:,} bytes, a settings file has at most {MOST_BYTES:,}")
        text = path.read_text(encoding="utf-8-sig")
        if _values(yaml.compose(text, yaml.SafeLoader), {}) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values, aliases included")
        return yaml.safe_load(text)
    # Besides its own errors, PyYAML has those of int(), float() and date() for values that look
    # like numbers and dates, and of the Python stack.
    except (
        OSError,
        yaml.YAMLError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is not YAML of settings: {reason}: mend it") from error


def _values(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """Number of values below a node, aliases written out; ``sizes`` remembers those counted.

    Raises:
        ValueError: a key comes twice, or a value holds itself.
    """
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = 0
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise ValueError(f"{twice[0]!r} is given twice")
            inner = [part for pair in node.value for part in pair]
        else:
            inner = list(node.value)
        sizes[id(node)] = 1 + sum(_values(part, sizes) for part in inner)
    elif not sizes[id(node)]:
        raise ValueError("an alias stands for something that holds it")
    return sizes[id(node)]
