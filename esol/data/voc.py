"""PASCAL VOC: its own layout, with tags from the XML annotations or a labels file."""

from collections.abc import Callable, Container
from pathlib import Path

from esol.data.classes import VOC_CLASSES
from esol.data.folder import CLASS_NAMES
from esol.data.images import load_mask
from esol.data.kinds import IMAGE_SUFFIXES, passed_over
from esol.data.names import composed, on_disk
from esol.data.reading import (
    Entry,
    Reading,
    mask_files,
    mask_folder,
    read_classes,
    require_lists,
)
from esol.data.tags import LABELS, read_tags
from esol.errors import InputError
from esol.settings import Data
from esol.system.files import visible_files
from esol.system.read import read_xml

_Tags = tuple[tuple[str, ...], bool]
"""A photo's tags, and whether it is finished: without a tag, a photo of background."""

_PHOTOS = "JPEGImages"
_LIST_FOLDERS = ("ImageSets/Segmentation", "ImageSets/Main")
_MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")


def read_voc(root: Path, settings: Data) -> Reading:
    """Read tags, lists and masks, and collect all problems; an InputError if there are no tags."""
    problems: list[str] = []
    known = read_classes(root / CLASS_NAMES) if (root / CLASS_NAMES).exists() else VOC_CLASSES
    mask_root = mask_folder(root, settings, _MASK_FOLDERS)
    masks = mask_files(mask_root)
    files = tuple(visible_files(root / _PHOTOS))
    photos = {
        composed(str(file.with_suffix(""))): root / _PHOTOS / file
        for file in files
        if file.suffix.lower() in IMAGE_SUFFIXES
    }
    tags_of = _tag_source(root, settings, known, photos, problems)
    splits = {}
    for split in require_lists(root, settings, _lists(root)):
        entries = {}
        for where, name in _list_members(root, split, photos, problems):
            if name in entries:
                problems.append(f"{where}: {name} is in the list twice: remove one line")
            elif name not in photos:
                problems.append(f"{where}: JPEGImages has no photo {name}: remove the line")
            else:
                tags, finished = tags_of(name)
                entries[name] = Entry(name, photos[name], tags, masks.get(name), finished)
        splits[split] = tuple(entries.values())
    return Reading(
        kind="voc",
        root=root,
        known=known,
        splits=splits,
        problems=tuple(dict.fromkeys(problems)),
        mask_set=mask_root.relative_to(root).as_posix() if mask_root else "",
        stored=load_mask if mask_root else None,
        available=tuple(sorted(set(_lists(root)))),
        warnings=passed_over(files),
    )


def _lists(root: Path) -> list[str]:
    return [path.stem for folder in _LIST_FOLDERS for path in (root / folder).glob("*.txt")]


def _list_members(
    root: Path, split: str, photos: Container[str], problems: list[str]
) -> list[tuple[str, str]]:
    """Place and photo name of every line of a list; a name may have spaces.

    The form of the usual lists of augmented VOC is also understood:
    "/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png".
    """
    files = [root / folder / f"{split}.txt" for folder in _LIST_FOLDERS]
    file = next(file for file in files if file.exists())
    members = []
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        where, words = f"{file}: line {number}", composed(line).split()
        if not words:
            continue
        if (name := composed(line).strip()) in photos:
            members.append((where, name))
            continue
        is_pair = Path(words[0]).suffix.lower() in IMAGE_SUFFIXES
        if len(words) > (2 if is_pair else 1):
            problems.append(f"{where}: {line.strip()!r}: give one photo name per line")
        else:
            members.append((where, Path(words[0]).stem if is_pair else words[0]))
    return members


def _tag_source(
    root: Path,
    settings: Data,
    known: tuple[str, ...],
    photos: Container[str],
    problems: list[str],
) -> Callable[[str], _Tags]:
    """A function from a photo's name to its tags, which adds to ``problems``."""
    annotations, difficult = root / "Annotations", settings.difficult
    if not settings.labels and annotations.is_dir():
        return lambda name: _xml_tags(root, name, known, difficult, problems)
    labels = root / (settings.labels or LABELS)
    if not labels.exists():
        raise InputError(f"{root}: neither Annotations nor {labels.name}: add one to give tags")
    tags = read_tags((labels,), root, settings)
    problems.extend(tags.problems)
    table: dict[str, _Tags] = {}
    for row in tags.rows:
        where = f"{labels}: {row.place}"
        whole = row.image.suffix.lower() in IMAGE_SUFFIXES
        path = row.image.with_suffix("") if whole else row.image
        path = path.relative_to(_PHOTOS) if path.is_relative_to(_PHOTOS) else path
        name = str(path) if str(path) in photos else path.name
        if name in table:
            kind = "twice" if table[name][0] == row.tags else "twice, with different tags"
            problems.append(f"{where}: {name} is in the file {kind}: keep one row")
        if unknown := [tag for tag in row.tags if tag not in known]:
            problems.append(f"{where}: {_unknown(root, unknown[0])}")
        table.setdefault(name, (row.tags, row.finished))

    def tags_of(name: str) -> _Tags:
        if name not in table:
            problems.append(f"{labels}: no row for {name}: add one")
        return table.get(name, ((), True))

    return tags_of


def _unknown(root: Path, name: str) -> str:
    file = root / CLASS_NAMES
    add = "add a line to" if file.exists() else "write all class names, one per line, to"
    return f"{name!r} is not a class of this data set: {add} {file}, or fix the name"


def _xml_tags(
    root: Path, photo: str, known: tuple[str, ...], difficult: bool, problems: list[str]
) -> _Tags:
    folder, name = root / "Annotations", f"{photo}.xml"
    file = on_disk(folder, name)
    if file is None:
        problems.append(f"{folder / name}: no such file: add it, or remove the photo from its list")
        return (), False
    try:
        objects = read_xml(file).findall("object")
    except InputError as error:
        problems.append(str(error))
        return (), False
    tags = set()
    for thing in objects:
        name = composed((thing.findtext("name") or "").strip())
        if name not in known:
            problems.append(f"{file}: object {_unknown(root, name)}")
        elif difficult or (thing.findtext("difficult") or "0").strip() != "1":
            tags.add(name)
    # A photo of difficult objects alone is not one of background.
    return tuple(sorted(tags)), bool(tags) or not objects
