"""Import: corrected masks back into a run."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from esol.data.images import load_mask, save_mask
from esol.data.reading import mask_problem
from esol.errors import InputError
from esol.label_tools import TOLERANCE, coco, cvat, labelstudio, png, voc, yolo
from esol.label_tools.album import Album, Corrected
from esol.label_tools.runs import album_of, check_classes, open_run
from esol.label_tools.sources import digest_of, tools_of
from esol.runs.corrections import FOLDER, MANIFEST, read_corrections
from esol.runs.folder import RunFolder
from esol.runs.work import FolderLock
from esol.system.files import TEMPORARY, make_folder, sha256, write_json
from esol.system.progress import log, track

_READERS = {
    **{"labelstudio": labelstudio.read, "cvat": cvat.read, "coco": coco.read},
    **{"yolo": yolo.read, "voc": voc.read, "png": png.read},
}


def import_masks(
    corrected: Path | str,
    run: Path | str,
    *,
    source: str,
    tolerance: float | None = None,
    data: Path | str | None = None,
) -> dict[str, Any]:
    """Bring corrected masks into a run, whose stage segment then learns from them.

    They become RUN/corrected/NAME.png, beside those of earlier imports, which stay unless the same
    photo comes again. A mask equal to the run's pseudo mask is not a correction, and revokes an
    earlier one. A photo without a shape says nothing, unless the tool says that it is finished.
    Nothing is written unless all masks are sound.

    Args:
        corrected: file of the tool; yolo, voc, png: folder, or a ZIP file of it.
        run: run folder.
        source: one of ``esol.label_tools.TOOLS``.
        tolerance: that of the exported polygons, pixels; a mask that differs from the pseudo mask
            only along its borders, by at most this and the rounding to pixels, is the same.
            None: it must be equal; yolo: ``TOLERANCE``.
        data: the data folder, if it has moved.

    Returns:
        ``photos`` with a mask in the file, ``changed`` (corrected ones among them), ``corrected``
        (all in the run, earlier imports included), ``untouched`` (photos in the file without a
        shape, which were passed over).

    Raises:
        InputError: the file is damaged, of another tool, has no photo, or has a photo, class or
            size unknown to the run; or the run has no pseudo masks; or another process works on it.
        ValueError: another tool.
    """
    if source not in _READERS:
        raise ValueError(f"no tool {source!r}")
    if source == "yolo" and tolerance is None:
        tolerance = TOLERANCE  # as it is exported
    run = Path(run)
    settings, dataset = open_run(run, data)
    check_classes(RunFolder(run), "masks", dataset)
    lists = settings.cams.lists or tuple(dataset.splits)
    album = album_of(dataset, dataset.samples(*(name for name in lists if name in dataset.splits)))
    lock = FolderLock(run)
    lock.acquire()
    try:
        return _imported(Path(corrected), run, album, source, tolerance)
    except InputError as error:
        tools = tools_of(Path(corrected))
        if not tools or source in tools:
            raise
        raise InputError(f"{corrected}: not a file of {source}: give --from {tools[0]}") from error
    finally:
        lock.release()


def _imported(
    corrected: Path, run: Path, album: Album, source: str, tolerance: float | None
) -> dict[str, Any]:
    earlier = read_corrections(run)
    earlier.check_classes(album.classes)
    digest, photos, seen = digest_of(corrected), dict(earlier.photos), set[str]()
    untouched = 0
    # Inside the run, so that renaming suffices; the next command clears what a kill leaves.
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=run) as place:
        staged: dict[str, Path] = {}
        for item in _checked(_READERS[source](corrected, album), album, corrected):
            if item is None:
                untouched += 1
                continue
            photo, mask = item
            if photo.name in seen:
                raise InputError(f"{corrected}: {photo.file} comes twice: keep one of them")
            seen.add(photo.name)
            photos.pop(photo.name, None)
            pseudo = RunFolder(run).stage("masks") / f"{photo.name}.png"
            if source == "yolo" and pseudo.is_file():
                mask = yolo.with_ignored(mask, load_mask(pseudo))
            if not _differs(mask, pseudo, tolerance):
                continue
            staged[photo.name] = Path(place) / f"{photo.name}.png"
            save_mask(mask, staged[photo.name])
            photos[photo.name] = {"sha256": sha256(staged[photo.name]), "source": digest}
        if not seen and not untouched:
            raise InputError(f"{corrected}: no photo in it: export it again")
        counts = {"photos": len(seen), "changed": len(staged), "corrected": len(photos)}
        if not staged and photos == earlier.photos:
            return {**counts, "untouched": untouched}
        removed = earlier.photos.keys() - photos.keys()
        if replaced := earlier.photos.keys() & staged.keys() | removed:
            log.warning(
                "corrections of earlier imports: %d replaced, of which %d by the run's own masks",
                *(len(replaced), len(removed)),
            )
        for name, path in staged.items():
            target = run / FOLDER / f"{name}.png"
            make_folder(target.parent)
            os.replace(path, target)
    record = {"file": corrected.name, "format": source, "photos": len(seen), "changed": len(staged)}
    used = {entry["source"] for entry in photos.values()}
    sources = {key: value for key, value in earlier.sources.items() if key in used}
    sources[digest] = record
    content = {"classes": album.classes, "photos": photos, "sources": sources}
    write_json(run / FOLDER / MANIFEST, content, sync=True)
    for name in removed:
        (run / FOLDER / f"{name}.png").unlink(missing_ok=True)
    return {**counts, "untouched": untouched}


def _differs(mask: NDArray[np.uint8], path: Path, tolerance: float | None) -> bool:
    """Whether a mask differs from the pseudo mask by more than polygons of this tolerance do."""
    pseudo = load_mask(path) if path.is_file() else None
    if pseudo is None or pseudo.shape != mask.shape:
        return True
    if tolerance is None:
        return not np.array_equal(pseudo, mask)
    around = np.pad(pseudo, 1, constant_values=0)
    inner = around[1:-1, 1:-1]
    sides = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    inside = ~np.any([inner != side for side in sides], axis=0)
    # A pixel's centre is up to half a diagonal farther from the next one than from its border.
    far = ndimage.distance_transform_edt(inside) > tolerance + 0.71
    return bool(((mask != pseudo) & far).any())


def _checked(
    masks: Iterator[Corrected | None], album: Album, path: Path
) -> Iterator[Corrected | None]:
    for item in track(masks, "import", total=len(album.photos), unit="photos"):
        if item is not None:
            photo, mask = item
            if problem := mask_problem(mask, Path(photo.file), album.classes, photo.size):
                raise InputError(f"{path}: {problem}")
        yield item
