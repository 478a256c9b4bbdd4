"""PASCAL VOC 2012 with the augmented masks of SBD, in VOC's own layout.

The usual training list train_aug holds the photos of SBD's two lists and of VOC's train, without
those of VOC's val: 10,582. SBD: Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV
2011.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from esol.data.images import image_size
from esol.data.tags import LABELS
from esol.data.voc import read_voc
from esol.errors import InputError
from esol.prepare.archives import Archive, Member, find, link_or_copy, store_all
from esol.prepare.augmented import SBD_NAMES, augmented_masks
from esol.prepare.state import Prepared, finish, start
from esol.settings import Data
from esol.system.files import require_room, write_atomic

VOC12_COUNTS = {"train": 1464, "val": 1449, "train_aug": 10582, "test": 1456}
"""Photos of the official lists, and of train_aug."""

_VOC = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
_SBD = (
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"
    "benchmark.tgz"
)
_PNG = "https://www.dropbox.com/s/oeu149j8qtbs1x0/SegmentationClassAug.zip"
_PLACES = {
    "trainval": {"VOCtrainval_11-May-2012.tar": _VOC, "VOCdevkit/VOC2012": _VOC, "VOC2012": _VOC},
    "masks": dict.fromkeys(SBD_NAMES, _SBD)
    | dict.fromkeys(("SegmentationClassAug.zip", "SegmentationClassAug"), _PNG),
}
_TEST = {"VOC2012test.tar": "http://host.robots.ox.ac.uk:8080/eval/downloads/VOC2012test.tar"}

_SUFFIX = {"JPEGImages": "jpg", "Annotations": "xml", "SegmentationClass": "png"}
_AUG = "SegmentationClassAug"
_LISTS = "ImageSets/Segmentation"
# Measured: 3 KB a mask, in blocks of the file system.
_MASK_BYTES = 8192

Index = Mapping[tuple[str, str], Member]


def prepare_voc12(archives: Path, out: Path, counts: Mapping[str, int] = VOC12_COUNTS) -> Prepared:
    """Make a data folder with the lists train, val, trainval, train_aug and, if available, test.

    Masks of ``SegmentationClassAug`` are VOC's own for the photos of train and val, and SBD's (or
    those of the PNG set) for all others. Photos on no list are left out. A killed call resumes
    where it stopped; a finished folder is left alone.

    Args:
        archives: folder of the archives, or of their extracted folders.
        out: folder to make.
        counts: photos that each list must have.

    Returns:
        The photos of each list.

    Raises:
        InputError: an archive is missing or damaged, the disk is too small, or ``out`` is in use.
    """
    parts = _find(archives)
    if done := start(archives, out, "voc12", parts, _PLACES):
        return done
    with parts["trainval"].members() as members:
        index = _index(members)
        lists = _lists(parts["trainval"], index, counts)
        lists["train_aug"] = _augment(parts["masks"], lists, out, counts)
        _extract(parts["trainval"], index, lists, out)
    _check_sizes(parts["masks"], set(lists["train_aug"]) - set(lists["train"]), out)
    if "test" in parts:
        lists["test"] = _test(parts["test"], out, counts["test"])
    # Written last: a folder without lists is not taken for a data set.
    for name, photos in lists.items():
        write_atomic(out / _LISTS / f"{name}.txt", "".join(f"{photo}\n" for photo in photos))
    _write_labels(out)
    return finish(out, "voc12", parts, {name: len(photos) for name, photos in lists.items()})


def _find(folder: Path) -> dict[str, Archive]:
    places = {**_PLACES, "test": _TEST}
    parts = {part: a for part, urls in places.items() if (a := find(folder, urls))}
    base = parts.get("trainval")
    # Extracted side by side, the two archives of VOC become one folder.
    if "test" not in parts and base and (base.path / _LISTS / "test.txt").is_file():
        parts["test"] = Archive(base.path, _TEST["VOC2012test.tar"])
    return parts


def _index(members: Iterator[Member]) -> Index:
    """The members needed, by folder and name."""
    index: dict[tuple[str, str], Member] = {}
    for member in members:
        folder, name = member.name.parent.name, member.name
        of_list = name.parts[-3:-1] == ("ImageSets", "Segmentation") and name.suffix == ".txt"
        if of_list or name.suffix == f".{_SUFFIX.get(folder)}":
            index[folder, name.stem] = member
    return index


def _lists(archive: Archive, index: Index, counts: Mapping[str, int]) -> dict[str, list[str]]:
    """VOC's own lists; photos, masks and annotations are all present."""
    lists = {name: _read_list(archive, index, name, counts[name]) for name in ("train", "val")}
    lists["trainval"] = sorted({*lists["train"], *lists["val"]})
    for folder in _SUFFIX:
        _require(archive, index, folder, lists["trainval"])
    return lists


