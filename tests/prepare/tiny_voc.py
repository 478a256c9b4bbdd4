"""Tiny archives of PASCAL VOC 2012 and SBD, as files by their names in the archive."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (12, 16)
COUNTS = {"train": 2, "val": 2, "train_aug": 5, "test": 2}
# SBD's lists hold photos of VOC's train and of VOC's val, as the real ones do.
SBD = {"train": ["s1", "t1", "v1"], "val": ["s2", "s3", "v2"]}
TRAIN_AUG = ["s1", "s2", "s3", "t1", "t2"]
TAGS = {"t1": ["cat"], "t2": ["dog", "cat"], "v1": ["cow"], "v2": ["cow", "cat"]}
Files = dict[str, bytes]


def tags(name: str) -> list[str]:
    return TAGS.get(name, ["person", "dog"])


def jpg(size: tuple[int, int] = SIZE) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size[::-1], "white").save(stream, "JPEG")
    return stream.getvalue()


def png(mask: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return stream.getvalue()


def xml(name: str) -> bytes:
    objects = [f"<object><name>{t}</name><difficult>0</difficult></object>" for t in tags(name)]
    return f"<annotation>{''.join(objects)}</annotation>".encode()


def own_mask(name: str) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    number = {"cat": 8, "cow": 10, "dog": 12, "person": 15}
    for row, tag in enumerate(tags(name)):
        mask[1 + row, 2:9] = number[tag]
    mask[6] = 255
    return mask


def sbd_mask(name: str) -> np.ndarray:
    """Unlike VOC's: other rows, no border."""
    mask = np.where(own_mask(name) == 255, 0, own_mask(name)).astype(np.uint8)
    mask[8:] = mask[:4]
    return mask


def mat(mask: np.ndarray) -> bytes:
    stream = io.BytesIO()
    boundaries = np.zeros((20, 1), dtype=object)
    savemat(stream, {"GTcls": {"Boundaries": boundaries, "Segmentation": mask}})
    return stream.getvalue()


def voc_files() -> Files:
    files = {}
    for name in (*TAGS, "s1", "s2", "s3", "unlisted"):
        files[f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg"] = jpg()
        files[f"VOCdevkit/VOC2012/Annotations/{name}.xml"] = xml(name)
    for name in TAGS:
        files[f"VOCdevkit/VOC2012/SegmentationClass/{name}.png"] = png(own_mask(name))
    lists = {"train": b"t1\r\nt2\r\n", "val": b"v1\nv2\n", "trainval": b"t1\nt2\nv1\nv2\n"}
    for name, content in lists.items():
        files[f"VOCdevkit/VOC2012/ImageSets/Segmentation/{name}.txt"] = content
        files[f"VOCdevkit/VOC2012/ImageSets/Main/{name}.txt"] = b"unlisted\n"
    return files


def sbd_files() -> Files:
    files = {
        f"benchmark_RELEASE/dataset/cls/{name}.mat": mat(sbd_mask(name))
        for names in SBD.values()
        for name in names
    }
    for name, photos in SBD.items():
        files[f"benchmark_RELEASE/dataset/{name}.txt"] = "\n".join(photos).encode()
    return {**files, "benchmark_RELEASE/dataset/img/s1.jpg": jpg(), "benchmark_RELEASE/x": b""}


def png_files() -> Files:
    names = {*TAGS, *SBD["train"], *SBD["val"]}
    files = {f"SegmentationClassAug/{name}.png": png(sbd_mask(name)) for name in names}
    return {**files, "__MACOSX/SegmentationClassAug/._s1.png": b"junk"}


def photos_of_the_test_list() -> Files:
    root = "VOCdevkit/VOC2012"
    photos = {f"{root}/JPEGImages/{name}.jpg": jpg() for name in ("x1", "x2", "x3")}
    return {**photos, f"{root}/ImageSets/Segmentation/test.txt": b"x1\nx2\n"}


def pack(path: Path, files: Files) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tape:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tape.addfile(info, io.BytesIO(content))


def unpack(root: Path, files: Files) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(content)
