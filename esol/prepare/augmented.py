"""Augmented masks of VOC: SBD's .mat files, or the PNG set made from them, as palette PNGs."""

import io
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from esol.data.classes import VOC_CLASSES
from esol.data.images import load_mask, save_mask
from esol.data.reading import mask_problem
from esol.errors import one_line
from esol.prepare.archives import Archive, Member
from esol.system.progress import track

SBD_NAMES = ("benchmark.tgz", "benchmark_RELEASE")


def augmented_masks(
    archive: Archive, voc_photos: Collection[str], folder: Path, total: int
) -> tuple[set[str], set[str]]:
    """Write the masks of the photos that VOC has none for; existing ones are kept.

    Args:
        archive: SBD's, or that of the PNG set, distinguished by its name.
        voc_photos: photos with a mask of VOC, to leave out.
        folder: folder of the masks.
        total: expected number of masks, for the progress bar.

    Returns:
        Photos on the archive's lists (of the PNG set: all with a mask), and photos whose masks
        are in ``folder`` at the end.
    """
    sbd = archive.path.name in SBD_NAMES
    place, suffix = ("cls", ".mat") if sbd else ("SegmentationClassAug", ".png")
    listed: set[str] = set()
    masks: set[str] = set()

    def needed(members: Iterator[Member]) -> Iterator[Member]:
        for member in members:
            name = member.name
            if name.parent.name == place and name.suffix == suffix:
                if not sbd:
                    listed.add(name.stem)
                if name.stem not in voc_photos:
                    yield member
            elif sbd and name.parts[-2:] in (("dataset", "train.txt"), ("dataset", "val.txt")):
                listed.update(member.read().decode("utf-8", errors="replace").split())

    with archive.members() as members:
        for member in track(needed(members), "augmented masks", total=total, unit="masks"):
            target = folder / f"{member.name.stem}.png"
            if not target.is_file():
                save_mask(_mask(archive, member, sbd), target)
            masks.add(target.stem)
    return listed, masks


def _mask(archive: Archive, member: Member, sbd: bool) -> NDArray[np.uint8]:
    content = member.read()
    try:
        mask = _from_mat(content) if sbd else _from_png(content)
        problem = mask_problem(mask, Path(member.name.name), VOC_CLASSES, mask.shape)
    # SciPy's reader raises almost anything for corrupt bytes.
    except Exception as error:
        raise archive.wrong(f"{member.name} is not a mask ({one_line(error)})") from error
    if problem:
        raise archive.wrong(problem)
    return mask


def _from_mat(content: bytes) -> NDArray[np.uint8]:
    """GTcls.Segmentation: (H, W), 0 background, 1 .. 20; SBD leaves no pixel out."""
    struct = loadmat(io.BytesIO(content), variable_names=["GTcls"])["GTcls"]
    stored = np.asarray(struct["Segmentation"][0, 0])
    mask = stored.astype(np.uint8)
    if mask.ndim != 2 or (mask != stored).any():
        raise ValueError("Segmentation is not an array of class numbers")
    return mask


def _from_png(content: bytes) -> NDArray[np.uint8]:
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(content)
        file.flush()
        return load_mask(file.name)
