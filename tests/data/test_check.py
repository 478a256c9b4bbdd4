"""Every problem is reported, all at once, each with its file name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from esol.data.check import CheckReport, check, render
from esol.data.images import save_mask
from esol.settings import Data


def sound(root: Path) -> Path:
    """Four photos of two classes with masks."""
    tags = {"a": "cat", "b": "cat;dog", "c": "dog", "d": "cat"}
    for i, name in enumerate(tags):
        path = root / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        mask = np.zeros((20 + i, 30), dtype=np.uint8)
        mask[:5], mask[5:9] = (1, 2) if name == "b" else (1 + (name == "c"),) * 2
        save_mask(mask, root / "masks" / f"{name}.png")
    rows = [f"images/{name}.jpg,{tag}" for name, tag in tags.items()]
    (root / "labels.csv").write_text("\n".join(("image,labels", *rows)) + "\n")
    return root


def append(root: Path, *rows: str) -> None:
    with (root / "labels.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")


def printed(report: CheckReport) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(render(report))
    return capture.get()


def test_a_sound_set(tmp_path: Path) -> None:
    report = check(sound(tmp_path), Data())
    assert report.problems == ()
    assert report.warnings == (
        "list 'train': too few photos to learn from: dog (2), cat (3): add photos, 10 or more of"
        " each",
    )
    assert report.untagged == "negative (train 0)"
    assert "photos without a tag: negative (train 0)" in printed(report)
    assert report.kind == "folder"
    assert report.classes == ("cat", "dog")
    assert report.photos == {"train": 4}
    assert report.counts == {"train": (3, 2)}
    assert report.together == ((3, 1), (1, 2))
    assert report.longest == (30,) * 5
    assert (report.shortest[0], report.shortest[-1]) == (20, 23)
    assert report.mask_set == "masks"
    assert report.masks == {"train": 4}
    assert "problems: 0" in printed(report)


def test_all_problems_at_once(tmp_path: Path) -> None:
    root = sound(tmp_path)
    append(root, "gone.jpg,cat", "a,cat", "b,dog", "images/d.jpg,'cat,dog'")
    (root / "images" / "c.jpg").write_bytes((root / "images" / "c.jpg").read_bytes()[:400])
    (root / "images" / "new.png").write_bytes(b"")
    save_mask(np.full((20, 30), 7, dtype=np.uint8), root / "masks" / "a.png")
    save_mask(np.zeros((3, 3), dtype=np.uint8), root / "masks" / "b.png")
    (root / "masks" / "d.png").write_bytes(b"no png")
    expected = (
        ("labels.csv: line 9", "fields"),
        ("labels.csv: line 6", "gone.jpg"),
        ("labels.csv: line 7", "line 2 too"),
        ("labels.csv: line 8", "other tags on line 3"),
        ("images/new.png", "without tags"),
        ("masks/a.png", "value 7 is not a class"),
        ("masks/b.png", "3 x 3"),
        ("images/c.jpg", "truncated"),
        ("masks/d.png", "not an image"),
    )
    problems = check(root, Data()).problems
    for words in expected:
        assert any(all(word in problem for word in words) for problem in problems), words
    assert len(problems) == len(expected)
    assert all(problem.startswith(str(root)) and "\n" not in problem for problem in problems)


def test_nothing_but_problems(tmp_path: Path) -> None:
    root = sound(tmp_path)
    (root / "masks").rename(root / "elsewhere")
    (root / "labels.csv").write_text("image,labels\nx.jpg,cat\nimages/a.jpg,'a,b'\n")
    report = check(root, Data())
    assert len(report.problems) == 2
    assert "problems: 2" in printed(report)


def test_rare_classes(tmp_path: Path) -> None:
    root = sound(tmp_path)
    (root / "masks").rename(root / "elsewhere")
    (root / "labels.csv").write_text("image,labels\nimages/a.jpg,cat\nimages/b.jpg,cat dog\n")
    problems = check(root, Data()).problems
    assert sum("'dog' (1) has too few photos" in problem for problem in problems) == 1


def test_warnings(tmp_path: Path) -> None:
    root = sound(tmp_path)
    (root / "labels.csv").write_text(
        "image,labels,split\nimages/a.jpg,cat dog,train\nimages/b.jpg,dog,train\n"
        "images/c.jpg,dog,train\nimages/d.jpg,cat,train\nimages/d.jpg,cat,later\n"
    )
    (root / "masks" / "d.png").unlink()
    report = check(root, Data())
    assert report.problems == ()
    for words in ("1 photo (a) with a tag", "1 photo (b) with a class", "1 photo (d)", "later"):
        assert any(words in warning for warning in report.warnings), words


def test_names_in_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    root = sound(tmp_path)
    text = (root / "labels.csv").read_text().replace("dog", "[red]")
    (root / "labels.csv").write_text(text)
    assert "[red]" in printed(check(root, Data()))


def test_fixed_classes_may_be_absent(shared: Path) -> None:
    settings = Data(train="train2017", evaluate=("train2017",))
    report = check(shared / "data" / "tiny-coco", settings)
    assert report.problems == ()
    assert report.photos == {"train2017": 50}
    assert any("too few photos" in warning for warning in report.warnings)
    assert sum(report.together[k][k] for k in range(80)) == sum(report.counts["train2017"])
    assert "warning:" in printed(report)


def saliency(root: Path, folder: str = "Saliency") -> Path:
    """A sound saliency map for each photo of ``sound``."""
    for i, name in enumerate("abcd"):
        path = root / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20 + i, 30), np.uint8)).save(path)
    return root / folder


def test_saliency_maps_are_looked_at_if_named(tmp_path: Path) -> None:
    root = sound(tmp_path / "data")
    maps = saliency(root)
    assert check(root, Data(), "Saliency").problems == ()
    (maps / "a.png").unlink()
    (maps / "b.png").write_bytes(b"")
    Image.new("L", (30, 99)).save(maps / "c.png")
    Image.new("L", (30, 23)).save(maps / "d.jpg")
    assert check(root, Data()).problems == ()
    problems = check(root, Data(), "Saliency").problems
    assert len(problems) == 4
    for words in (("a.png", "no saliency"), ("b.png", "empty"), ("c.png", "99"), ("d.jpg", "two")):
        assert any(all(word in problem for word in words) for problem in problems), words
    # A photo that runs leave out needs none.
    (root / "classes.txt").write_text("cat\ndog\n")
    only_dogs = check(root, Data(classes=("dog",)), "Saliency").problems
    assert [Path(problem.split(":")[0]).name for problem in only_dogs] == ["b.png", "c.png"]


def test_every_kind_of_saliency_problem_is_counted_and_the_first_are_named(tmp_path: Path) -> None:
    root = sound(tmp_path)
    (root / "Saliency").mkdir()
    problems = check(root, Data(), "Saliency").problems
    assert [Path(line.split(":")[0]).name for line in problems] == [
        *("a.png", "b.png", "c.png", "Saliency")
    ]
    assert "4 saliency maps in all are missing" in problems[-1]
    for path in saliency(root).iterdir():
        Image.new("RGB", (30, 30)).save(path)
    assert "4 saliency maps in all are unreadable" in check(root, Data(), "Saliency").problems[-1]


def test_saliency_maps_may_lie_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = sound(tmp_path / "data")
    maps = saliency(tmp_path, "elsewhere/maps")
    assert check(root, Data(), str(maps)).problems == ()
    assert check(root, Data(), "../elsewhere/maps").problems == ()
    (problem,) = check(root, Data(), "maps").problems
    assert "masks.saliency = 'maps'" in problem
    monkeypatch.chdir(maps.parent)
    assert check(root, Data(), "maps").problems == ()


def tag_folders(root: Path) -> Path:
    """Two photos of each of two tags, without a labels file."""
    for name in ("cat/a", "cat/b", "dog/a", "dog/b"):
        path = root / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20)).save(path)
    return root


def test_saliency_maps_among_tag_folders_are_told_apart(tmp_path: Path) -> None:
    root = tag_folders(tmp_path / "data")
    for folder in (root / "saliency", root / ".saliency", tmp_path / "outside"):
        for path in [*root.glob("[cd]*/*.jpg")]:
            target = (folder / path.relative_to(root)).with_suffix(".png")
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (30, 20)).save(target)
    (problem,) = check(root, Data(), "saliency").problems
    assert problem.startswith(f"{root / 'saliency'}: taken for photos")
    shutil.rmtree(root / "saliency")
    assert check(root, Data(), ".saliency").problems == ()
    assert check(root, Data(), str(tmp_path / "outside")).problems == ()
    (root / "flat").mkdir()
    for name in "ab":
        Image.new("L", (30, 20)).save(root / "flat" / f"{name}.png")
    assert any("flat: taken for photos" in line for line in check(root, Data(), "flat").problems)


def test_one_photo_under_two_tags_is_told(tmp_path: Path) -> None:
    for seed, name in enumerate(("cat/1.bmp", "cat/2.bmp", "dog/1.bmp", "dog/2.bmp")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    assert not any("more than once" in line for line in check(tmp_path, Data()).warnings)
    shutil.copy(tmp_path / "cat/1.bmp", tmp_path / "dog/3.bmp")
    shutil.copy(tmp_path / "cat/1.bmp", tmp_path / "cat/3.bmp")
    shutil.copy(tmp_path / "cat/2.bmp", tmp_path / "cat/4.bmp")
    told, alike = (line for line in check(tmp_path, Data()).warnings if "more than once" in line)
    assert told.startswith(
        "1 photo (cat/1 and cat/3 and dog/3) more than once, under different tags"
    )
    assert alike.startswith("1 photo (cat/2 and cat/4) more than once, under the same tags")
    # The same end, as of uncompressed photos of one ground, and other pixels before.
    content = bytearray((tmp_path / "cat/2.bmp").read_bytes())
    content[100] ^= 255
    (tmp_path / "dog/4.bmp").write_bytes(content)
    assert sum("more than once" in line for line in check(tmp_path, Data()).warnings) == 2


def test_a_list_without_masks_is_told_where_another_has_some(tmp_path):
    root = sound(tmp_path)
    rows = (root / "labels.csv").read_text().splitlines()[1:]
    splits = ("train", "train", "train", "val")
    lines = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    (root / "labels.csv").write_text("\n".join(("image,labels,split", *lines)) + "\n")
    (root / "masks" / "d.png").unlink()
    without = "list 'val': 1 photo (d) without a mask: not measured"
    assert without in check(root, Data(evaluate=("train", "val"))).warnings
    shutil.rmtree(root / "masks")
    warnings = check(root, Data(evaluate=("train", "val"))).warnings
    assert not [line for line in warnings if "without a mask" in line]
