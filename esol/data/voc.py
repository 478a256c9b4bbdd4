"""PASCAL VOC: its own layout, with tags from the XML annotations or a labels file."""

from collections.abc import Callable
from pathlib import Path

from esol.data.folder import CLASS_NAMES
from esol.data.images import IMAGE_SUFFIXES, load_mask
from esol.data.reading import Entry, Reading, mask_folder, read_labels, read_names, require_lists
from esol.data.tags import LABELS
from esol.errors import InputError
from esol.settings import Data
from esol.system.read import read_xml

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The 20 classes; mask value k + 1 is ``VOC_CLASSES[k]``."""

_Tags = tuple[tuple[str, ...], bool]
"""A photo's tags, and whether it is finished: without a tag, a photo of background."""

_LIST_FOLDERS = ("ImageSets/Segmentation", "ImageSets/Main")
_MASK_FOLDERS = ("SegmentationClassAug", "SegmentationClass")


def read_voc(root: Path, settings: Data) -> Reading:
    """Read tags, lists and masks, and collect all problems; an InputError if there are no tags."""
    problems: list[str] = []
    known = read_names(root / CLASS_NAMES) if (root / CLASS_NAMES).exists() else VOC_CLASSES
    tags_of = _tag_source(root, settings, known, problems)
    mask_root = mask_folder(root, settings, _MASK_FOLDERS)
    masks = {path.stem: path for path in mask_root.glob("*.png")} if mask_root else {}
    photos = {
        path.stem: path
        for path in sorted((root / "JPEGImages").iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    splits = {}
    for split in require_lists(root, settings, _lists(root)):
        entries = {}
        for where, name in _list_members(root, split, problems):
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
    )


def _lists(root: Path) -> list[str]:
    return [path.stem for folder in _LIST_FOLDERS for path in (root / folder).glob("*.txt")]


def _list_members(root: Path, split: str, problems: list[str]) -> list[tuple[str, str]]:
    """Place and photo name of every line of a list.

    The form of the usual lists of augmented VOC is also understood:
    "/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png".
    """
    files = [root / folder / f"{split}.txt" for folder in _LIST_FOLDERS]
    file = next(file for file in files if file.exists())
    members = []
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        where, words = f"{file}: line {number}", line.split()
        if not words:
            continue
        is_pair = Path(words[0]).suffix.lower() in IMAGE_SUFFIXES
        if len(words) > (2 if is_pair else 1):
            problems.append(f"{where}: {line.strip()!r}: give one photo name per line")
        else:
            members.append((where, Path(words[0]).stem if is_pair else words[0]))
    return members


def _tag_source(
    root: Path, settings: Data, known: tuple[str, ...], problems: list[str]
) -> Callable[[str], _Tags]:
    """A function from a photo's name to its tags, which adds to ``problems``."""
    annotations, difficult = root / "Annotations", settings.difficult
    if not settings.labels and annotations.is_dir():
        return lambda name: _xml_tags(annotations / f"{name}.xml", known, difficult, problems)
    labels = root / (settings.labels or LABELS)
    if not labels.exists():
        raise InputError(f"{root}: neither Annotations nor {labels.name}: add one to give tags")
    rows, row_problems = read_labels(labels)
    problems.extend(row_problems)
    table: dict[str, tuple[str, ...]] = {}
    for row in rows:
        where = f"{labels}: {row.place}"
        whole = row.image.suffix.lower() in IMAGE_SUFFIXES
        name = row.image.stem if whole else row.image.name
        if name in table:
            kind = "twice" if table[name] == row.tags else "twice, with different tags"
            problems.append(f"{where}: {name} is in the file {kind}: keep one row")
        if unknown := [tag for tag in row.tags if tag not in known]:
            problems.append(f"{where}: {unknown[0]!r} is not a class of this data set")
        table.setdefault(name, row.tags)

    def tags_of(name: str) -> _Tags:
        if name not in table:
            problems.append(f"{labels}: no row for {name}: add one")
        return table.get(name, ()), True

    return tags_of


def _xml_tags(file: Path, known: tuple[str, ...], difficult: bool, problems: list[str]) -> _Tags:
    if not file.is_file():
        problems.append(f"{file}: no such file: add it, or remove the photo from its list")
        return (), False
    try:
        objects = read_xml(file).findall("object")
    except InputError as error:
        problems.append(str(error))
        return (), False
    tags = set()
    for thing in objects:
        name = (thing.findtext("name") or "").strip()
        if name not in known:
            problems.append(f"{file}: object {name!r} is not a class of this data set")
        elif difficult or (thing.findtext("difficult") or "0").strip() != "1":
            tags.add(name)
    # A photo of difficult objects alone is not one of background.
    return tuple(sorted(tags)), bool(tags) or not objects
