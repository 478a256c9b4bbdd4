"""Tables of colours: which colour of a mask is which class, as people and tools write them."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.data.names import composed
from esol.data.sample import BACKGROUND, CLASSES, IGNORE
from esol.errors import InputError
from esol.system.read import entry, read_text, structured

CLASS_NAMES = "classes.txt"
LABEL_MAP = "labelmap.txt"

RESERVED = {
    BACKGROUND: 0,
    **dict.fromkeys(("ignore", "ignored", "void", "unlabeled", "unlabelled"), IGNORE),
}
"""Names of mask values that are no classes; tools also write them as _background_."""

_LARGEST = 1_000_000
"""Bytes. JSON files of more are not tables of colours, and are not read to find out."""

_LISTS = ("classes", "categories", "labels")
_NAME_KEYS = ("name", "title", "label")
_COLOUR_KEYS = ("color", "colour")

_COLOURED = re.compile(r"(.+?)\s*:\s*(\d+\s*,\s*\d+\s*,\s*\d+)\s*(?::.*)?")
_OTHER_FORM = re.compile(r"(.+?)[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})")

Colour = tuple[int, int, int]
"""Red, green, blue, 0 .. 255."""

VOC_BORDER: Colour = (224, 224, 192)


@dataclass(frozen=True)
class ColourTable:
    """Names by colour, in the order of their file; a name may have several colours."""

    file: Path
    names: Mapping[Colour, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names without those of background and ignored pixels, each once."""
        return tuple(dict.fromkeys(n for n in self.names.values() if reserved(n) is None))

    def values(self, known: tuple[str, ...]) -> dict[Colour, int]:
        """Mask value by colour: k + 1 of ``known[k]``, 0 and 255 by their usual names.

        Colours of other names are left out. That of VOC's borders is 255 unless it is named.
        """
        number = {name: value for value, name in enumerate(known, start=1)}
        values = {colour: number.get(n, reserved(n)) for colour, n in self.names.items()}
        named = {colour: value for colour, value in values.items() if value is not None}
        return named if VOC_BORDER in self.names else {VOC_BORDER: IGNORE} | named


def reserved(name: str) -> int | None:
    """Mask value of a name that is not a class's: 0 of background, 255 of ignored pixels."""
    return RESERVED.get(name.strip("_ ").lower())


def find_colours(folder: Path, root: Path) -> ColourTable | None:
    """The table of colours of a folder of masks, or of a folder around it up to ``root``.

    Several that agree are one; several that do not are an InputError, and so is a damaged one.
    """
    match structured(folder / CLASSES):
        case {"classes": _, "model": _}:
            return None  # of esol predict: its masks have numbers, whatever lies around them
    around = [place for place in folder.parents if place == root or root in place.parents]
    files = (
        (form, path)
        for place in (folder, *around)
        for form in FORMS
        for path in sorted(place.glob(form.file))
        # esol predict writes one beside its masks, whose values are numbers.
        if path.is_file() and path.name != CLASSES
    )
    found = [table for form, path in files if (table := _table(path, form.read(path)))]
    for table in found[1:]:
        if table.names != found[0].names:
            raise InputError(
                f"{table.file}: other colours than in {found[0].file}: keep one of the two tables"
            )
    return found[0] if found else None


def _table(path: Path, lines: Iterable[tuple[str, str, Colour]]) -> ColourTable | None:
    names: dict[Colour, str] = {}
    for where, name, colour in lines:
        if names.setdefault(colour, name) != name:
            both = f"{names[colour]!r} and {name!r} have the colour {colour}"
            raise InputError(f"{where}: {both}: give each class its own")
    return ColourTable(path, names) if names else None


def label_map(path: Path) -> Iterator[tuple[str, str, Colour]]:
    """Place, name and colour of every line of CVAT's labelmap.txt: ``name:r,g,b:parts:actions``.

    A line of another form is an InputError.
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            where = f"{path}: line {number}"
            with entry(where):
                name, colour, *_ = line.split(":")
                yield where, composed(name.strip()), _colour(colour)


def _coloured_labels(path: Path) -> Iterator[tuple[str, str, Colour]]:
    """Those of :func:`label_map`; none if the file names classes alone, as TensorFlow's does."""
    lines = (line for line in read_text(path).splitlines() if not line.startswith("#"))
    return label_map(path) if any(":" in line for line in lines) else iter(())


def class_lines(path: Path) -> Iterator[tuple[str, str, Colour | None]]:
    """Place, name and colour (if they have one) of the lines of classes.txt.

    Either all lines are ``name:r,g,b``, as in labelmap.txt, or none; else an InputError.
    """
    lines = composed(read_text(path)).splitlines()
    places = [(f"{path}: line {n}", line.strip()) for n, line in enumerate(lines, start=1)]
    places = [(where, line) for where, line in places if line]
    coloured = any(_COLOURED.fullmatch(line) for _, line in places)
    for where, line in places:
        match = _COLOURED.fullmatch(line)
        other = _OTHER_FORM.fullmatch(line)
        if other and not match:
            name, *colour = other.groups()
            raise InputError(f"{where}: write a class's colour as {name}:{','.join(colour)}")
        if coloured and not match:
            raise InputError(f"{where}: no colour: write {line}:R,G,B, as in the other lines")
        if match:
            with entry(where):
                yield where, match[1], _colour(match[2])
        else:
            yield where, line, None


