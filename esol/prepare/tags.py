"""Tags from masks: labels.csv of the classes that each photo's mask shows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from esol.data import fixed_layout, require_data
from esol.data.colours import CLASS_NAMES, ColourTable, find_colours
from esol.data.folder import MASKS, NO_TAG, photos_below
from esol.data.images import image_size
from esol.data.labels import labels_text
from esol.data.masks import MaskReader, mask_files, mask_folder
from esol.data.reading import LISTS, list_of, mask_problem, read_classes
from esol.data.sample import IGNORE
from esol.data.selection import grouped, some
from esol.data.tags import LABELS, find_tags
from esol.data.truth import Pixels, only_ignored, pixels
from esol.data.voc import ANNOTATIONS, MASK_FOLDERS, PHOTOS, voc_classes, voc_photos
from esol.errors import InputError
from esol.settings import Data
from esol.system.files import write_atomic
from esol.system.progress import track


@dataclass(frozen=True)
class TagsOfMasks:
    """What :func:`tags_from_masks` wrote.

    Attributes:
        file: labels.csv.
        photos: list name -> its number of photos; VOC's lists, which are in ImageSets, count as
            "train".
        classes: tag -> its number of photos.
        untagged: photos whose masks show no class; they are photos of background.
        without: photos without a mask, which have no row.
        done_before: the file was there, with the same content.
    """

    file: Path
    photos: Mapping[str, int]
    classes: Mapping[str, int]
    untagged: int
    without: tuple[str, ...]
    done_before: bool

    def described(self) -> str:
        """A line for people."""
        state = "there before, the same" if self.done_before else "written"
        lists = ", ".join(f"{name} {number:,}" for name, number in sorted(self.photos.items()))
        tags = ", ".join(f"{name} {number:,}" for name, number in sorted(self.classes.items()))
        line = f"{self.file}: {state}: photos: {lists}; tags: {tags}"
        if self.untagged:
            line += f"; {self.untagged:,} without a class, which are photos of background"
        if self.without:
            line += f"; without a mask, so not in it: {some(self.without)}"
        return line


def tags_from_masks(root: Path, masks: str = "", least: int = 1) -> TagsOfMasks:
    """Write labels.csv of a folder with photos and masks.

    A photo's tags are the classes of at least ``least`` pixels in its mask; 0 and 255 are no
    classes. Lists stay what they are: folders called train, val ..; in VOC's layout ImageSets.

    Args:
        root: the data folder.
        masks: folder of masks in it, as ``data.masks``.
        least: pixels.

    Raises:
        InputError: there are tags already, or another labels.csv; no masks; nothing says which
            class a value is; a mask is wrong. Nothing is written then.
    """
    if least < 1:
        raise InputError(f"--pixels {least}: must be 1 or more")
    opened = _open(root, masks)
    files = mask_files(opened.masks, opened.photos)
    masked = sorted(opened.photos.keys() & files.keys())
    if not masked:
        names = f"names like {min(opened.photos)}.png" if opened.photos else "photos beside it"
        raise InputError(f"{opened.masks}: no mask belongs to a photo: expected {names}")
    shown = _read(opened.reader, {name: (opened.photos[name], files[name]) for name in masked})
    if why := only_ignored(sum(map(Counter, shown.values()), Counter[int]())):
        raise InputError(f"{opened.masks}: {why}")
    tags = {name: _tags(shown[name], opened.reader.known, least) for name in masked}
    if not any(tags.values()):
        raise InputError(f"{opened.masks}: no mask shows a class, so there is no tag: add others")
    lists = {name: list_of(PurePosixPath(name)) if opened.lists else "train" for name in masked}
    paths = {name: opened.photos[name].relative_to(opened.base).as_posix() for name in masked}
    text = labels_text(
        ((paths[name], tags[name], lists[name]) for name in masked),
        lists=set(lists.values()) != {"train"},
    )
    return TagsOfMasks(
        file=root / LABELS,
        photos=Counter(lists.values()),
        classes=Counter(tag for name in masked for tag in tags[name]),
        untagged=sum(not tags[name] for name in masked),
        without=tuple(sorted(opened.photos.keys() - files.keys())),
        done_before=_write(root / LABELS, text),
    )


@dataclass(frozen=True)
class _Opened:
    """A data folder without tags.

    Attributes:
        photos: by name.
        base: folder that their paths in labels.csv begin from.
        lists: folders called train, val .. are lists.
        masks: folder of the masks.
        reader: of the masks.
    """

    photos: Mapping[str, Path]
    base: Path
    lists: bool
    masks: Path
    reader: MaskReader


def _open(root: Path, masks: str) -> _Opened:
    require_data(root)
    kind, settings = fixed_layout(root), Data(masks=masks)
    if kind == "coco" or (kind == "voc" and (root / ANNOTATIONS).is_dir()):
        where = ANNOTATIONS if kind == "voc" else "annotations"
        raise InputError(f"{root / where}: has the tags already: see them with esol check {root}")
    folder = mask_folder(root, settings, MASK_FOLDERS if kind == "voc" else (MASKS,))
    if folder is None:
        raise InputError(f"{root}: no folder {MASKS}: add it, or name one with --masks")
    table = find_colours(folder, root)
    if kind == "voc":
        reader = MaskReader(voc_classes(root, table), table)
        return _Opened(voc_photos(root), root / PHOTOS, False, folder, reader)
    if not (root / LABELS).exists() and (files := find_tags(root, settings)):
        raise InputError(f"{files[0]}: has the tags already: move it away to take those of masks")
    known = _classes(root, folder, table)
    photos = photos_below(root, folder)
    folders = {photo.parent.name for photo in photos.values() if photo.parent != root}
    if not folders <= set(LISTS) and folders <= {*known, NO_TAG}:
        some_of = ", ".join(sorted(folders)[:3])
        raise InputError(f"{root}: has the tags already, as folders ({some_of}): move the photos")
    reader = MaskReader(known, table, (root / CLASS_NAMES).exists())
    return _Opened(photos, root, True, folder, reader)


def _classes(root: Path, folder: Path, table: ColourTable | None) -> tuple[str, ...]:
    if (root / CLASS_NAMES).exists():
        return read_classes(root / CLASS_NAMES)
    if table is None:
        raise InputError(
            f"{folder}: nothing says which class a value is: write the class names, one per line,"
            f" value 1 first, to {root / CLASS_NAMES}, or add a table of colours (docs/data.md)"
        )
    return table.classes


def _read(read: MaskReader, files: Mapping[str, tuple[Path, Path]]) -> dict[str, Pixels]:
    """Pixels by value of the mask of each photo; an InputError on those that are wrong alike."""
    shown: dict[str, Pixels] = {}
    problems = []
    for name, (photo, file) in track(files.items(), "masks", total=len(files), unit="masks"):
        try:
            mask = read(file)
            problem = mask_problem(mask, file, read.known, image_size(photo))
        except InputError as error:
            problem = str(error)
        if problem:
            problems.append(problem)
        else:
            shown[name] = pixels(mask)
    if problems:
        raise InputError(grouped(problems, least=2)[0])
    return shown


def _tags(counts: Pixels, known: tuple[str, ...], least: int) -> list[str]:
    values = (v for v, n in counts.items() if 0 < v < IGNORE and n >= least)
    return sorted(known[value - 1] for value in values)


def _write(file: Path, text: str) -> bool:
    """Whether the file has this content; it is written if there is none, never replaced."""
    if file.exists():
        if file.read_bytes() != text.encode():
            raise InputError(f"{file}: is there, with other content: move it away first")
        return True
    write_atomic(file, text)
    return False
