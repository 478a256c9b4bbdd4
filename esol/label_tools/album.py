"""Album: the photos and classes of a run, as label tools see them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from esol.data.kinds import IMAGE_SUFFIXES
from esol.data.names import as_uploaded, composed, meant
from esol.data.sample import BACKGROUND, IGNORE
from esol.errors import InputError
from esol.system.read import leads_out

IGNORED = "ignore"
"""Label of mask value 255 in formats without mask values."""


@dataclass(frozen=True)
class Photo:
    """A photo of the run: the sample's name, its file, (height, width) when upright, and its tags.

    ``file`` is ``path`` relative to the data folder, POSIX; of a photo inside another file, which
    tools know as ``export --to voc`` writes it, NAME.jpg.
    """

    name: str
    file: str
    path: Path
    size: tuple[int, int]
    tags: tuple[str, ...] = ()


Corrected = tuple[Photo, NDArray[np.uint8]]
"""A photo and its (H, W) mask, as a label tool gives them back."""


@dataclass(frozen=True)
class Album:
    """Photos, sorted by name, and names of the K classes; mask value k + 1 is ``classes[k]``."""

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]

    def label(self, value: int) -> str:
        """Label of a mask value other than 0; an InputError if a class has the label of 255."""
        if value == IGNORE and IGNORED in self.classes:
            raise InputError(
                f"the masks have ignored pixels, which are exported as {IGNORED!r}, and a class has"
                " that name: rename the class, or export --to voc"
            )
        return IGNORED if value == IGNORE else self.classes[value - 1]

    def value(self, label: str, where: str) -> int:
        """Mask value of a label; an InputError that begins with ``where`` if no class has it."""
        label = composed(label)
        if label == BACKGROUND:
            return 0
        if label in self.classes:
            return self.classes.index(label) + 1
        if label == IGNORED:
            return IGNORE
        known = ", ".join(self.classes[:8]) + (", .." if len(self.classes) > 8 else "")
        raise InputError(f"{where}: no class {label!r}: rename the label to one of {known}")

    def find(self, text: str, where: str) -> Photo:
        """The one photo that a path means: its file or name, or an end of either."""
        path = PurePosixPath(composed(text.replace("\\", "/")))
        if not path.parts or leads_out(path):
            raise InputError(f"{where}: {text!r} leads out of the data folder: give a photo's name")
        whole = path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path
        if str(path) in self._exact:
            return self._exact[str(path)]
        near = self._ends.get(whole.name, {})
        photos = [near[file] for file in meant(whole, near)]
        if len(photos) > 1:
            names = ", ".join(photo.file for photo in photos[:3])
            raise InputError(f"{where}: {text!r} may be any of {names}: write the whole path")
        if not photos:
            raise InputError(f"{where}: {text!r} is not a photo of this run: fix or remove it")
        return photos[0]

    @cached_property
    def _exact(self) -> dict[str, Photo]:
        """Photos by file, and by name."""
        return {p.name: p for p in self.photos} | {composed(p.file): p for p in self.photos}

    @cached_property
    def _ends(self) -> dict[str, dict[PurePosixPath, Photo]]:
        """Photos by the last part of their names, also as uploaded, and then by their files."""
        ends: dict[str, dict[PurePosixPath, Photo]] = {}
        for photo in self.photos:
            file = PurePosixPath(composed(photo.file)).with_suffix("")
            for end in (file.name, as_uploaded(file.name)):
                ends.setdefault(end, {})[file] = photo
        return ends


def check_size(photo: Photo, size: tuple[int, int], where: str) -> None:
    """Raise an InputError if a mask's (height, width) is not its photo's."""
    if size != photo.size:
        (height, width), (rows, columns) = photo.size, size
        raise InputError(
            f"{where}: {columns} x {rows} pixels, the photo {photo.file} has {width} x {height}:"
            " export and correct it again"
        )
