"""COCO 2014 from tiny archives: masks as coco.py draws them; short, damaged, killed, again."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import esol.prepare.archives
import esol.prepare.coco14
from esol.data import open_dataset
from esol.data.check import check
from esol.data.images import save_mask
from esol.data.reading import read_labels
from esol.errors import InputError
from esol.prepare import prepare_coco14
from esol.settings import Data

SPLITS = ("train2014", "val2014")
COUNTS = {"train2014": 4, "val2014": 3, "classes": 3}
NAMES = {90: "tooth brush", 1: "person", 5: "plane"}
SETTINGS = Data(train="train2014", evaluate=("val2014",))
Files = dict[str, bytes]


def jpg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 20)).save(stream, "JPEG")
    return stream.getvalue()


def instances(split: str) -> dict[str, Any]:
    """Boxes that overlap, a crowd, and a last photo without any object."""
    rng = np.random.default_rng(SPLITS.index(split))
    numbers = [100 * (1 + SPLITS.index(split)) + i for i in range(COUNTS[split])]
    annotations = []
    for number in numbers[:-1]:
        for category in (1, 5, 90, 5) if number % 2 else (90, 90):
            x, y, w, h = (int(v) for v in rng.integers(1, 12, 4))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    "area": w * h,
                    "iscrowd": 0,
                    "bbox": [x, y, w, h],
                }
            )
    crowd = {"size": [20, 30], "counts": [0, 300, 300]}
    annotations[0] |= {"segmentation": crowd, "area": 300, "iscrowd": 1}
    return {
        "images": [
            {"id": i, "file_name": f"COCO_{split}_{i:012d}.jpg", "height": 20, "width": 30}
            for i in numbers
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in NAMES.items()],
    }


def given() -> dict[str, Files]:
    """Archive -> its files; one photo stands in no list."""
    files: dict[str, Files] = {"annotations_trainval2014": {}}
    for split in SPLITS:
        content = instances(split)
        photos = [image["file_name"] for image in content["images"]]
        files[split] = {f"{split}/{photo}": jpg() for photo in (*photos, "extra.jpg")}
        name = f"annotations/instances_{split}.json"
        files["annotations_trainval2014"][name] = json.dumps(content).encode()
    files["annotations_trainval2014"]["annotations/captions_val2014.json"] = b"{}"
    return files


def pack(path: Path, files: Files) -> None:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    for name, files in given().items():
        pack(tmp_path / "archives" / f"{name}.zip", files)
    return tmp_path / "archives"


def refused(archives: Path, out: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        prepare_coco14(archives, out, COUNTS)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def content(out: Path) -> Files:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def whole(out: Path) -> None:
    """Drawn masks equal those drawn on the fly; tags equal the annotations."""
    fly = open_dataset(out, SETTINGS)
    ready = open_dataset(out, Data("coco", "train2014", ("val2014",), masks="masks"))
    assert fly.classes == ready.classes == ("person", "plane", "tooth brush")
    assert (fly.mask_set, ready.mask_set) == ("instances", "masks")
    assert fly.truth is not None
    assert ready.truth is not None
    seen = set()
    for split in SPLITS:
        assert len(fly.splits[split]) == COUNTS[split]
        assert sum(bool(sample.tags) for sample in fly.splits[split]) == COUNTS[split] - 1
        for drawn, stored in zip(fly.splits[split], ready.splits[split], strict=True):
            assert (drawn.name, drawn.tags) == (stored.name, stored.tags)
            assert (fly.truth(drawn) == ready.truth(stored)).all()
            seen |= set(np.unique(ready.truth(stored)))
    assert seen == {0, 1, 2, 3}
    assert len(list((out / "masks").iterdir())) == COUNTS["train2014"] + COUNTS["val2014"]
    for settings in (SETTINGS, Data("coco", "train2014", ("val2014",), masks="masks")):
        assert not check(out, settings).problems
    rows, problems = read_labels(out / "labels.csv")
    assert not problems
    expected = {}
    for split in SPLITS:
        table = instances(split)
        for image in table["images"]:
            used = {a["category_id"] for a in table["annotations"] if a["image_id"] == image["id"]}
            if used:
                tags = tuple(sorted(NAMES[i] for i in used))
                expected[f"{split}/{image['file_name']}"] = (tags, split)
    assert {str(row.image): (row.tags, row.split) for row in rows} == expected
    assert not list(out.rglob("extra.jpg"))


def test_from_archives(archives: Path, tmp_path: Path) -> None:
    prepared = prepare_coco14(archives, tmp_path / "out", COUNTS)
    assert prepared.counts == COUNTS
    assert not prepared.done_before
    whole(tmp_path / "out")


def test_from_extracted_folders(tmp_path: Path) -> None:
    root = tmp_path / "archives"
    for files in given().values():
        for name, data in files.items():
            (root / name).parent.mkdir(exist_ok=True, parents=True)
            (root / name).write_bytes(data)
    prepare_coco14(root, tmp_path / "out", COUNTS)
    whole(tmp_path / "out")
    photo = "train2014/COCO_train2014_000000000100.jpg"
    assert (tmp_path / "out" / photo).stat().st_ino == (root / photo).stat().st_ino


def test_missing_archives_are_named_together(archives: Path, tmp_path: Path) -> None:
    (archives / "val2014.zip").unlink()
    (archives / "annotations_trainval2014.zip").unlink()
    address = "http://images.cocodataset.org"
    refused(
        archives,
        tmp_path / "out",
        f"{address}/zips/val2014.zip",
        f"{address}/annotations/annotations_trainval2014.zip",
    )
    assert not (tmp_path / "out").exists()


def test_short_archives(archives: Path, tmp_path: Path) -> None:
    out, files = tmp_path / "out", given()
    lost = "val2014/COCO_val2014_000000000201.jpg"
    short = {name: data for name, data in files["val2014"].items() if name != lost}
    pack(archives / "val2014.zip", short)
    refused(archives, out, "val2014.zip", "1 of 3 photos are missing", Path(lost).name, "zips/val")
    assert not (out / "annotations").exists()
    table = instances("val2014")
    name = "annotations/instances_val2014.json"
    texts = files["annotations_trainval2014"]
    for wrong, words in (
        (json.dumps(table | {"images": table["images"][1:]}), "list val2014 has 2 photos, not 3"),
        (json.dumps(table | {"categories": []}), "0 classes, not 3"),
        ("{}", "not a COCO instances file"),
        ("[]", "not a COCO instances file"),
        ("{", "not a COCO instances file"),
    ):
        pack(archives / "annotations_trainval2014.zip", texts | {name: wrong.encode()})
        refused(archives, out, "annotations_trainval2014.zip", words, "fetch it again")
    del texts[name]
    pack(archives / "annotations_trainval2014.zip", texts)
    refused(archives, out, f"{name} is missing")
    assert not (out / "annotations").exists()
    for archive, right in given().items():
        pack(archives / f"{archive}.zip", right)
    prepare_coco14(archives, out, COUNTS)
    whole(out)


def test_truncated_then_fetched_again(archives: Path, tmp_path: Path) -> None:
    for archive in sorted(archives.iterdir()):
        out = tmp_path / archive.stem
        good = archive.read_bytes()
        archive.write_bytes(good[: len(good) // 2])
        refused(archives, out, str(archive), "damaged", "fetch it again from http://images")
        archive.write_bytes(good)
        prepare_coco14(archives, out, COUNTS)
        whole(out)


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("place", ["photos", "masks"])
def test_killed_then_resumed(
    place: str, after: int, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, reference = tmp_path / "out", tmp_path / "reference"
    prepare_coco14(archives, reference, COUNTS)
    written: list[object] = []

    class Kill(BaseException):
        pass

    def stopping_save(mask: Any, path: Path) -> None:
        if len(written) == after:
            raise Kill
        written.append(path)
        save_mask(mask, path)

    def stopping_copy(source: io.BytesIO, target: io.BytesIO, *_: int) -> None:
        target.write(source.read(10))
        if len(written) == after:
            raise Kill
        target.write(source.read())
        written.append(target)

    with monkeypatch.context() as patch:
        if place == "photos":
            patch.setattr(esol.prepare.archives.shutil, "copyfileobj", stopping_copy)
        else:
            patch.setattr(esol.prepare.coco14, "save_mask", stopping_save)
        with pytest.raises(Kill):
            prepare_coco14(archives, out, COUNTS)
    half, full = content(out), content(reference)
    assert not (out / "masks").exists()
    assert (out / "annotations").exists() == (place == "masks")
    for name, data in half.items():
        assert name == "prepared.json" or data == full[name.replace("-unfinished", "")], name
    calls: list[Path] = []
    monkeypatch.setattr(
        esol.prepare.coco14, "save_mask", lambda m, p: (calls.append(p), save_mask(m, p))
    )
    assert not prepare_coco14(archives, out, COUNTS).done_before
    assert len(calls) == 7 - (after if place == "masks" else 0)
    assert content(out) == full


def test_second_call_does_nothing(archives: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_coco14(archives, out, COUNTS)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = prepare_coco14(archives, out, COUNTS)
    assert again.done_before
    assert again.counts == COUNTS
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps
    next((out / "masks").iterdir()).unlink()
    assert not prepare_coco14(archives, out, COUNTS).done_before
    whole(out)


def test_real_photos(shared: Path, tmp_path: Path) -> None:
    """Official-format annotations: crowds, small objects, photos without any."""
    source = shared / "data" / "tiny-coco"
    root, counts = tmp_path / "archives", {"classes": 80}
    for new, old in zip(SPLITS, ("train2017", "val2017"), strict=True):
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        text = (source / "annotations" / f"instances_{old}.json").read_bytes()
        (root / "annotations" / f"instances_{new}.json").write_bytes(text)
        (root / new).symlink_to(source / old)
        counts[new] = len(json.loads(text)["images"])
    out = tmp_path / "out"
    prepare_coco14(root, out, counts)
    fly = open_dataset(out, SETTINGS)
    ready = open_dataset(out, Data("coco", "train2014", ("val2014",), masks="masks"))
    assert fly.truth is not None
    assert ready.truth is not None
    for split in SPLITS:
        assert len(fly.splits[split]) > 40
        for drawn, stored in zip(fly.splits[split], ready.splits[split], strict=True):
            assert (fly.truth(drawn) == ready.truth(stored)).all()
