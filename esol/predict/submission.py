"""Archive of masks for PASCAL VOC's evaluation server, checked before it is packed."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from esol.data.classes import VOC_CLASSES
from esol.data.images import image_size, palette, reading
from esol.data.reading import read_names
from esol.errors import InputError
from esol.predict.model import Model
from esol.system.files import write_atomic
from esol.system.progress import log

TEST_PHOTOS = 1456
"""Photos of VOC 2012's list test, the only list that the server evaluates."""

_ENDINGS = (".tar.gz", ".tgz")


def voc_submission(
    model: Model,
    data: Path | str,
    out: Path | str,
    *,
    split: str = "test",
    competition: Literal["comp5", "comp6"] = "comp6",
    crf: bool | None = None,
    batch: int = 8,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict a list of PASCAL VOC 2012 and pack the masks for the evaluation server.

    The archive holds results/VOC2012/Segmentation/COMPETITION_SPLIT_cls/NAME.png: palette PNGs of
    the photos' sizes, 0 background, 1 .. 20 the classes. The masks stay in a folder beside ``out``
    (test.tar.gz: test-masks), so that a stopped call can go on. Equal masks give equal archives.

    Args:
        model: a network trained on VOC's 20 classes in VOC's order.
        data: folder with JPEGImages/NAME.jpg and ImageSets/Segmentation/SPLIT.txt.
        out: the archive to write or replace, NAME.tar.gz or NAME.tgz.
        split: the list.
        competition: comp6: with other photos or weights, such as ImageNet's; comp5: with VOC 2012
            only.
        crf: see ``Model.predict``.
        batch: see ``Model.predict_folder``.
        overwrite: predict photos again whose masks exist.

    Returns:
        ``photos``, ``masks`` (their folder), ``bytes`` of the archive, and ``classes``: how many
        masks show each class.

    Raises:
        InputError: other classes, no such list, a missing photo (all of this before any work), a
            mask that the server refuses, a file that cannot be read or written.
        ValueError: another competition.
    """
    if competition not in ("comp5", "comp6"):
        raise ValueError(f"competition is comp5 or comp6: got {competition!r}")
    out = Path(out)
    masks = _mask_folder(out)
    _check_classes(model)
    photos = _photos(Path(data), split)
    model.predict_folder(list(photos.values()), masks, crf=crf, batch=batch, overwrite=overwrite)
    counts = dict.fromkeys(VOC_CLASSES, 0)
    for name, photo in photos.items():
        for value in _classes_of(masks / f"{name}.png", photo):
            counts[VOC_CLASSES[value - 1]] += 1
    folder = f"results/VOC2012/Segmentation/{competition}_{split}_cls"
    write_atomic(out, _packed(masks, folder, list(photos)))
    return {"photos": len(photos), "masks": masks, "bytes": out.stat().st_size, "classes": counts}


def _mask_folder(out: Path) -> Path:
    ending = next((ending for ending in _ENDINGS if out.name.endswith(ending)), "")
    name = out.name.removesuffix(ending)
    if not ending or not name:
        raise InputError(f"{out}: the server takes .tar.gz; name a file NAME.tar.gz")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; name a file NAME.tar.gz")
    return out.with_name(f"{name}-masks")


def _check_classes(model: Model) -> None:
    if model.classes == VOC_CLASSES:
        return
    reordered = set(model.classes) == set(VOC_CLASSES)
    difference = "VOC classes in another order" if reordered else "other classes than VOC"
    shown = ", ".join(model.classes[:3]) + (" .." if len(model.classes) > 3 else "")
    raise InputError(
        f"{model.source or 'this network'}: was trained on {difference}"
        f" ({len(model.classes)}: {shown}); train on VOC 2012 with data.classes empty"
    )


def _photos(data: Path, split: str) -> dict[str, Path]:
    """Photos of the list by name, in the list's order."""
    listing = data / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        known = ", ".join(sorted(path.stem for path in listing.parent.glob("*.txt"))) or "none"
        raise InputError(
            f"{listing}: no such list (there are: {known}); VOC's test photos and their list are a"
            " separate download"
        )
    photos = {name: data / "JPEGImages" / f"{name}.jpg" for name in read_names(listing)}
    for name, photo in photos.items():
        if len(Path(name).parts) != 1 or not photo.is_file():
            raise InputError(f"{listing}: no photo {photo}; one name per line, without suffix")
    if split == "test" and len(photos) != TEST_PHOTOS:
        message = "%s: %d photos, where VOC 2012 has %d; the server wants all of them"
        log.warning(message, listing, len(photos), TEST_PHOTOS)
    return photos


def _classes_of(path: Path, photo: Path) -> list[int]:
    """Values of the classes in a mask, after checking what the server checks."""
    fault = ""
    with reading(path) as image:
        values = np.asarray(image)
        if image.format != "PNG" or image.mode != "P":
            fault = "not a PNG with a palette"
        elif image.getpalette() != palette().ravel().tolist():
            fault = "not VOC's colours"
        elif values.shape != image_size(photo):
            fault = "not its photo's size"
        elif values.max() > len(VOC_CLASSES):
            fault = f"value {values.max()}, which is not a class"
    if fault:
        raise InputError(f"{path}: {fault}; remove the file, and it is made again")
    return [int(value) for value in np.unique(values) if value]


def _packed(masks: Path, folder: str, names: Sequence[str]) -> bytes:
    """The archive, without times and owners and in order of names: equal masks, equal bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(names):
            content = (masks / f"{name}.png").read_bytes()
            entry = tarfile.TarInfo(f"{folder}/{name}.png")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
