"""Many photos into mask files: what is done stays done, what cannot be read is told at the end."""

import glob
import io
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from esol.data.images import IMAGE_SUFFIXES, colour, image_size, load_image, palette, save_mask
from esol.errors import InputError
from esol.predict.tiles import BAND, labelled
from esol.system.distributed import all_from_main, all_gather, all_wait, my_share
from esol.system.files import atomic, plain, write_atomic, write_json
from esol.system.progress import track
from esol.system.read import read_json

if TYPE_CHECKING:
    from esol.predict.model import Model

CLASSES = "classes.json"
"""Names and colours of the mask values, and which model and settings made the masks."""

TOGETHER = 100_000_000
"""Pixels that the photos of one batch hold at most, unless it is a single photo: 400 MB."""


@dataclass(frozen=True)
class _Job:
    """One photo and the files that are to be made of it."""

    photo: Path
    mask: Path
    soft: Path | None
    overlay: Path | None

    def remove(self) -> None:
        """Remove the files, those too that are not asked for now."""
        for path in (self.mask, self.soft, self.overlay):
            if path is not None:
                path.unlink(missing_ok=True)

    @property
    def done(self) -> bool:
        # The mask is written last. A photo that is newer was put in the place of another.
        if not all(path.is_file() for path in (self.soft, self.overlay, self.mask) if path):
            return False
        try:
            return self.photo.stat().st_mtime_ns <= self.mask.stat().st_mtime_ns
        except OSError:
            return False


def predict_folder(
    model: "Model",
    images: Sequence[Path | str],
    out: Path | str,
    *,
    soft: bool = False,
    overlay: bool = False,
    overwrite: bool = False,
    batch: int = 8,
    longest: int | None = None,
    crf: bool | None = None,
) -> dict[str, Any]:
    """Segment photos into mask files.

    Folders are searched with their subfolders (hidden files and ``out`` itself left out) and the
    masks keep the names below them; so do they below the fixed part of a glob pattern. Photos whose
    files are all there are skipped: a stopped call can be made again. Several processes share the
    photos; the result counts those of all.

    Args:
        model: the network.
        images: files, folders and glob patterns ("photos/**/left_*.jpg").
        out: folder of the results: NAME.png masks with the VOC colours, ``classes.json``.
        soft: also write soft/NAME.npz, see :func:`save_soft`.
        overlay: also write overlays/NAME.jpg, the mask over the photo.
        overwrite: replace files that are there.
        batch: photos of equal working size that go through the network together, at least 1.
        longest: see ``Model.predict``.
        crf: see ``Model.predict``.

    Returns:
        ``photos`` found, ``predicted`` now, ``skipped``, ``seconds``; of the photos predicted now
        ``classes``: in how many each class was found, and ``empty``: in how many none was.

    Raises:
        InputError: nothing found, two photos of one name, a mask that would replace a photo, masks
            of another model or other settings in ``out`` (all of this before anything is written);
            photos that could not be read (after all others are done; the first ones are named).
    """
    if batch < 1:
        raise InputError(f"batch = {batch}: must be at least 1")
    begun, out = time.monotonic(), Path(out)
    jobs = _jobs(images, out, soft, overlay)
    all_from_main(lambda: _describe(model, out, jobs, longest, crf, overwrite))
    wanted = {job.mask for job in jobs if overwrite or not job.done}
    bad: dict[Path, InputError] = {}
    found, empty = dict.fromkeys(model.classes, 0), 0
    # Grouped with those that are done: a photo's last bit may depend on its companions.
    groups = _groups(model, jobs, batch, longest, bad)
    groups = [group for group in groups if any(job.mask in wanted for job in group)]
    left = sum(map(len, groups))
    # Before any file is written, all processes have seen which were there.
    all_wait()
    mine, before = my_share(groups), len(jobs) - left
    masks = _predicted(model, mine, longest, crf, bad)
    for mask in track(
        masks, "predict", total=before + sum(map(len, mine)), start=before, unit="photos"
    ):
        names = model.names(mask)
        empty += not names
        for name in names:
            found[name] += 1
    bad = {photo: error for part in all_gather(bad) for photo, error in part.items()}
    parts = all_gather(found)
    found = {name: sum(part[name] for part in parts) for name in found}
    empty = sum(all_gather(empty))
    if bad:
        rest = f" (also {', '.join(map(str, sorted(bad)[1:6]))})" if len(bad) > 1 else ""
        raise InputError(
            f"{len(bad)} of {len(jobs)} photos could not be read, the others are done:"
            f" {bad[min(bad)]}{rest}"
        )
    return {
        "photos": len(jobs),
        "predicted": left,
        "skipped": len(jobs) - left,
        "seconds": time.monotonic() - begun,
        "classes": found,
        "empty": empty,
    }