def _coloured_classes(path: Path) -> Iterator[tuple[str, str, Colour]]:
    return ((where, name, colour) for where, name, colour in class_lines(path) if colour)


def _from_json(path: Path) -> Iterator[tuple[str, str, Colour]]:
    content = structured(path) if path.stat().st_size <= _LARGEST else None
    for name, colour in _pairs(content):
        yield (str(path), *_entry(path, name, colour))


def _pairs(content: Any) -> list[tuple[Any, Any]]:
    """Name and colour of every class in the content of a JSON file; none if it is no table.

    A table is an object of colours by name, a list of objects with a name and a colour, an object
    that has such a list, or an object of two lists, "classes" and "palette".
    """
    match content:
        # COCO's categories may have colours, which do not tell what pixels mean.
        case {"annotations": _} | {"images": _}:
            return []
        case {"classes": [str(), *_] as names, "palette": [*colours]}:
            return list(zip(names, colours, strict=False)) if len(names) == len(colours) else []
        case {"classes": [dict(), *_]} | {"categories": [dict(), *_]} | {"labels": [dict(), *_]}:
            return _described(next(content[k] for k in _LISTS if isinstance(content.get(k), list)))
        case [dict(), *_]:
            return _described(content)
        case dict() if content and all(isinstance(thing, dict) for thing in content.values()):
            return _described(list(content.values()))
        # Sizes of images, [480, 640, 3], are no colours.
        case dict() if content and all(map(_is_colour, content.values())):
            return list(content.items())
    return []


def _described(things: list[Any]) -> list[tuple[Any, Any]]:
    """Names and colours of objects; none if one of them lacks either."""
    pairs = []
    for thing in things:
        if not isinstance(thing, dict):
            return []
        names = {json.dumps(thing[key]) for key in _NAME_KEYS if key in thing}
        colours = [thing[key] for key in _COLOUR_KEYS if key in thing]
        if len(names) != 1 or len(colours) != 1:
            return []
        pairs.append((json.loads(names.pop()), colours[0]))
    return pairs


def _like_a_colour(thing: Any) -> bool:
    if isinstance(thing, str):
        return re.fullmatch(r"#[0-9a-fA-F]{6}", thing) is not None
    return isinstance(thing, list) and len(thing) == 3 and all(type(part) is int for part in thing)


def _is_colour(thing: Any) -> bool:
    like = _like_a_colour(thing)
    return like and (isinstance(thing, str) or all(0 <= part <= 255 for part in thing))


def _entry(path: Path, name: Any, colour: Any) -> tuple[str, Colour]:
    if not isinstance(name, str) or not name.strip() or not _like_a_colour(colour):
        thing = json.dumps([name, colour], ensure_ascii=False)
        advice = "a name and [red, green, blue] or #rrggbb are needed"
        raise InputError(f"{path}: {thing[:60]} is not a class and its colour: {advice}")
    with entry(f"{path}: {name}"):
        return composed(name.strip()), _colour(colour)


def _colour(thing: str | list[int]) -> Colour:
    """Colour of "r,g,b", "#rrggbb" or three numbers; a ValueError if it is not one."""
    if isinstance(thing, str) and thing.startswith("#"):
        parts = list(bytes.fromhex(thing[1:]))
    else:
        parts = [int(part) for part in (thing.split(",") if isinstance(thing, str) else thing)]
    red, green, blue = parts
    if not all(0 <= part <= 255 for part in parts):
        raise ValueError(f"{parts} is not within 0 .. 255")
    return red, green, blue


@dataclass(frozen=True)
class Form:
    """A form of tables of colours, as docs/data.md shows it.

    Attributes:
        file: pattern of its files.
        examples: contents that make (128, 0, 0) the colour of dog.
        makers: who writes it.
        read: gives place, name and colour of each class, nothing if the file is no table.
    """

    file: str
    examples: tuple[str, ...]
    makers: str
    read: Callable[[Path], Iterator[tuple[str, str, Colour]]]


FORMS = (
    Form(LABEL_MAP, ("dog:128,0,0::",), "CVAT, Datumaro", _coloured_labels),
    Form(CLASS_NAMES, ("dog:128,0,0",), "you; all lines, or none", _coloured_classes),
    Form(
        "*.json",
        (
            '{"dog": [128, 0, 0]}',
            '[{"name": "dog", "color": "#800000"}]',
            '{"classes": [{"title": "dog", "color": "#800000"}]}',
            '{"classes": ["dog"], "palette": [[128, 0, 0]]}',
        ),
        "you, CVAT's labels, Supervisely's `meta.json`, segments.ai, MMSegmentation; an object of"
        " `classes`, `categories` or `labels` too",
        _from_json,
    ),
)
