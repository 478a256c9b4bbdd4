"""Record of a prepared folder: which archives it was made from, and whether it is complete."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.errors import InputError
from esol.prepare.archives import Archive
from esol.system.files import TEMPORARY, make_folder, write_json
from esol.system.read import read_json

RECORD = "prepared.json"


@dataclass(frozen=True)
class Prepared:
    """A data folder that is ready; ``done_before`` if nothing had to be done.

    ``counts``: list name -> number of its photos; for COCO also the number of classes.
    """

    out: Path
    counts: Mapping[str, int]
    done_before: bool


def start(
    archives: Path,
    out: Path,
    data_set: str,
    parts: Mapping[str, Archive],
    places: Mapping[str, Mapping[str, str]],
) -> Prepared | None:
    """Begin, or resume after a kill or a damaged archive, once every part is found.

    Args:
        archives: the folder that was searched.
        out: the data folder, made here.
        data_set: "voc12" or "coco14".
        parts: part -> its archive, as far as found. A finished folder needs none.
        places: needed part -> (path inside ``archives`` -> download address), best choice first.

    Returns:
        The result of an earlier call if it is whole and no further part was found since.
    """
    record = _record(out, data_set)
    earlier, files = record.get("archives", {}), record.get("files", {})
    finished = record.get("finished") and parts.keys() <= earlier.keys()
    if finished and all(_files(out / folder) >= count for folder, count in files.items()):
        return Prepared(out, record["counts"], True)
    _require_parts(archives, parts, places)
    names = {part: archive.path.name for part, archive in parts.items()}
    for part, name in names.items():
        if earlier.get(part, name) != name:
            was = f"{out}: was started from {earlier[part]}"
            raise InputError(f"{was}, not {name}: name a new folder")
    make_folder(out)
    for leftover in out.rglob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)
    write_json(out / RECORD, {"data_set": data_set, "finished": False, "archives": names})
    return None


def give_up(out: Path) -> None:
    """After an error: remove the folder if nothing but its record was written."""
    if (out / RECORD).is_file() and len(list(out.iterdir())) == 1:
        (out / RECORD).unlink()
        out.rmdir()


def finish(
    out: Path, data_set: str, parts: Mapping[str, Archive], counts: Mapping[str, int]
) -> Prepared:
    """Record that the folder is complete, and how many files it holds."""
    folders = [path for path in out.rglob("*") if path.is_dir()]
    content = {
        "data_set": data_set,
        "finished": True,
        "archives": {part: archive.path.name for part, archive in parts.items()},
        "counts": counts,
        "files": {path.relative_to(out).as_posix(): _files(path) for path in folders},
    }
    write_json(out / RECORD, content, sync=True)
    return Prepared(out, counts, False)


def _require_parts(
    folder: Path, parts: Mapping[str, Archive], places: Mapping[str, Mapping[str, str]]
) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: give the folder of the archives")
    missing = []
    for part, urls in places.items():
        if part not in parts:
            first, *others = urls
            more = f" (or {', '.join(others)})" if others else ""
            missing.append(f"{first}{more}, from {urls[first]}")
    if missing:
        raise InputError(f"{folder}: missing: {'; '.join(missing)}")


def _record(out: Path, data_set: str) -> dict[str, Any]:
    if not (out / RECORD).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out}: is not an empty folder: name a new folder")
        return {}
    record = read_json(out / RECORD)
    if not isinstance(record, dict) or record.get("data_set") != data_set:
        raise InputError(f"{out}: was not made by `esol prepare {data_set}`: name a new folder")
    return record


def _files(folder: Path) -> int:
    return sum(entry.is_file() for entry in os.scandir(folder)) if folder.is_dir() else 0
