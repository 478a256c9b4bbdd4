"""Resumable prediction of many photos into mask files; reports unreadable photos at the end."""

import glob
import io
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from esol.data import packed
from esol.data.at_once import at_once, in_order, pixels_of
from esol.data.batch import together
from esol.data.images import image_size, load_image, palette, save_mask
from esol.data.kinds import IMAGE_SUFFIXES, passed_over
from esol.data.memory import enough_memory
from esol.data.sample import CLASSES
from esol.data.tags import huggingface
from esol.errors import InputError
from esol.predict.overlay import draw_overlay
from esol.predict.tiles import labelled
from esol.system.distributed import all_from_main, all_gather, all_wait, my_share
from esol.system.files import atomic, plain, visible_files, write_atomic, write_json
from esol.system.precision import Precision
from esol.system.progress import log, track
from esol.system.read import read_json


class _Network(Protocol):
    """What is used of a network; :class:`esol.predict.model.Model` says what each member means."""

    classes: tuple[str, ...]
    tile: int
    device: torch.device
    precision: Precision

    @property
    def digest(self) -> str: ...
    def names(self, mask: NDArray[np.uint8]) -> tuple[str, ...]: ...
    def longest(self, side: int | None) -> int: ...
    def crf_settings(self, crf: bool | None) -> object: ...
    def working_size(self, size: tuple[int, int], longest: int | None) -> tuple[int, int]: ...
    def probabilities(self, photos: Sequence[Image.Image], longest: int | None) -> Tensor: ...
    def refined(self, probabilities: Tensor, photo: Image.Image, crf: bool | None) -> Tensor: ...


@dataclass(frozen=True)
class FolderOptions:
    """Options of ``Model.predict_folder``."""

    soft: bool = False
    overlay: bool = False
    overwrite: bool = False
    batch: int = 8
    longest: int | None = None
    crf: bool | None = None


@dataclass(frozen=True)
class _Task:
    """One photo and the files to make from it."""

    photo: Path
    mask: Path
    soft: Path | None
    overlay: Path | None

    def remove(self) -> None:
        """Remove the files."""
        for path in (self.mask, self.soft, self.overlay):
            if path is not None:
                path.unlink(missing_ok=True)

    @property
    def done(self) -> bool:
        # The mask is written last. A photo newer than its mask has replaced another photo.
        if not all(path.is_file() for path in (self.soft, self.overlay, self.mask) if path):
            return False
        try:
            return packed.stat(self.photo).st_mtime_ns <= self.mask.stat().st_mtime_ns
        except OSError:
            return False


def predict_folder(
    model: _Network, images: Sequence[Path | str], out: Path, options: FolderOptions
) -> dict[str, Any]:
    """Segment photos into mask files: the body of ``Model.predict_folder``."""
    if options.batch < 1:
        raise InputError(f"batch = {options.batch}: must be at least 1")
    start = time.monotonic()
    jobs = _jobs(images, out, options)
    all_from_main(lambda: _describe(model, out, jobs, options))
    pending = {job.mask for job in jobs if options.overwrite or not job.done}
    work = _Work(model, options)
    # Finished photos are grouped too: a photo's last bit may depend on its companions.
    groups = [group for group in work.groups(jobs) if any(job.mask in pending for job in group)]
    predicted = sum(map(len, groups))
    # Before any file is written, all processes have seen which files exist.
    all_wait()
    share, skipped = my_share(groups), len(jobs) - predicted
    pixels = (sum(pixels_of(job.photo) for job in group) for group in share)
    workers = at_once(max(pixels, default=0), model.device)
    masks = (mask for part in in_order(work.predict, share, workers) for mask in part)
    total = skipped + sum(map(len, share))
    counts, empty = dict.fromkeys(model.classes, 0), 0
    for mask in track(masks, "predict", total=total, start=skipped, unit="photos"):
        names = model.names(mask)
        empty += not names
        for name in names:
            counts[name] += 1
    errors = {photo: error for part in all_gather(work.errors) for photo, error in part.items()}
    parts = all_gather(counts)
    empty = sum(all_gather(empty))
    if errors:
        others = f" (also {', '.join(map(str, sorted(errors)[1:6]))})" if len(errors) > 1 else ""
        raise InputError(
            f"{len(errors)} of {len(jobs)} photos could not be read, the others are done:"
            f" {errors[min(errors)]}{others}"
        )
    return {
        "photos": len(jobs),
        "predicted": predicted,
        "skipped": skipped,
        "seconds": time.monotonic() - start,
        "classes": {name: sum(part[name] for part in parts) for name in counts},
        "empty": empty,
    }


