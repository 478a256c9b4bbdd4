"""PASCAL VOC 2012 from tiny archives: lists, masks, tags; short, damaged, killed, again."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_voc import (
    COUNTS,
    TAGS,
    TRAIN_AUG,
    Files,
    mat,
    own_mask,
    pack,
    photos_of_the_test_list,
    png_files,
    sbd_files,
    sbd_mask,
    tags,
    unpack,
    voc_files,
)

import esol.prepare.archives
import esol.prepare.augmented
from esol.cli.main import main
from esol.data import open_dataset
from esol.data.check import check
from esol.data.images import load_mask, palette, save_mask
from esol.data.reading import read_labels
from esol.errors import InputError
from esol.prepare import prepare_voc12
from esol.settings import Data
from esol.system.files import atomic


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    root = tmp_path / "archives"
    pack(root / "VOCtrainval_11-May-2012.tar", voc_files())
    pack(root / "benchmark.tgz", sbd_files())
    return root


def refused(archives: Path, out: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare_voc12(archives, out, COUNTS)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def content(out: Path) -> Files:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def lists(out: Path) -> dict[str, list[str]]:
    return {p.stem: p.read_text().split() for p in (out / "ImageSets/Segmentation").iterdir()}


def whole(out: Path) -> None:
    """The whole result against what the archives hold."""
    found = lists(out)
    assert found["train_aug"] == TRAIN_AUG
    assert (found["train"], found["val"]) == (["t1", "t2"], ["v1", "v2"])
    assert found["trainval"] == ["t1", "t2", "v1", "v2"]
    names = {*TAGS, "s1", "s2", "s3"}
    for name in names:
        expected = own_mask(name) if name in TAGS else sbd_mask(name)
        path = out / "SegmentationClassAug" / f"{name}.png"
        assert (load_mask(path) == expected).all(), name
    with Image.open(out / "SegmentationClassAug" / "s1.png") as image:
        assert image.mode == "P"
        colours = image.getpalette()
    assert colours is not None
    assert colours[: 3 * 21] == palette()[:21].ravel().tolist()
    assert {p.stem for p in (out / "SegmentationClass").iterdir()} == set(TAGS)
    rows, problems = read_labels(out / "labels.csv")
    assert not problems
    assert {row.image.stem: row.tags for row in rows} == {n: tuple(sorted(tags(n))) for n in names}
    for settings in (
        Data(train="train_aug", evaluate=("train", "val")),
        Data(train="train_aug", evaluate=("train", "val"), labels="labels.csv"),
    ):
        data = open_dataset(out, settings)
        assert {s: len(photos) for s, photos in data.splits.items()} == {
            "train_aug": 5,
            "train": 2,
            "val": 2,
        }
        assert data.mask_set == "SegmentationClassAug"
        assert not check(out, settings).problems
        for sample in data.splits["train_aug"]:
            expected = tuple(sorted(tags(sample.name)))
            assert tuple(sorted(data.classes[k] for k in sample.tags)) == expected


def test_from_archives(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    prepared = prepare_voc12(archives, out, COUNTS)
    assert not prepared.done_before
    assert prepared.counts == {"train": 2, "val": 2, "trainval": 4, "train_aug": 5}
    whole(out)
    assert {p.stem for p in (out / "JPEGImages").iterdir()} == {*TAGS, "s1", "s2", "s3"}


def test_from_the_png_set(archives: Path, tmp_path: Path) -> None:
    (archives / "benchmark.tgz").unlink()
    pack(archives / "SegmentationClassAug.zip", png_files())
    prepare_voc12(archives, tmp_path / "out", COUNTS)
    whole(tmp_path / "out")


@pytest.mark.parametrize("base", ["VOCdevkit/VOC2012", "VOC2012"])
@pytest.mark.parametrize("masks", [sbd_files, png_files])
def test_from_extracted_folders(base: str, masks: Callable[[], Files], tmp_path: Path) -> None:
    root = tmp_path / "archives"
    given = {**voc_files(), **photos_of_the_test_list()}
    unpack(root, {name.replace("VOCdevkit/VOC2012", base): c for name, c in given.items()})
    unpack(root, masks())
    prepared = prepare_voc12(root, tmp_path / "out", COUNTS)
    assert prepared.counts["test"] == 2
    whole(tmp_path / "out")
    photo = tmp_path / "out" / "JPEGImages" / "t1.jpg"
    assert photo.stat().st_ino == (root / base / "JPEGImages" / "t1.jpg").stat().st_ino


def test_the_test_list_is_added_later(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_voc12(archives, out, COUNTS)
    pack(archives / "VOC2012test.tar", photos_of_the_test_list())
    prepared = prepare_voc12(archives, out, COUNTS)
    assert not prepared.done_before
    assert prepared.counts["test"] == 2
    assert lists(out)["test"] == ["x1", "x2"]
    assert (out / "JPEGImages" / "x2.jpg").is_file()
    assert not (out / "JPEGImages" / "x3.jpg").exists()
    whole(out)


def test_missing_archives_are_named_together(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (archives / "VOCtrainval_11-May-2012.tar").rename(tmp_path / "a")
    refused(archives, out, str(archives), "VOCtrainval_11-May-2012.tar", "host.robots.ox.ac.uk")
    (archives / "benchmark.tgz").rename(tmp_path / "b")
    refused(archives, out, "VOCtrainval_11-May-2012.tar", "benchmark.tgz", "eecs.berkeley.edu")
    refused(tmp_path / "nowhere", out, "nowhere", "no such folder")
    assert not out.exists()


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("ImageSets/Segmentation/train.txt", ["train.txt is missing"]),
        ("JPEGImages/v2.jpg", ["JPEGImages lacks 1 of 4", "v2"]),
        ("Annotations/t1.xml", ["Annotations lacks 1 of 4", "t1"]),
        ("SegmentationClass/t2.png", ["SegmentationClass lacks 1 of 4", "t2"]),
        ("JPEGImages/s3.jpg", ["JPEGImages lacks 1 of 7", "s3"]),
    ],
)
def test_short_voc(member: str, words: list[str], archives: Path, tmp_path: Path) -> None:
    files = voc_files()
    del files[f"VOCdevkit/VOC2012/{member}"]
    archive = archives / "VOCtrainval_11-May-2012.tar"
    pack(archive, files)
    out = tmp_path / "out"
    refused(archives, out, *words, str(archive), "host.robots.ox.ac.uk")
    assert not (out / "ImageSets").exists()
    pack(archive, voc_files())
    prepare_voc12(archives, out, COUNTS)
    whole(out)


def test_short_lists(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = voc_files()
    pack(archives / "VOC2012test.tar", {"VOCdevkit/VOC2012/ImageSets/Segmentation/test.txt": b"x"})
    refused(archives, out, "VOC2012test.tar", "list test has 1 photos, not 2", "eval/downloads")
    sbd = sbd_files()
    sbd["benchmark_RELEASE/dataset/val.txt"] = b"s2\nv2"
    pack(archives / "benchmark.tgz", sbd)
    refused(archives, out, "benchmark.tgz", "train_aug would have 4 photos, not 5", "berkeley")
    del sbd["benchmark_RELEASE/dataset/val.txt"], sbd["benchmark_RELEASE/dataset/train.txt"]
    pack(archives / "benchmark.tgz", sbd)
    refused(archives, out, "train_aug would have 2 photos, not 5")
    files["VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"] = b"v1\n"
    pack(archives / "VOCtrainval_11-May-2012.tar", files)
    refused(archives, out, "list val has 1 photos, not 2")


def test_wrong_masks(archives: Path, tmp_path: Path) -> None:
    name = "benchmark_RELEASE/dataset/cls/s2.mat"
    sbd = sbd_files()
    del sbd[name]
    for wrong, words in (
        (None, ["1 of its listed photos have no mask", "s2"]),
        (b"junk", ["cls/s2.mat is not a mask"]),
        (mat(sbd_mask("s2"))[:200], ["cls/s2.mat is not a mask"]),
        (mat(sbd_mask("s2") * 0.3), ["cls/s2.mat is not a mask"]),
        (mat(sbd_mask("s2") + 21), ["value 21", "is not a class"]),
        (mat(sbd_mask("s2")[:-1]), ["mask of s2 is not as large"]),
    ):
        files = sbd if wrong is None else {**sbd, name: wrong}
        pack(archives / "benchmark.tgz", files)
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        refused(archives, out, *words, "benchmark.tgz", "berkeley")
        assert not (out / "ImageSets").exists()


def test_double_precision_masks_are_read(archives: Path, tmp_path: Path) -> None:
    name = "benchmark_RELEASE/dataset/cls/s2.mat"
    pack(archives / "benchmark.tgz", {**sbd_files(), name: mat(sbd_mask("s2").astype(float))})
    prepare_voc12(archives, tmp_path / "out", COUNTS)
    whole(tmp_path / "out")


@pytest.mark.parametrize("name", ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"])
def test_truncated_then_fetched_again(name: str, archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = (archives / name).read_bytes()
    (archives / name).write_bytes(good[: len(good) // 2])
    refused(archives, out, str(archives / name), "fetch it again from")
    (archives / name).write_bytes(good)
    prepare_voc12(archives, out, COUNTS)
    whole(out)


def test_escaping_members_and_links(archives: Path, tmp_path: Path) -> None:
    archive = archives / "VOCtrainval_11-May-2012.tar"
    pack(archive, {**voc_files(), "VOCdevkit/../../x": b"out"})
    refused(archives, tmp_path / "a", str(archive), "leads out")
    pack(archive, voc_files())
    with tarfile.open(archive, "a") as tape:
        info = tarfile.TarInfo("VOCdevkit/VOC2012/JPEGImages/t1.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(info)
    refused(archives, tmp_path / "b", "JPEGImages/t1.jpg", "link")
    assert not (tmp_path / "b" / "JPEGImages" / "t1.jpg").exists()
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize("place", ["archives", "augmented"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_killed_then_resumed(
    place: str, after: int, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while a file is being written; what was written stays and is not written again."""
    out, reference = tmp_path / "out", tmp_path / "reference"
    prepare_voc12(archives, reference, COUNTS)
    written: list[str] = []

    class Kill(BaseException):
        pass

    def stopping(mask: np.ndarray, path: Path) -> None:
        with atomic(path) as temporary:
            if len(written) == after:
                temporary.write_bytes(b"half")
                raise Kill
            temporary.write_bytes(b"")
        written.append(path.name)
        save_mask(mask, path)

    def stopping_copy(source: io.BytesIO, target: io.BytesIO, *_: int) -> None:
        target.write(source.read(10))
        if len(written) == after:
            raise Kill
        target.write(source.read())
        written.append("file")

    with monkeypatch.context() as patch:
        if place == "archives":
            patch.setattr(esol.prepare.archives.shutil, "copyfileobj", stopping_copy)
        else:
            patch.setattr(esol.prepare.augmented, "save_mask", stopping)
        with pytest.raises(Kill):
            prepare_voc12(archives, out, COUNTS)
    half = content(out)
    assert "prepared.json" in half
    assert not any("ImageSets" in name for name in half)
    for name, data in half.items():
        assert name == "prepared.json" or data == content(reference)[name], name
    stamps = {n: (out / n).stat().st_mtime_ns for n in half if n != "prepared.json"}
    (out / "JPEGImages").mkdir(exist_ok=True)
    (out / "JPEGImages" / ".tmp-0123.jpg").write_bytes(b"left by kill -9")
    assert not prepare_voc12(archives, out, COUNTS).done_before
    assert content(out) == content(reference)
    assert {n: (out / n).stat().st_mtime_ns for n in stamps} == stamps


