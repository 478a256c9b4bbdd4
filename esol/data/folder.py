"""Own photos: a folder with a labels file or with one sub-folder per tag."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from esol.data.colours import CLASS_NAMES, find_colours
from esol.data.kinds import IMAGE_SUFFIXES, UNREAD_SUFFIXES, passed_over, unread_advice
from esol.data.masks import MaskReader, mask_files, mask_folder
from esol.data.names import as_uploaded, composed, composed_path
from esol.data.reading import (
    LISTS,
    Entry,
    Reading,
    Row,
    list_of,
    read_classes,
    require_lists,
    wanted_lists,
)
from esol.data.tags import LABELS, find_tags, huggingface, read_tags, unknown_tables
from esol.errors import InputError
from esol.settings import Data
from esol.system.files import visible_files

MASKS = "masks"
NO_TAG = "_background"
"""Folder beside the folders of tags whose photos show none of the classes."""

UNTAGGED = f"photos in the folder `{NO_TAG}` are negative"
"""What ``data.untagged: auto`` makes of photos without a tag, for docs/data.md."""

_NO_TAGS = ("images", "masks", "labels", "annotations", "photos")
"""Names, in lower case, of folders that hold a part of a data set, as those of LISTS do."""

_Index = Mapping[str, list[PurePosixPath]]

_MAY_HOLD_TAGS = (".csv", ".tsv", ".npy", ".parquet", ".xls", ".xlsx")

_UPLOADED = "\0"
"""Begins the keys of names as servers store them."""


def read_folder(root: Path, settings: Data) -> Reading:
    """Read tags, lists and masks, and collect all problems; an InputError if there is nothing."""
    mask_root = mask_folder(root, settings, (MASKS,))
    files_below = tuple(visible_files(root, skip=mask_root))
    index = _index(files_below)
    warnings = list(passed_over(files_below))
    files = find_tags(root, settings)
    if not files and not index:
        # Why files with photos inside cannot be read says more than that there is no photo.
        huggingface.require_photos(root, settings)
    if files:
        tags = read_tags(files, root, settings)
        problems, source = list(tags.problems), tags.source
        if not tags.rows and not problems:
            problems.append(f"{files[0]}: no rows: add one per photo")
        splits = _from_rows(root, tags.rows, index, tags.anywhere, problems)
        if tags.guessed and (folders := _folders_as_tags(index, splits)):
            raise InputError(
                f"{root}: the tags in {source} are others than the folders' ({folders}): name it"
                " with data.labels, or move it away if the folders are the tags"
            )
        unlisted = _unlisted(root, index, {e.image for split in splits.values() for e in split})
    elif settings.columns:
        raise InputError(f"{root}: data.columns, but no table of tags: name it with data.labels")
    else:
        problems, source, unlisted = [], "sub-folders", ()
        splits = _from_folders(root, index, settings, problems, warnings)
        warnings.extend(_unread(root))
    entries = [entry for split in splits.values() for entry in split]
    used = tuple(sorted({tag for entry in entries for tag in entry.tags}))
    table = find_colours(mask_root, root) if mask_root else None
    needs_order = mask_root is not None and table is None
    known = _class_order(root, settings, used, needs_order, problems)
    ordered = (root / CLASS_NAMES).exists() or set(used) <= set(map(composed, settings.classes))
    # Where a table names classes in another order, the alphabet's is no more than a guess.
    numbered = table is None or ordered or table.classes == known
    on_disk = {_name(file) for files in index.values() for file in files}
    masks = mask_files(mask_root, on_disk | {e.name for e in entries})
    # A list may be missing because its rows are wrong: their problems are the answer then.
    lists = wanted_lists(settings) if problems else require_lists(root, settings, list(splits))
    with_masks = {
        split: tuple(replace(e, mask=masks.get(e.name)) for e in splits.get(split, ()))
        for split in lists
    }
    if mask_root is not None and entries and masks.keys().isdisjoint(e.name for e in entries):
        name = f"{entries[0].name}.png"
        problems.append(f"{mask_root}: no mask belongs to a photo: expected names like {name}")
    return Reading(
        kind="folder",
        root=root,
        known=known,
        splits=with_masks,
        problems=tuple(problems),
        mask_set=mask_root.relative_to(root).as_posix() if mask_root else "",
        stored=MaskReader(known, table, numbered) if mask_root else None,
        colours=table.file if table else None,
        own_classes=True,
        unlisted=unlisted,
        available=tuple(sorted(splits)),
        tag_set=source,
        alphabetical=not (settings.classes or table or (root / CLASS_NAMES).exists()),
        warnings=tuple(warnings),
    )


def photos_below(root: Path, masks: Path) -> dict[str, Path]:
    """Photos below a folder, apart from its masks, by their names; of one name: an InputError."""
    photos: dict[str, Path] = {}
    for files in _index(visible_files(root, skip=masks)).values():
        for file in files:
            other = photos.setdefault(_name(file), root / file)
            if other != root / file:
                raise InputError(f"{root / file}: same name as {other}: rename one of them")
    return photos


def _index(files: Iterable[PurePosixPath]) -> _Index:
    """Photos among files by their composed relative path without suffix."""
    index: dict[str, list[PurePosixPath]] = {}
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            index.setdefault(composed(str(file.with_suffix(""))), []).append(file)
    return index


def _from_rows(
    root: Path, rows: tuple[Row, ...], index: _Index, anywhere: bool, problems: list[str]
) -> dict[str, tuple[Entry, ...]]:
    splits: dict[str, dict[str, Entry]] = {}
    first: dict[str, tuple[Row, PurePosixPath]] = {}
    ends = _by_end(index) if anywhere else {}
    for row in rows:
        where = f"{row.file}: {row.place}"
        file = row.image if row.name else _find(row.image, index, ends)
        if isinstance(file, str):
            problems.append(f"{where}: {file}")
            continue
        name = row.name or _name(file)
        split = _list(row, name)
        earlier, namesake = first.setdefault(name, (row, file))
        if namesake != file:
            problems.append(f"{where}: {file} and {namesake} share the name {name}: rename one")
        elif earlier.tags != row.tags:
            problems.append(
                f"{where}: {file} has other tags on {earlier.place}: keep one row, or, if each row"
                " has one tag, call the column label (data.columns)"
            )
        elif name in splits.get(split, {}):
            problems.append(f"{where}: {file} is on {earlier.place} too: keep one row")
        else:
            splits.setdefault(split, {})[name] = Entry(
                name, root / file, row.tags, finished=row.finished
            )
    return {split: tuple(entries.values()) for split, entries in splits.items()}


def _unread(root: Path) -> Iterator[str]:
    """Tables beside folders of tags: where the tags are in them, the folders are none."""
    for file in sorted(root.iterdir()):
        if file.suffix.lower() in _MAY_HOLD_TAGS and not file.name.startswith("."):
            yield (
                f"{file}: not read, since the folders are the tags; if it has the tags, name it"
                " with data.labels, and its columns with data.columns (docs/data.md)"
            )


def _list(row: Row, name: str) -> str:
    """The list that a row names; else that of the folder in its path, or in the photo's own."""
    if row.split is not None:
        return row.split
    named = list_of(row.image)
    return list_of(PurePosixPath(name)) if named == "train" else named


