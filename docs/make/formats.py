"""The tables of formats in docs/data.md, from the readers: python docs/make/formats.py."""

from pathlib import Path

from esol.data import colours, folder, masks
from esol.data.tags import READERS, coco, labels, voc

PAGE = Path(__file__).resolve().parents[1] / "data.md"

LAYOUTS = {
    "sub-folder per tag": folder.UNTAGGED,
    "layout of COCO": coco.UNTAGGED,
    "layout of VOC": voc.UNTAGGED,
    "any, tags dropped by `--data.classes`": "negative",
}
"""Layouts without a tags file, and what becomes of their photos without a tag."""


def formats() -> list[str]:
    """Formats of other tools, with their files and what gives the tags."""
    rows = (f"| {one.TITLE} | {one.FILE} | {one.TAGS} |" for one in READERS if one is not labels)
    return ["| format | file | tags |", "|---|---|---|", *rows]


def untagged() -> list[str]:
    """What ``data.untagged: auto`` does, one row for all formats that are treated alike."""
    titles: dict[str, list[str]] = {}
    for title, what in [*((one.TITLE, one.UNTAGGED) for one in READERS), *LAYOUTS.items()]:
        titles.setdefault(what, []).append(title)
    rows = (f"| {'; '.join(alike)} | {what} |" for what, alike in titles.items())
    return ["| format | `auto` |", "|---|---|", *rows]


def mask_files() -> list[str]:
    """How masks are called, and what is read of them."""
    endings = ", ".join(f"`NAME_{ending}.png`" for ending in masks.ENDINGS)
    files = ", ".join(f"`{suffix}`" for suffix in masks.MASK_SUFFIXES)
    rows = [
        f"| name | `NAME.png`, {endings}, also with `-` and in any case; one of these ways in a"
        " folder |",
        f"| file | {files}; JPEG and others may not keep values and are refused |",
        *(f"| {kind.title} | {_meaning(kind)} |" for kind in masks.KINDS),
    ]
    return ["| masks | read |", "|---|---|", *rows]


def _meaning(kind: masks.Kind) -> str:
    if not kind.by_table:
        return "refused"
    return f"{kind.alone or 'refused'}; with a table of colours: {kind.by_table}"


def colour_tables() -> list[str]:
    """Tables of colours, with examples."""
    rows = (
        f"| `{form.file}` | {', '.join(f'`{example}`' for example in form.examples)} |"
        f" {form.makers} |"
        for form in colours.FORMS
    )
    return ["| file | content | of |", "|---|---|---|", *rows]


BEGIN, END = "<!-- {}: made by docs/make/formats.py -->", "<!-- end of {} -->"

TABLES = {
    "formats": formats,
    "untagged": untagged,
    "masks": mask_files,
    "colours": colour_tables,
}
"""Name in the markers around a table -> its lines."""


def page() -> str:
    """The page with its tables made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        before, rest = text.split(BEGIN.format(name), 1)
        after = rest.split(END.format(name), 1)[1]
        lines = (BEGIN.format(name), "", *table(), "", END.format(name))
        text = before + "\n".join(lines) + after
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
