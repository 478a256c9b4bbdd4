"""Corrected masks of a run: brought by ``esol import``, learned from in place of pseudo masks."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from esol.errors import InputError
from esol.system.files import sha256
from esol.system.read import leads_out, read_json

FOLDER = "corrected"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Corrections:
    """Corrected masks.

    Attributes:
        folder: RUN/corrected, with NAME.png of each photo.
        classes: names of the classes; mask value k + 1 is ``classes[k]``.
        photos: photo -> ``sha256`` of its mask file, and ``source``.
        sources: SHA-256 of each imported file -> its ``file`` (name), ``format``, number of
            ``photos``, and how many of them had ``changed`` against the pseudo masks.
    """

    folder: Path
    classes: tuple[str, ...] = ()
    photos: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def files(self) -> dict[str, Path]:
        """Mask file of each corrected photo."""
        return {name: self.folder / f"{name}.png" for name in self.photos}

    def of(self, names: Iterable[str]) -> dict[str, Any]:
        """What an identity says of the corrected ones among some photos.

        Returns:
            ``photos`` and ``sha256`` over their names and masks; empty if none is corrected.
        """
        corrected = [name for name in names if name in self.photos]
        if not corrected:
            return {}
        digest = hashlib.sha256()
        for name in corrected:
            digest.update(name.encode() + b"\0" + bytes.fromhex(self.photos[name]["sha256"]))
        return {"photos": len(corrected), "sha256": digest.hexdigest()}

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse masks of other classes.

        Raises:
            InputError: the classes differ.
        """
        if self.photos and self.classes != tuple(classes):
            raise InputError(
                f"{self.folder}: corrected with other classes ({', '.join(self.classes[:5])});"
                " remove the folder, or set data.classes as they were"
            )

    def check(self, classes: Sequence[str]) -> None:
        """Refuse masks of other classes, and masks that are not what was imported.

        Raises:
            InputError: the classes differ, or a mask file is missing or changed.
        """
        self.check_classes(classes)
        for name, file in self.files().items():
            if not file.is_file() or sha256(file) != self.photos[name]["sha256"]:
                raise InputError(f"{file}: not what was imported; run esol import again")


def read_corrections(run: Path) -> Corrections:
    """The corrected masks of a run, none if nothing was imported.

    Raises:
        InputError: their manifest is damaged.
    """
    folder = run / FOLDER
    path = folder / MANIFEST
    if not path.is_file():
        return Corrections(folder)
    content = read_json(path)
    # Names become paths.
    if not _is_manifest(content) or any(
        leads_out(PurePosixPath(name)) for name in content["photos"]
    ):
        raise InputError(f"{path} is damaged; remove {folder} and run esol import again")
    return Corrections(folder, tuple(content["classes"]), content["photos"], content["sources"])


def _is_manifest(content: Any) -> bool:
    match content:
        case {"classes": [*classes], "photos": {**photos}, "sources": {**sources}}:
            return (
                all(isinstance(name, str) for name in classes)
                and all(isinstance(source, dict) for source in sources.values())
                and all(map(_is_photo, photos.values()))
            )
    return False


def _is_photo(content: Any) -> bool:
    match content:
        case {"sha256": str(digest), "source": str()}:
            return re.fullmatch("[0-9a-f]{64}", digest) is not None
    return False
