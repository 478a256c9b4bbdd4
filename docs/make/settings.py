"""docs/settings.md from the settings' dataclasses: python docs/make/settings.py."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse_from_object

from esol.settings import Settings
from esol.settings.load import config_folder

PAGE = Path(__file__).resolve().parents[1] / "settings.md"

HEAD = """\
# Every setting

<!-- Made by docs/make/settings.py from esol/settings/; a test fails when it is out of date. -->

A value is found in this order: the defaults below, then a YAML file, then flags. Names are the
same everywhere:

```bash
esol run tags-folder photos runs/mine --expand.alpha 0.1 --data.evaluate '[train]'
```

```yaml
expand: {alpha: 0.1}
data: {evaluate: [train]}
```

```python
import esol

settings = esol.load_settings("tags-folder", "--expand.alpha=0.1")
settings.expand.alpha  # 0.1
```

`esol run tags-folder --print_config` prints all settings of a configuration as YAML, in which form
they can be edited and given back. A list is written `[a, b]` (in quotes in a shell), an empty one
`[]`. Values out of range are refused with a line that says what is allowed. Defaults are the
paper's setting, which wants a GPU; the configurations that come with ESOL change some of them:
CONFIGURATIONS. [method.md](method.md) says which values are the paper's and which are ours.
"""


def page() -> str:
    """The whole page as Markdown."""
    top = [field for field in fields(Settings) if not is_dataclass(_hints(Settings)[field.name])]
    configs = ", ".join(f"`{file.stem}`" for file in sorted(config_folder().glob("*.yaml")))
    head = HEAD.replace("CONFIGURATIONS", configs)
    parts = [head, *_section("The run", "", _rows(Settings, Settings(), "", top))]
    for field in fields(Settings):
        if field not in top:
            value = getattr(Settings(), field.name)
            parts += _section(
                f"`{field.name}`", _about(type(value)), _rows(type(value), value, field.name + ".")
            )
    return "\n".join(parts) + "\n"


def _section(title: str, about: str, rows: Iterator[str]) -> list[str]:
    table = ["| setting | default | values | |", "|---|---|---|---|", *rows]
    return [f"## {title}\n", *([about + "\n"] if about else []), *table, ""]


def _rows(
    group: type, value: Any, prefix: str, chosen: list[Field[Any]] | None = None
) -> Iterator[str]:
    """A table row per setting; groups inside are opened."""
    hints, told = _hints(group), _told(group)
    for field in fields(group) if chosen is None else chosen:
        found = getattr(value, field.name)
        if is_dataclass(found):
            yield f"| **`{prefix}{field.name}`** | | | {told[field.name]} |"
            yield from _rows(type(found), found, f"{prefix}{field.name}.")
        else:
            assert field.default is not MISSING
            rules = [rule.text for rule in getattr(field.type, "__metadata__", ())]
            kinds = _escaped(", ".join([_kinds(hints[field.name]), *rules]))
            shown = json.dumps(found).strip('"') if found not in ("", ()) else json.dumps(found)
            yield f"| `{prefix}{field.name}` | `{shown}` | {kinds} | {_escaped(told[field.name])} |"


def _kinds(hint: Any) -> str:
    """What a value may be, in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return ", ".join(_kinds(part) for part in parts if part is not NoneType)
    if origin is tuple:
        inner = _kinds(parts[0])
        return f"list of {inner}" if parts[-1] is Ellipsis else f"list of {len(parts)}, {inner}"
    return {int: "whole number", float: "number", bool: "true, false", str: "text"}[hint]


def _hints(group: type) -> dict[str, Any]:
    return get_type_hints(group)


def _about(group: type) -> str:
    return _one_line(group.__doc__ or "")


def _told(group: type) -> dict[str, str]:
    """Docstring of each field."""
    parsed = parse_from_object(group)
    return {part.arg_name: _one_line(part.description or "") for part in parsed.params}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
