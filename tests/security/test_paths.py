"""Names that lead out of a folder, and names that no file should have, from every source."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from PIL import Image

from esol.data import open_dataset
from esol.data.images import save_mask
from esol.errors import InputError
from esol.predict.folder import photos_by_name
from esol.runs.corrections import FOLDER, MANIFEST, read_corrections
from esol.settings import Data
from esol.settings.load import load_settings
from esol.stages import run

SMOKE = str(Path(__file__).parents[1] / "smoke.yaml")


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), "teal").save(path, "JPEG")


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")


def labels_csv(root: Path, name: str) -> None:
    quoted = name.replace('"', '""')
    write(root / "labels.csv", f'image,labels\n"{quoted}",dog\nimages/a.jpg,dog\n')


def metadata_csv(root: Path, name: str) -> None:
    write(root / "metadata.csv", f'file_name,label\n"{name}",dog\nimages/a.jpg,dog\n')


def metadata_jsonl(root: Path, name: str) -> None:
    rows = [{"file_name": n, "label": "dog"} for n in (name, "images/a.jpg")]
    write(root / "metadata.jsonl", "\n".join(map(json.dumps, rows)))


def studio(root: Path, name: str) -> None:
    task = {"id": 1, "data": {"image": name}, "annotations": []}
    write(root / "tasks.json", [task, {**task, "data": {"image": "images/a.jpg"}}])


def studio_local(root: Path, name: str) -> None:
    studio(root, f"/data/local-files/?d={name}")


def cvat(root: Path, name: str) -> None:
    write(root / "a.xml", f"<annotations><image id='0' name={quoteattr(name)}/></annotations>")


def coco_tags(root: Path, name: str) -> None:
    image = {"id": 1, "file_name": name, "height": 32, "width": 32}
    write(root / "boxes.json", {"images": [image], "annotations": [], "categories": []})


def coco_layout(root: Path, name: str) -> None:
    image = {"id": 1, "file_name": name, "height": 32, "width": 32}
    content = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}
    write(root / "annotations" / "instances_train.json", content)


def voc_list(root: Path, name: str) -> None:
    photo(root / "JPEGImages" / "a.jpg")
    write(root / "ImageSets" / "Segmentation" / "train.txt", f"{name}\n")
    write(root / "labels.csv", "image,labels\na,dog\n")


FORMS: list[Callable[[Path, str], None]] = [
    *(labels_csv, metadata_csv, metadata_jsonl, studio, studio_local),
    *(cvat, coco_tags, coco_layout, voc_list),
]

NAMES = ["../secret.jpg", "images/../../secret.jpg", "SECRET", "..\\secret.jpg", "C:/secret.jpg"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_names_in_files_do_not_lead_out_of_the_data(form, name, tmp_path, monkeypatch):
    secret, root = tmp_path / "secret.jpg", tmp_path / "data"
    photo(secret)
    photo(root / "images" / "a.jpg")
    form(root, str(secret) if name == "SECRET" else name)
    opened: list[str] = []
    monkeypatch.setattr(Image, "open", lambda path, *_: opened.append(str(path)))
    with pytest.raises(InputError) as caught:
        open_dataset(root, Data())
    assert "\n" not in str(caught.value)
    assert opened == []


ODD = ["a\0b.jpg", "n" * 300 + ".jpg", ".", "..", "/", "", "a/" * 200 + "b.jpg"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", ODD, ids=["NUL", "300", "dot", "up", "root", "none", "deep"])
def test_names_that_no_file_has(form, name, tmp_path):
    """A name of 300 characters in a COCO file was an error of the system."""
    root = tmp_path / "data"
    photo(root / "images" / "a.jpg")
    if form is cvat and "\0" in name:
        pytest.skip("no such character in XML")
    form(root, name)
    with pytest.raises(InputError) as caught:
        open_dataset(root, Data())
    assert "\n" not in str(caught.value)


TAGS = [
    *("..", "../..", "/etc/passwd", "a/b", "\\\\server\\share", "CON", "NUL.txt", "~root"),
    *(
        "x" * 300,
        "<script>alert(1)</script>",
        "{{7*7}}",
        "[/red]",
        "%n%s",
        "$(id)",
        "-rf",
        "\x1b[31m",
    ),
]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_tags_name_no_files(tmp_path):
    """Whatever tags are called, a run writes the same files, inside its folder."""
    found = []
    for name, tags in (("plain", [f"t{n:02}" for n in range(len(TAGS))]), ("odd", TAGS)):
        data = tmp_path / name / "data"
        rows = ["image,labels"]
        for number in range(4):
            photo(data / "images" / f"{number}.jpg")
            save_mask(np.full((32, 32), 1, np.uint8), data / "masks" / f"{number}.png")
            rows.append(f"images/{number}.jpg,{'|'.join(tags)}")
        write(data / "labels.csv", "\n".join(rows))
        before = tree(tmp_path)
        flags = ["--data.evaluate=[train]", "--input.size=32", "--refine.methods=[]"]
        flags += ["--masks.source=seeds", "--segment.network=none", "--classify.fit.epochs=1"]
        run(load_settings(SMOKE, *flags), data, tmp_path / name / "run")
        made = tree(tmp_path) - before
        assert all(path.startswith(f"{name}/run") for path in made)
        found.append({path.removeprefix(name) for path in made})
    assert found[0] == found[1]
    assert "/run/report.html" in found[0]


def test_a_linked_photo_is_read_and_nothing_is_written_through_it(tmp_path):
    """Links in a data folder are its owner's wish (docs/robustness.md); masks keep their names."""
    elsewhere, data = tmp_path / "elsewhere", tmp_path / "data"
    photo(elsewhere / "a.jpg")
    photo(data / "images" / "b.jpg")
    (data / "images" / "a.jpg").symlink_to(elsewhere / "a.jpg")
    (data / "images" / "more").symlink_to(elsewhere)
    write(
        data / "labels.csv",
        "image,labels\nimages/a.jpg,dog\nimages/b.jpg,dog\nimages/more/a.jpg,dog\n",
    )
    samples = open_dataset(data, Data()).splits["train"]
    assert [sample.name for sample in samples] == ["a", "b", "more/a"]
    out, target = tmp_path / "masks", tmp_path / "mine.png"
    out.mkdir()
    target.write_bytes(b"mine")
    (out / "a.png").symlink_to(target)
    save_mask(np.zeros((4, 4), np.uint8), out / "a.png")
    assert target.read_bytes() == b"mine"
    assert not (out / "a.png").is_symlink()


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "C:/x", "a/../../b"])
def test_names_of_corrected_masks_do_not_lead_out_of_the_run(name, tmp_path):
    entry = {"sha256": "0" * 64, "source": "0" * 64}
    content = {"classes": ["dog"], "photos": {name: entry}, "sources": {}}
    write(tmp_path / FOLDER / MANIFEST, content)
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        read_corrections(tmp_path)


def test_names_of_predicted_masks_stay_below_their_folder(tmp_path, monkeypatch):
    """Patterns may begin above the working folder; names of masks begin at their first wildcard."""
    photo(tmp_path / "photos" / "deep" / "a.jpg")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for images in (["../photos"], ["../photos/**/*.jpg"], ["../photos/deep/a.jpg"]):
        (name,) = photos_by_name(images, Path("out"))
        assert ".." not in name
        assert not os.path.isabs(name)
