"""Bad input, and odd input that is to be read rightly: kinds, each with what must come of it.

A kind makes its files in a folder of its own and gives the command line that reads them. It is
refused (exit code 2, one line with the file and the fix, nothing written) unless it says what the
command must have made of it.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from esol.data.images import save_mask


@dataclass(frozen=True)
class Place:
    """Where a kind makes its files.

    Attributes:
        folder: an empty folder.
        finished: a finished run, to be copied.
    """

    folder: Path
    finished: Path

    @cached_property
    def data(self) -> Path:
        """A sound data set: four photos of 32 x 24 pixels, two classes, masks."""
        return sound(self.folder / "data")

    @cached_property
    def run(self) -> Path:
        """A finished run that may be spoiled."""
        return Path(shutil.copytree(self.finished, self.folder / "run"))

    @property
    def out(self) -> Path:
        """Where results go; not there yet."""
        return self.folder / "out"

    def write(self, name: str, content: bytes | str) -> Path:
        """A file in the folder, its parents made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


Command = list[str | Path]
Make = Callable[[Place], Command]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        name: what it is.
        make: makes it; gives the command line.
        says: refused: words of the line, the first of which names the file.
        then: accepted: looks at what came of it.
        leaves: patterns of files that a refused command may make or change, because they are right
            and whole: masks of the other photos, notes of a stage that is not finished.
        slow: takes long; left out unless asked for.
    """

    name: str
    make: Make
    says: tuple[str, ...] = ()
    then: Callable[[Place], None] | None = None
    leaves: tuple[str, ...] = ()
    slow: bool = False


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """A photo of coloured noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def sound(root: Path) -> Path:
    """Write a data set with nothing wrong: a, b, c, d of the classes cat (1) and dog (2)."""
    tags = {"a": "cat", "b": "cat dog", "c": "dog", "d": "cat dog"}
    (root / "images").mkdir(parents=True)
    for seed, (name, named) in enumerate(tags.items()):
        noise(24, 32, seed).save(root / "images" / f"{name}.jpg")
        mask = np.zeros((24, 32), np.uint8)
        mask[2:9], mask[9:12] = (1, 2) if " " in named else (1 + (named == "dog"),) * 2
        save_mask(mask, root / "masks" / f"{name}.png")
    rows = [f"images/{name}.jpg,{named}" for name, named in tags.items()]
    (root / "labels.csv").write_text("\n".join(("image,labels", *rows)) + "\n")
    return root