def _by_end(index: _Index) -> _Index:
    """Photos by every end of their paths, with and without suffix, and by names as uploaded."""
    ends: dict[str, list[PurePosixPath]] = {}
    for file in (file for files in index.values() for file in files):
        for path in dict.fromkeys((composed_path(file), _bare(file))):
            keys = ["/".join(path.parts[start:]) for start in range(len(path.parts))]
            for key in (*keys, _UPLOADED + as_uploaded(path.name)):
                ends.setdefault(key, []).append(file)
    return ends


def _near(image: PurePosixPath, index: _Index, ends: _Index) -> list[PurePosixPath]:
    """Photos whose paths end with this one, or are an end of it; else those uploaded as this."""
    if not ends:
        return []
    near, bare = list(ends.get(str(image), ())), _bare(image)
    for start in range(1, len(bare.parts)):
        files = index.get("/".join(bare.parts[start:]), ())
        near += [file for file in files if image.name in (composed(file.name), composed(file.stem))]
    return near or list(ends.get(_UPLOADED + str(image), ()))


def _find(image: PurePosixPath, index: _Index, ends: _Index) -> PurePosixPath | str:
    """The photo that a row means, or the problem; with ``ends``, a path may be the other's end."""
    whole = image.suffix.lower() in IMAGE_SUFFIXES
    for path in (image, "images" / image):
        files = index.get(str(path.with_suffix("")) if whole else str(path), [])
        exact = [file for file in files if not whole or composed_path(file) == path]
        if len(exact) > 1:
            return f"{image} may be any of {', '.join(map(str, exact))}: write the suffix"
        if exact:
            return exact[0]
    near = _near(image, index, ends)
    if len(near) > 1:
        return f"{image} may be any of {', '.join(map(str, near[:3]))}: write the whole path"
    if near:
        return near[0]
    if (end := image.suffix.lower()) in UNREAD_SUFFIXES:
        return f"{image}: kind {end} is not read: {unread_advice((end,))}"
    return f"{image}: no such photo: fix the path or remove the row"


def _bare(file: PurePosixPath) -> PurePosixPath:
    """The path without a photo's suffix, in the composed form."""
    file = composed_path(file)
    return file.with_suffix("") if file.suffix.lower() in IMAGE_SUFFIXES else file


