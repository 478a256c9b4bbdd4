"""What ``esol prepare`` and ``esol reproduce`` are given."""

import io
import tarfile
from collections.abc import Callable
from functools import partial

from corpus import Command, Kind, Place

TRAINVAL, SBD = "VOCtrainval_11-May-2012.tar", "benchmark.tgz"


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    """A tar file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tape:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tape.addfile(info, io.BytesIO(content))
    return stream.getvalue()


LISTS = {"VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt": b"2007_000032\n" * 400}


def prepared(trainval: bytes, masks: bytes, place: Place) -> Command:
    """``esol prepare`` of these two archives."""
    place.write(f"archives/{TRAINVAL}", trainval)
    place.write(f"archives/{SBD}", masks)
    return ["prepare", "voc12", place.folder / "archives", place.out]


def no_archives(place: Place) -> Command:
    (place.folder / "archives").mkdir()
    return ["prepare", "voc12", place.folder / "archives", place.out]


def full_folder(place: Place) -> Command:
    place.write("out/thesis.tex", "precious")
    return prepared(tar(LISTS), tar({}, "w:gz"), place)


def broken_zip(place: Place) -> Command:
    for name in ("train2014.zip", "val2014.zip", "annotations_trainval2014.zip"):
        place.write(f"archives/{name}", b"PK\3\4 and no more")
    return ["prepare", "coco14", place.folder / "archives", place.out]


def reproduced(*flags: str) -> Callable[[Place], Command]:
    """``esol reproduce`` of a table, from the sound data set."""

    def make(place: Place) -> Command:
        common = ["reproduce", "table1", "--data", place.data, "--out", place.out]
        return [*common, "--config=tags-folder-cpu", *flags]

    return make


def no_data(place: Place) -> Command:
    return ["reproduce", "table1", "--data", place.folder / "data", "--out", place.out]


KINDS = (
    Kind("prepare: no archives", no_archives, (f"archives: missing: {TRAINVAL}", "from http")),
    Kind(
        "prepare: a text called .tar",
        partial(prepared, b"no archive\n", b""),
        (TRAINVAL, "fetch it again"),
    ),
    Kind(
        "prepare: archive cut off",
        partial(prepared, tar(LISTS)[:700], b""),
        (TRAINVAL, "fetch it again"),
    ),
    Kind(
        "prepare: archive with a path upwards",
        partial(prepared, tar({"../x.txt": b"x"}), b""),
        (TRAINVAL, "fetch it again"),
    ),
    Kind(
        "prepare: archive without lists",
        partial(prepared, tar({"readme.txt": b"x"}), b""),
        (TRAINVAL, "fetch it again"),
    ),
    Kind("prepare: a folder with something else", full_folder, ("out", "name a new folder")),
    Kind(
        "prepare: ZIP files cut off", broken_zip, ("annotations_trainval2014.zip", "fetch it again")
    ),
    Kind("reproduce: no data", no_data, ("data", "give the folder of the data set")),
    Kind(
        "reproduce: a setting unknown",
        reproduced("--set", "expand.alpa=1"),
        ("expand.alpa", "mean"),
    ),
    Kind(
        "reproduce: a setting without value", reproduced("--set", "seed"), ("seed", "must be group")
    ),
    Kind("reproduce: a seed twice", reproduced("--seeds", "1", "1"), ("--seeds 1 1", "once")),
    Kind(
        "reproduce: a list unknown",
        reproduced("--set", "data.train=x"),
        ("data.train", "no such list"),
    ),
)