def laid_over(photo: Image.Image, mask: NDArray[np.uint8]) -> Image.Image:
    """The classes' colours over a photo; background and 255 leave it as it is.

    Args:
        photo: RGB, W x H pixels.
        mask: (H, W) class numbers.
    """
    result = photo.copy()
    for top in range(0, photo.height, BAND):
        box = (0, top, photo.width, min(top + BAND, photo.height))
        part = mask[box[1] : box[3]]
        tinted = Image.blend(photo.crop(box), colour(part).convert("RGB"), 0.5)
        result.paste(tinted, box, Image.fromarray((part > 0) & (part < 255)))
    return result


def save_soft(
    path: Path, probabilities: Tensor, classes: Sequence[str], size: tuple[int, int]
) -> None:
    """Write probabilities as a compressed npz without pickles.

    It holds ``probabilities`` (K + 1, h, w) uint8, 255 for 1, background first, at the resolution
    at which the network or the CRF gave them; ``classes`` (K + 1,) names, "background" first;
    ``size`` (2,) int32, height and width of the photo.

    Args:
        path: the file, by custom NAME.npz.
        probabilities: (K + 1, h, w), 0 .. 1.
        classes: K names, without the background.
        size: (H, W) of the photo.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        probabilities=(probabilities * 255).round().byte().cpu().numpy(),
        classes=np.asarray(["background", *classes], np.str_),
        size=np.asarray(size, np.int32),
    )
    write_atomic(path, buffer.getvalue())


def _jobs(images: Sequence[Path | str], out: Path, soft: bool, overlay: bool) -> list[_Job]:
    jobs = [
        _Job(
            photo,
            out / f"{name}.png",
            out / "soft" / f"{name}.npz" if soft else None,
            out / "overlays" / f"{name}.jpg" if overlay else None,
        )
        for name, photo in _gathered(images, out).items()
    ]
    photos = {job.photo.resolve() for job in jobs}
    if clash := next((job for job in jobs if job.mask.resolve() in photos), None):
        raise InputError(f"{clash.mask}: the mask would replace this photo; name another folder")
    if out.resolve() in {photo.parent for photo in photos}:
        raise InputError(f"{out}: the masks would lie among the photos; name another folder")
    return jobs


def _predicted(
    model: "Model",
    groups: Sequence[list[_Job]],
    longest: int | None,
    crf: bool | None,
    bad: dict[Path, InputError],
) -> Iterator[NDArray[np.uint8]]:
    """Write the files of each group; the mask of every photo once its files are there."""
    for group in groups:
        # A generator of its own: its photos are given back before the next are read.
        yield from _of_group(model, group, longest, crf, bad)


def _of_group(
    model: "Model",
    group: list[_Job],
    longest: int | None,
    crf: bool | None,
    bad: dict[Path, InputError],
) -> Iterator[NDArray[np.uint8]]:
    photos: list[tuple[_Job, Image.Image]] = []
    for job in group:
        try:
            photos.append((job, load_image(job.photo)))
        except InputError as error:
            bad[job.photo] = error
    if not photos:
        return
    working = model.working([photo for _, photo in photos], longest)
    for index, (job, photo) in enumerate(photos):
        size = (photo.height, photo.width)
        probabilities = model.finished(working[index : index + 1], photo, crf)
        mask, _ = labelled(probabilities, size, with_scores=False)
        if job.soft:
            save_soft(job.soft, probabilities[0], model.classes, size)
        if job.overlay:
            with atomic(job.overlay) as temporary:
                laid_over(photo, mask).save(temporary, quality=90)
        save_mask(mask, job.mask)
        yield mask


def _groups(
    model: "Model",
    jobs: list[_Job],
    batch: int,
    longest: int | None,
    bad: dict[Path, InputError],
) -> list[list[_Job]]:
    """Photos of one working size together, at most ``batch`` of them; tiled ones alone."""
    by_size: dict[tuple[int, int], list[tuple[_Job, int]]] = {}
    for job in jobs:
        try:
            height, width = image_size(job.photo)
        except InputError as error:
            bad[job.photo] = error
            continue
        size = model.working_size((width, height), longest)
        by_size.setdefault(size, []).append((job, width * height))
    return [
        group
        for size, members in by_size.items()
        for group in _cut(members, batch if max(size) <= model.tile else 1)
    ]


def _cut(members: list[tuple[_Job, int]], most: int) -> Iterator[list[_Job]]:
    """At most so many photos, and no more pixels than ``TOGETHER``, in a group."""
    group: list[_Job] = []
    held = 0
    for job, pixels in members:
        if group and (len(group) == most or held + pixels > TOGETHER):
            yield group
            group, held = [], 0
        group.append(job)
        held += pixels
    if group:
        yield group


def _describe(
    model: "Model",
    out: Path,
    jobs: list[_Job],
    longest: int | None,
    crf: bool | None,
    overwrite: bool,
) -> None:
    """Write classes.json, unless masks of another kind are there already.

    With ``overwrite`` these are removed first, so that a stopped call leaves no mixture.
    """
    colours = palette()
    content = plain(
        {
            "classes": [
                {"value": value, "name": name, "colour": colours[value]}
                for value, name in enumerate(("background", *model.classes))
            ],
            "model": model.digest,
            "longest": model.longest(longest),
            "crf": model.crf_settings(crf) is not None,
        }
    )
    path = out / CLASSES
    if path.is_file() and read_json(path) != content:
        if not overwrite:
            raise InputError(
                f"{out}: has masks of another model or of other settings ({CLASSES}); name another"
                " folder, or overwrite"
            )
        masks = {job.mask for job in jobs}
        rest = [file for file in out.rglob("*.png") if file not in masks]
        if rest:
            raise InputError(
                f"{rest[0]}: a mask of another model or of other settings, of a photo not named"
                " now; name another folder, or all photos"
            )
        for job in jobs:
            job.remove()
    write_json(path, content)


def _gathered(images: Sequence[Path | str], out: Path) -> dict[str, Path]:
    """Photos by name: their path below the folder or pattern, without suffix."""
    found: dict[str, Path] = {}
    for item in images:
        root, files = _files(item, out)
        if not files:
            raise InputError(f"{item}: no photos there ({', '.join(sorted(IMAGE_SUFFIXES))})")
        for file in files:
            name = file.relative_to(root).with_suffix("").as_posix()
            other = found.setdefault(name, file)
            if other.resolve() != file.resolve():
                raise InputError(
                    f"{other} and {file} would both become {name}.png; rename one, or predict them"
                    " into different folders"
                )
    if not found:
        raise InputError("no photos given: name files, folders or patterns")
    return found


def _files(item: Path | str, out: Path) -> tuple[Path, list[Path]]:
    path = Path(item)
    if path.is_dir():
        if path.resolve() == out.resolve():
            raise InputError(f"{out}: the masks would lie among the photos; name another folder")
        return path, sorted(_walk(path, out))
    if path.is_file():
        return path.parent, [path]
    if not glob.has_magic(str(item)):
        raise InputError(f"{item}: no such file or folder")
    root = Path(*_fixed(path.parts))
    matches = (Path(match) for match in glob.iglob(str(item), recursive=True))
    photos = (p for p in matches if _is_photo(p) and not _inside(p, out))
    return root, sorted(p for p in photos if not any(map(_has_masks, p.parents)))


def _fixed(parts: tuple[str, ...]) -> list[str]:
    """Leading folders of a pattern up to the first that has a wildcard."""
    wild = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return list(parts[:wild])


def _walk(root: Path, out: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        # A link back up must not be walked for ever.
        real = os.path.realpath(folder)
        if real in seen or _has_masks(Path(folder)) or _inside(Path(folder), out):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if _is_photo(Path(folder, name)))


def _has_masks(folder: Path) -> bool:
    """Whether an earlier call put its masks there, which are no photos."""
    try:
        content = read_json(folder / CLASSES)
    except InputError:
        return False
    return isinstance(content, dict) and {"classes", "model", "crf"} <= content.keys()


def _is_photo(path: Path) -> bool:
    visible = not path.name.startswith(".")
    return visible and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