def _name(file: PurePosixPath) -> str:
    """Relative path without suffix; without a leading ``images/``, so that masks mirror photos."""
    name = composed_path(file).with_suffix("")
    return str(name.relative_to("images") if name.parts[0] == "images" else name)


def _unlisted(root: Path, index: _Index, listed: set[Path]) -> tuple[Path, ...]:
    folders = {image.parent for image in listed}
    paths = (root / file for files in index.values() for file in files)
    return tuple(sorted(path for path in paths if path.parent in folders and path not in listed))


def _from_folders(
    root: Path, index: _Index, settings: Data, problems: list[str], warnings: list[str]
) -> dict[str, tuple[Entry, ...]]:
    """Lists of a folder with a sub-folder per tag, or with one per list and tag."""
    splits: dict[str, list[Entry]] = {}
    lists = _are_lists(index)
    for name, files in index.items():
        parts = files[0].parts
        depth = len(parts) - lists
        if depth != 2:
            place = "outside a tag folder" if depth < 2 else "too deep"
            problems.append(
                f"{root / files[0]}: {place}: photos lie at {'LIST/' * lists}TAG/photo.jpg; other"
                f" images (saliency maps) outside {root}, or in a hidden folder (.NAME)"
            )
        elif len(files) > 1:
            problems.append(f"{root / files[1]}: same name as {files[0]}: rename one of them")
        else:
            entry = Entry(
                name, root / files[0], () if parts[-2].lower() == NO_TAG else (parts[-2],)
            )
            splits.setdefault(parts[0] if lists else "train", []).append(entry)
    tags = {tag for entries in splits.values() for entry in entries for tag in entry.tags}
    file = root / CLASS_NAMES
    chosen = {
        *map(composed, settings.classes),
        *(read_classes(file, tags) if file.exists() else ()),
    }
    wrong = sorted(tag for tag in tags - chosen if tag.lower() in (*LISTS, *_NO_TAGS))
    if splits and len(wrong) == len(tags) and not problems:
        names = f"folders called {', '.join(wrong)} are no tags, and there is " if wrong else ""
        neither = f"neither {LABELS} nor a sub-folder per tag"
        raise InputError(
            f"{root}: {names}{neither}: add one of them (docs/data.md){unknown_tables(root)}"
        )
    for tag in wrong:
        # Beside tags, train may well be the vehicle.
        fix = f"move its photos, or name it in {CLASS_NAMES} or data.classes if it is a class"
        if tag == "train":
            warnings.append(f"the folder {tag!r} is a tag here: {fix}")
        else:
            problems.append(f"{root}: a folder called {tag!r} is no tag: {fix}")
    return {split: tuple(entries) for split, entries in splits.items()} or {"train": ()}


def _are_lists(index: _Index) -> bool:
    """Whether the folders are lists, not tags: all have lists' names, and photos lie deeper."""
    files = [files[0] for files in index.values()]
    deep = [file for file in files if len(file.parts) > 2]
    return len(deep) == len(files) > 0 and all(f.parts[0].lower() in LISTS for f in deep)


def _folders_as_tags(index: _Index, splits: Mapping[str, Iterable[Entry]]) -> str:
    """Names of folders that would be tags by themselves, if the photos have other tags."""
    depth = 2 + _are_lists(index)
    paths = [files[0].parts for files in index.values()]
    if any(len(parts) != depth for parts in paths):
        return ""
    names = {parts[-2] for parts in paths}
    if len(names) < 2 or any(name.lower() in (*LISTS, *_NO_TAGS) for name in names):
        return ""
    entries = [entry for split in splits.values() for entry in split]
    listed = len({entry.image for entry in entries}) == len(paths)
    same = all(entry.tags == (entry.image.parent.name,) for entry in entries)
    return "" if listed and same else ", ".join(sorted(names)[:3])


def _class_order(
    root: Path, settings: Data, used: tuple[str, ...], needed: bool, problems: list[str]
) -> tuple[str, ...]:
    """Classes in mask-value order: classes.txt, else settings.classes, else alphabetical.

    ``needed``: masks have numbers, of which a part of the classes does not tell the meaning.
    """
    file = root / CLASS_NAMES
    if file.exists():
        known = read_classes(file, used)
        problems.extend(
            f"{file}: tag {tag!r} is missing: add a line, or fix the tag"
            for tag in used
            if tag not in known
        )
        return known
    wanted = tuple(map(composed, settings.classes))
    if set(used) <= set(wanted):
        return wanted
    if settings.classes and needed:
        raise InputError(
            f"data.classes leaves out tags, so {file} must say which class each mask value is:"
            " write all class names, one per line, value 1 first"
        )
    return used