def _read_list(archive: Archive, index: Index, name: str, count: int) -> list[str]:
    member = index.get(("Segmentation", name))
    if member is None:
        raise archive.wrong(f"{_LISTS}/{name}.txt is missing")
    photos = sorted(set(member.read().decode("utf-8", errors="replace").split()))
    if len(photos) != count:
        raise archive.wrong(f"list {name} has {len(photos):,} photos, not {count:,}")
    return photos


def _require(archive: Archive, index: Index, folder: str, photos: Collection[str]) -> None:
    if missing := sorted(photo for photo in photos if (folder, photo) not in index):
        what = f"{folder} lacks {len(missing):,} of {len(photos):,} listed photos"
        raise archive.wrong(f"{what} ({', '.join(missing[:3])})")


def _augment(
    archive: Archive, lists: Mapping[str, list[str]], out: Path, counts: Mapping[str, int]
) -> list[str]:
    """Write the masks of the photos that VOC has none for; return the list train_aug."""
    total = counts["train_aug"] - counts["train"]
    require_room(out, total * _MASK_BYTES)
    voc_photos = set(lists["trainval"])
    listed, masks = augmented_masks(archive, voc_photos, out / _AUG, total)
    train_aug = sorted((listed | set(lists["train"])) - set(lists["val"]))
    count, expected = len(train_aug), counts["train_aug"]
    if count != expected:
        raise archive.wrong(f"list train_aug would have {count:,} photos, not {expected:,}")
    if without := sorted(set(train_aug) - voc_photos - masks):
        raise archive.wrong(f"{len(without):,} of its listed photos have no mask ({without[0]})")
    return train_aug


def _extract(archive: Archive, index: Index, lists: Mapping[str, list[str]], out: Path) -> None:
    """Photos and annotations of all lists, VOC's own masks, and these as augmented masks."""
    listed = {*lists["trainval"], *lists["train_aug"]}
    for folder in ("JPEGImages", "Annotations"):
        _require(archive, index, folder, listed)
    needed = {**dict.fromkeys(_SUFFIX, listed), "SegmentationClass": set(lists["trainval"])}
    pairs = [
        (member, out / folder / f"{name}.{_SUFFIX[folder]}")
        for (folder, name), member in index.items()
        if name in needed.get(folder, ())
    ]
    store_all(pairs, out, "VOC 2012")
    for name in lists["trainval"]:
        target = out / _AUG / f"{name}.png"
        if not target.is_file():
            link_or_copy(out / "SegmentationClass" / target.name, target)


def _check_sizes(archive: Archive, photos: Collection[str], out: Path) -> None:
    for photo in sorted(photos):
        mask = image_size(out / _AUG / f"{photo}.png")
        if mask != image_size(out / "JPEGImages" / f"{photo}.jpg"):
            raise archive.wrong(f"the mask of {photo} is not as large as its photo")


def _test(archive: Archive, out: Path, count: int) -> list[str]:
    """Photos of the test list, which have neither tags nor masks."""
    with archive.members() as members:
        index = _index(members)
        photos = _read_list(archive, index, "test", count)
        _require(archive, index, "JPEGImages", photos)
        pairs = [(index["JPEGImages", p], out / "JPEGImages" / f"{p}.jpg") for p in photos]
        store_all(pairs, out, "VOC 2012 test")
    return photos


def _write_labels(out: Path) -> None:
    """Tags of the photos of train_aug and val, as ESOL reads them from the annotations."""
    reading = read_voc(out, Data("voc", "train_aug", ("train", "val")))
    if reading.problems:
        raise InputError(reading.problems[0])
    tags = {e.name: e.tags for split in reading.splits.values() for e in split}
    rows = [f"JPEGImages/{name}.jpg,{' '.join(tags[name])}" for name in sorted(tags) if tags[name]]
    write_atomic(out / LABELS, "\n".join(("image,labels", *rows)) + "\n")