def test_second_call_does_nothing(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = prepare_voc12(archives, out, COUNTS)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    second = prepare_voc12(archives, out, COUNTS)
    assert second.done_before
    assert second.counts == first.counts
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps
    (out / "SegmentationClassAug" / "s1.png").unlink()
    assert not prepare_voc12(archives, out, COUNTS).done_before
    whole(out)
    for archive in archives.iterdir():
        archive.unlink()
    assert prepare_voc12(archives, out, COUNTS).done_before


def test_folders_of_something_else(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    refused(archives, out, "is not an empty folder")
    refused(archives, archives, "is not an empty folder")
    refused(archives, out / "mine.txt", "is not an empty folder")
    (out / "mine.txt").unlink()
    (out / "prepared.json").write_text('{"data_set": "coco14"}')
    refused(archives, out, "not made by `esol prepare voc12`")


def test_two_sources_are_not_mixed(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = (archives / "benchmark.tgz").read_bytes()
    (archives / "benchmark.tgz").write_bytes(good[: len(good) // 2])
    refused(archives, out, "damaged")
    (archives / "benchmark.tgz").unlink()
    pack(archives / "SegmentationClassAug.zip", png_files())
    refused(archives, out, "started from benchmark.tgz, not SegmentationClassAug.zip")
    prepare_voc12(archives, tmp_path / "other", COUNTS)


def test_junk_leaves_no_folder(archives: Path, tmp_path: Path, capsys) -> None:
    for path in archives.iterdir():
        path.write_bytes(b"junk")
    assert main(["prepare", "voc12", str(archives), str(tmp_path / "out")]) == 2
    assert "damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_room(archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Path) -> object:
        return type("Usage", (), {"free": 100})

    monkeypatch.setattr(esol.prepare.archives.shutil, "disk_usage", none)
    refused(archives, tmp_path / "out", "GB free", "make room")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["prepared.json"]
