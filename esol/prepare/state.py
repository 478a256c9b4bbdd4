"""State of a prepared folder: which archives it was made from, and whether it is complete."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.errors import InputError
from esol.prepare.archives import Archive
from esol.system.files import TEMPORARY, make_folder, read_json, write_json

RECORD = "prepared.json"


@dataclass(frozen=True)
class Prepared:
    """A data folder that is ready.

    Attributes:
        out: the folder.
        counts: list name -> its photos; for COCO also the number of classes.
        done_before: nothing had to be done.
    """

    out: Path
    counts: Mapping[str, int]
    done_before: bool


def start(
    archives: Path,
    out: Path,
    data_set: str,
    found: Mapping[str, Archive],
    wanted: Mapping[str, Mapping[str, str]],
) -> Prepared | None:
    """Begin, or go on, once every wanted part is there; the result of an earlier call if whole.

    Raises:
        InputError: an archive is missing, or the folder holds something else.
    """
    done = _done_before(out, data_set, found)
    if done is None:
        _require_parts(archives, found, wanted)
        _begin(out, data_set, found)
    return done


def _done_before(out: Path, data_set: str, found: Mapping[str, Archive]) -> Prepared | None:
    """The result of an earlier call, if it is whole and no further part was found since.

    Args:
        out: the data folder.
        data_set: "voc12" or "coco14".
        found: part -> its archive; archives that are gone by now are not needed.

    Raises:
        InputError: the folder holds something else.
    """
    record = _record(out, data_set)
    if not record.get("finished") or not found.keys() <= record["archives"].keys():
        return None
    if any(_files(out / folder) < number for folder, number in record["files"].items()):
        return None
    return Prepared(out, record["counts"], True)


def _begin(out: Path, data_set: str, found: Mapping[str, Archive]) -> None:
    """Make the folder, or go on in one that a killed call or a damaged archive left unfinished.

    Raises:
        InputError: the folder holds something else, or was begun from other archives, so that two
            sources would be mixed.
    """
    names = {part: archive.path.name for part, archive in found.items()}
    earlier = _record(out, data_set).get("archives", {})
    for part, name in names.items():
        if earlier.get(part, name) != name:
            raise InputError(
                f"{out}: was begun with {earlier[part]}, not {name}: name a new folder"
            )
    make_folder(out)
    for leftover in out.rglob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)
    write_json(out / RECORD, {"data_set": data_set, "finished": False, "archives": names})


def give_up(out: Path) -> None:
    """After an error: remove the folder if nothing but its record was written."""
    record = out / RECORD
    if record.is_file() and [path.name for path in out.iterdir()] == [RECORD]:
        record.unlink()
        out.rmdir()


def finish(
    out: Path, data_set: str, found: Mapping[str, Archive], counts: Mapping[str, int]
) -> Prepared:
    """Write down that the folder is complete, and how many files it holds."""
    folders = [path for path in out.rglob("*") if path.is_dir()]
    content = {
        "data_set": data_set,
        "finished": True,
        "archives": {part: archive.path.name for part, archive in found.items()},
        "counts": counts,
        "files": {path.relative_to(out).as_posix(): _files(path) for path in folders},
    }
    write_json(out / RECORD, content, sync=True)
    return Prepared(out, counts, False)


def _require_parts(
    folder: Path, found: Mapping[str, Archive], wanted: Mapping[str, Mapping[str, str]]
) -> None:
    """Check that an archive of every wanted part is there.

    Args:
        folder: where they were looked for.
        found: part -> its archive.
        wanted: part -> (path inside the folder -> download address), the best choice first.

    Raises:
        InputError: one line with all that is missing and where to fetch it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: give the folder of the archives")
    lines = []
    for part, places in wanted.items():
        if part not in found:
            first, *others = places
            more = f" (or {', '.join(others)})" if others else ""
            lines.append(f"{first}{more}, from {places[first]}")
    if lines:
        raise InputError(f"{folder}: missing: {'; '.join(lines)}")


def _record(out: Path, data_set: str) -> dict[str, Any]:
    if not (out / RECORD).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: holds something else: name a new folder")
        return {}
    record = read_json(out / RECORD)
    if not isinstance(record, dict) or record.get("data_set") != data_set:
        raise InputError(f"{out}: was not made by `esol prepare {data_set}`: name a new folder")
    return record


def _files(folder: Path) -> int:
    return sum(entry.is_file() for entry in os.scandir(folder)) if folder.is_dir() else 0