def save_soft(
    path: Path, probabilities: Tensor, classes: Sequence[str], size: tuple[int, int]
) -> None:
    """Write probabilities as a compressed npz without pickles.

    It holds ``probabilities`` (K + 1, h, w) uint8, 255 for 1, background first, at the resolution
    of the network or the CRF; ``classes`` (K + 1,) names, "background" first (the argument is
    without it); ``size`` (2,) int32, height and width of the photo.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        probabilities=(probabilities * 255).round().byte().cpu().numpy(),
        classes=np.asarray(["background", *classes], np.str_),
        size=np.asarray(size, np.int32),
    )
    write_atomic(path, buffer.getvalue())


def _jobs(images: Sequence[Path | str], out: Path, options: FolderOptions) -> list[_Task]:
    if out.is_file():
        raise InputError(f"{out}: a file, but a folder for the masks is needed: name one, last")
    jobs = [
        _Task(
            photo,
            out / f"{name}.png",
            out / "soft" / f"{name}.npz" if options.soft else None,
            out / "overlays" / f"{name}.jpg" if options.overlay else None,
        )
        for name, photo in photos_by_name(images, out).items()
    ]
    photos, place = {job.photo.resolve() for job in jobs}, out.resolve()
    made = [path for job in jobs for path in (job.mask, job.soft, job.overlay) if path]
    if clash := next((path for path in made if path.resolve() in photos), None):
        raise InputError(f"{clash}: the mask would replace this photo; name another folder")
    # A folder that holds the masks is left out of the next search; the masks in others are not.
    roots = {root.resolve() for root in map(_root, images) if _is_inside(root, out)}
    ends = [place / path.relative_to(out) for path in made]
    if place in {photo.parent for photo in photos} or any(
        end.is_relative_to(root) for root in roots for end in ends
    ):
        raise InputError(f"{out}: the masks would lie among the photos; name another folder")
    return jobs


@dataclass(frozen=True)
class _Work:
    """Prediction in groups; ``errors`` collects the photos that cannot be read."""

    model: _Network
    options: FolderOptions
    errors: dict[Path, InputError] = field(default_factory=dict)

    def groups(self, jobs: list[_Task]) -> list[list[_Task]]:
        """Photos of one working size together, at most a batch of them; tiled ones alone."""
        by_size: dict[tuple[int, int], list[tuple[_Task, int]]] = {}
        for job in jobs:
            try:
                height, width = image_size(job.photo)
            except InputError as error:
                self.errors[job.photo] = error
                continue
            size = self.model.working_size((width, height), self.options.longest)
            by_size.setdefault(size, []).append((job, width * height))
        return [
            group
            for size, members in by_size.items()
            for group in together(
                members, self.options.batch if max(size) <= self.model.tile else 1
            )
        ]

    def predict(self, group: list[_Task]) -> list[NDArray[np.uint8]]:
        """Write the files of a group; returns each photo's mask."""
        with enough_memory([job.photo for job in group], "--longest", "--batch"):
            return [*self._predicted(group)]

    def _predicted(self, group: list[_Task]) -> Iterator[NDArray[np.uint8]]:
        photos: list[tuple[_Task, Image.Image]] = []
        for job in group:
            try:
                photos.append((job, load_image(job.photo)))
            except InputError as error:
                self.errors[job.photo] = error
        if not photos:
            return
        model, options = self.model, self.options
        batch = model.probabilities([photo for _, photo in photos], options.longest)
        for index, (job, photo) in enumerate(photos):
            size = (photo.height, photo.width)
            probabilities = model.refined(batch[index : index + 1], photo, options.crf)
            mask, _ = labelled(probabilities, size, with_scores=False)
            if job.soft:
                save_soft(job.soft, probabilities[0], model.classes, size)
            if job.overlay:
                with atomic(job.overlay) as temporary:
                    draw_overlay(photo, mask, model.classes).save(temporary, quality=90)
            save_mask(mask, job.mask)
            yield mask


def _describe(model: _Network, out: Path, jobs: list[_Task], options: FolderOptions) -> None:
    """Write classes.json, unless ``out`` has masks of another model or of other settings.

    With ``overwrite`` those masks are removed first, so that a stopped call leaves no mixture.
    """
    content = plain(
        {
            "classes": [
                {"value": value, "name": name, "colour": palette()[value]}
                for value, name in enumerate(("background", *model.classes))
            ],
            "model": model.digest,
            "longest": model.longest(options.longest),
            "crf": model.crf_settings(options.crf) is not None,
            # Folders of earlier versions say nothing, and are of float32.
            **({} if model.precision == "no" else {"precision": model.precision}),
        }
    )
    path = out / CLASSES
    if path.is_file() and read_json(path) != content:
        if not options.overwrite:
            raise InputError(
                f"{out}: has masks of another model or of other settings ({CLASSES}); name another"
                " folder, or overwrite"
            )
        masks = {job.mask for job in jobs}
        photos = {job.photo.resolve() for job in jobs}
        found = (file for file in out.rglob("*.png") if file not in masks)
        if others := [file for file in found if file.resolve() not in photos]:
            raise InputError(
                f"{others[0]}: a mask of another model or of other settings, whose photo is not"
                " among those given; name another folder, or all photos"
            )
        for job in jobs:
            job.remove()
    write_json(path, content)


def photos_by_name(images: Sequence[Path | str], out: Path) -> dict[str, Path]:
    """Photos by name: their path below the folder or pattern, without suffix."""
    photos: dict[str, Path] = {}
    for item in images:
        named = _named(item, out)
        others = passed_over(visible_files(Path(item), skip=out)) if Path(item).is_dir() else ()
        if not named:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise InputError(f"{item}: {'; '.join((f'no photos in it ({kinds})', *others))}")
        for line in others:
            log.warning("%s: %s", item, line)
        for name, file in named:
            other = photos.setdefault(name, file)
            if other.resolve() != file.resolve():
                raise InputError(
                    f"{other} and {file} would both become {name}.png; rename one, or predict them"
                    " into different folders"
                )
    if not photos:
        raise InputError("no photos given: name files, folders or patterns")
    return photos


def _named(item: Path | str, out: Path) -> list[tuple[str, Path]]:
    """Names and photos of an item; a data set's own names if it is one of files with photos."""
    path = Path(item)
    if path.is_file() and path.suffix in packed.SUFFIXES:
        return [*huggingface.photos(path).items()]
    root, files = _files(item, out)
    sets = huggingface.sets(path) if path.is_dir() else []
    inside = [pair for each in sets for pair in huggingface.photos(each).items()]
    if inside and files:
        log.warning("%s: photos inside files are used; other images are not (%d)", item, len(files))
    named = [(file.relative_to(root).with_suffix("").as_posix(), file) for file in files]
    return inside or named


def _root(item: Path | str) -> Path:
    """The folder below which a file, a folder or a pattern means photos."""
    path = Path(item)
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    if not glob.has_magic(str(item)):
        raise InputError(f"{item}: no such file or folder")
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))


def _files(item: Path | str, out: Path) -> tuple[Path, list[Path]]:
    """Root and photos of an item, without the masks in ``out`` and those of other calls."""
    path, root = Path(item), _root(item)
    if path.is_file():
        return root, [path]
    if root.resolve() == out.resolve():
        raise InputError(f"{out}: the masks would lie among the photos; name another folder")
    # Photos in a folder below ``out`` are no masks.
    own = None if _is_inside(root, out) else out
    if path.is_dir():
        return root, sorted(_photos_below(root, own))
    matches = (Path(match) for match in glob.iglob(str(item), recursive=True))
    photos = (p for p in matches if _is_photo(p) and not (own and _is_inside(p, own)))
    below = ((p, [q for q in p.parents if q.is_relative_to(root)]) for p in photos)
    return root, sorted(p for p, folders in below if not any(map(_has_masks, folders)))


def _photos_below(root: Path, out: Path | None) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        # A link to a parent folder must not be followed for ever.
        real = os.path.realpath(folder)
        own = out is not None and _is_inside(Path(folder), out)
        if real in seen or _has_masks(Path(folder)) or own:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if _is_photo(Path(folder, name)))


def _has_masks(folder: Path) -> bool:
    """Whether an earlier call wrote masks there, which are not photos."""
    try:
        content = read_json(folder / CLASSES)
    except InputError:
        return False
    return isinstance(content, dict) and {"classes", "model", "crf"} <= content.keys()


def _is_photo(path: Path) -> bool:
    visible = not path.name.startswith(".")
    return visible and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
