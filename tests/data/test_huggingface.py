"""Hugging Face data sets: lists, names, tags and photos of Parquet files and saved folders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")

from opened import refused, tags  # noqa: E402
from packed_sets import (  # noqa: E402
    class_label,
    photo,
    photos,
    table,
    write_parquet,
    write_saved,
)

from esol.data import open_dataset, packed  # noqa: E402
from esol.data.check import check  # noqa: E402
from esol.data.doubles import equal_photos  # noqa: E402
from esol.data.images import save_mask  # noqa: E402
from esol.errors import InputError  # noqa: E402
from esol.label_tools.exports import export_masks  # noqa: E402
from esol.label_tools.imports import import_masks  # noqa: E402
from esol.predict.folder import photos_by_name  # noqa: E402
from esol.runs.folder import RunFolder  # noqa: E402
from esol.runs.work import work_on  # noqa: E402
from esol.settings import Data, Settings  # noqa: E402
from esol.settings.load import dump_settings  # noqa: E402
from esol.system.files import write_atomic, write_json  # noqa: E402
from esol.training.features import FeatureCache  # noqa: E402

BOTH = Data(evaluate=("train", "validation"))
IMAGE = {"_type": "Image"}


def several(numbers: Any, *, first: int = 0, paths: Any = ()) -> pa.Table:
    """Photos with lists of class numbers."""
    features = {"image": IMAGE, "labels": {"feature": class_label("cat", "dog"), "_type": "List"}}
    columns = {"image": photos(len(numbers), first=first, paths=paths), "labels": numbers}
    return table(columns, **features)


def hub(root: Path) -> Path:
    write_parquet(root / "data" / "train-00000-of-00002.parquet", several([[0], [1, 0], []]))
    write_parquet(root / "data" / "train-00001-of-00002.parquet", several([None, [1]], first=3))
    write_parquet(root / "data" / "validation-00000-of-00001.parquet", several([[0]], first=5))
    return root


def saved(root: Path) -> Path:
    write_saved(root / "train", several([[0], [1, 0], [], None, [1]]))
    write_saved(root / "validation", several([[0]], first=5))
    (root / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    return root


def folders(root: Path) -> Path:
    write_parquet(root / "default" / "train" / "0.parquet", several([[0], [1, 0], [], None]))
    write_parquet(root / "default" / "train" / "1.parquet", several([[1]], first=4))
    write_parquet(root / "default" / "validation" / "0.parquet", several([[0]], first=5))
    return root


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (hub, "data/*.parquet"),
        (saved, "train/*.arrow, validation/*.arrow"),
        (folders, "default/train/*.parquet, default/validation/*.parquet"),
    ],
)
def test_layouts(tmp_path: Path, make: Any, source: str) -> None:
    """A null label is left out, an empty list is a photo of background."""
    data = open_dataset(make(tmp_path), BOTH)
    assert tags(data) == {
        "train/000000": ("cat",),
        "train/000001": ("cat", "dog"),
        "train/000002": (),
        "train/000004": ("dog",),
    }
    assert tags(data, "validation") == {"validation/000000": ("cat",)}
    contents = [packed.content(sample.image) for sample in data.samples(*data.splits)]
    assert contents == [photo(n) for n in (0, 1, 2, 4, 5)]
    report = check(tmp_path, BOTH)
    assert report.problems == ()
    assert report.tag_set == f"{source} (Hugging Face data set)"
    refused(tmp_path, "'val'", "available: train, validation", settings=Data(evaluate=("val",)))


def test_one_data_set_saved_alone(tmp_path: Path) -> None:
    data = open_dataset(write_saved(tmp_path / "test", several([[0], [1]])), Data())
    assert tags(data) == {"000000": ("cat",), "000001": ("dog",)}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["images/b.jpg", "a.x.png"], ["b", "a.x"]),
        (["/home/me/b.jpg", "C:\\photos\\a"], ["b", "a"]),
        (["Käfer.jpg", "sub/c.heic"], ["Käfer", "sub/c"]),
        (["a.jpg", "a.png"], ["000000", "000001"]),
        (["a.jpg", None], ["000000", "000001"]),
        (["a.jpg", ".."], ["000000", "000001"]),
        (["a\nb.jpg", "b.jpg"], ["000000", "000001"]),
    ],
)
def test_names(tmp_path: Path, paths: list[str | None], names: list[str]) -> None:
    write_parquet(tmp_path / "train.parquet", several([[0], [1]], paths=paths))
    data = open_dataset(tmp_path, Data())
    assert sorted(names) == [sample.name for sample in data.samples("train")]
    assert {tags(data)[name] for name in names[:1]} == {("cat",)}


def test_lists_whose_names_differ_need_no_list_before_them(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", several([[0], [1]], paths=["a.jpg", "b.jpg"]))
    write_parquet(tmp_path / "test.parquet", several([[0]], paths=["c.jpg"]))
    assert [*tags(open_dataset(tmp_path, Data()))] == ["a", "b"]
    write_parquet(tmp_path / "test.parquet", several([[0]], paths=["a.jpg"]))
    assert [*tags(open_dataset(tmp_path, Data()))] == ["train/a", "train/b"]


CAT_DOG = class_label("traffic light", "dog")


@pytest.mark.parametrize(
    ("column", "values", "feature", "expected"),
    [
        ("label", [0, 1, -1], CAT_DOG, [("traffic light",), ("dog",)]),
        ("tag", ["traffic  light", "dog", None], None, [("traffic light",), ("dog",)]),
        ("label", ["a b", "a", ""], None, [("a b",), ("a",), ()]),
        ("tags", ["a b", "b", ""], None, [("a", "b"), ("b",), ()]),
        ("labels", ["a b;c", "c;", ""], None, [("a b", "c"), ("c",), ()]),
        ("tags", [["a b", "c"], ["c"], []], None, [("a b", "c"), ("c",), ()]),
        (
            "labels",
            [[0, 1], [1], []],
            {"feature": CAT_DOG},
            [("dog", "traffic light"), ("dog",), ()],
        ),
        ("labels", [[0, 1], [1], []], [CAT_DOG], [("dog", "traffic light"), ("dog",), ()]),
    ],
)
def test_columns_of_tags(
    tmp_path: Path, column: str, values: Any, feature: Any, expected: list[tuple[str, ...]]
) -> None:
    features = {"image": IMAGE, column: feature} if feature else {}
    content = table({"image": photos(3), column: values}, **features)
    write_parquet(tmp_path / "data" / "train.parquet", content)
    assert [*tags(open_dataset(tmp_path, Data())).values()] == expected


def test_dictionaries_of_texts_are_texts(tmp_path: Path) -> None:
    column = pa.array(["a", "b"]).dictionary_encode()
    write_parquet(tmp_path / "a.parquet", table({"image": photos(2), "label": column}))
    assert [*tags(open_dataset(tmp_path, Data())).values()] == [("a",), ("b",)]


def test_columns_that_are_named(tmp_path: Path) -> None:
    content = table(
        {"one": photos(2), "two": photos(2, first=5), "label": ["x", "y"], "tags": ["a b", "b"]}
    )
    write_parquet(tmp_path / "a.parquet", content)
    refused(
        tmp_path, "a.parquet", "one and two may hold the photos", "--data.columns '[image=NAME]'"
    )
    given = Data(columns=("image=two",))
    way = "--data.columns '[label=NAME]' or '[labels=NAME]'"
    refused(tmp_path, "label and tags may hold the tags", way, settings=given)
    for pair, expected in (
        ("label=tags", [("a b",), ("b",)]),
        ("labels=tags", [("a", "b"), ("b",)]),
    ):
        data = open_dataset(tmp_path, Data(columns=("image=two", pair)))
        assert [*tags(data).values()] == expected
        assert packed.content(data.samples("train")[0].image) == photo(5)
    refused(tmp_path, "no column 'x'", settings=Data(columns=("image=x",)))
    refused(
        tmp_path, "remove split=", settings=Data(columns=("image=two", "label=tags", "split=x"))
    )


def test_sound_and_pictures_of_masks_are_not_photos(tmp_path: Path) -> None:
    columns = {"image": photos(2), "audio": photos(2), "label": ["a", "b"]}
    content = table(columns, image=IMAGE, audio={"_type": "Audio"})
    write_parquet(tmp_path / "a.parquet", content)
    assert len(tags(open_dataset(tmp_path, Data()))) == 2


def test_paths_of_photos_beside(tmp_path: Path) -> None:
    """Relative to the data folder, also as absolute paths into it, where no photo is inside."""
    for name in ("a", "b"):
        (tmp_path / f"images/{name}.png").parent.mkdir(exist_ok=True)
        (tmp_path / f"images/{name}.png").write_bytes(photo(0))
    texts = ["images/a.png", "b.png"]
    inside = [{"bytes": None, "path": str(tmp_path / "images" / f"{name}.png")} for name in "ab"]
    structs = pa.array(inside, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    for column, values in (("file_name", texts), ("image", texts), ("image", structs)):
        write_parquet(tmp_path / "t.parquet", table({column: values, "label": ["x", "y"]}))
        data = open_dataset(tmp_path, Data())
        assert tags(data) == {"a": ("x",), "b": ("y",)}
        assert data.samples("train")[0].image == tmp_path / "images" / "a.png"
    write_parquet(tmp_path / "t.parquet", table({"path": ["/x/a.png"], "label": ["x"]}))
    refused(tmp_path, "t.parquet: row 0: has only a path, /x/a.png")


def test_masks_beside(tmp_path: Path) -> None:
    hub(tmp_path)
    save_mask(np.ones((4, 6), np.uint8), tmp_path / "masks" / "train" / "000000.png")
    data = open_dataset(tmp_path, BOTH)
    with_mask = [sample for sample in data.samples("train") if sample.mask is not None]
    assert [sample.name for sample in with_mask] == ["train/000000"]
    assert data.truth is not None
    assert (data.truth(with_mask[0]) == 1).all()


def test_fingerprints_stay_until_a_file_changes(tmp_path: Path) -> None:
    hub(tmp_path / "a")
    first = open_dataset(tmp_path / "a", BOTH).fingerprint("train", "validation")
    (tmp_path / "a").rename(tmp_path / "b")
    assert open_dataset(tmp_path / "b", BOTH).fingerprint("train", "validation") == first
    cache, samples = FeatureCache(tmp_path), open_dataset(tmp_path / "b", BOTH).samples("train")
    features = [cache.path(sample) for sample in samples]
    assert len({*features}) == len(samples)
    file = tmp_path / "b" / "data" / "train-00001-of-00002.parquet"
    write_parquet(file, several([None, [1]], first=7, paths=["longer", None]))
    other = open_dataset(tmp_path / "b", BOTH).fingerprint("train", "validation")
    assert other["train"] != first["train"]
    assert other["validation"] == first["validation"]
    changed = [cache.path(sample) != path for sample, path in zip(samples, features, strict=True)]
    assert changed == [sample.image.is_relative_to(file) for sample in samples]


def test_equal_photos_under_different_tags(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", several([[0], [1], [0]]))
    write_parquet(tmp_path / "test.parquet", several([[1], [1], [1]]))
    data = open_dataset(tmp_path, Data(evaluate=("test",)))
    groups = equal_photos(data.splits.values())
    assert {tuple(sorted(photo.name for photo in group)) for group in groups} == {
        ("test/000000", "train/000000"),
        ("test/000002", "train/000002"),
    }


@pytest.mark.parametrize("outside", ["../outside", "/outside"])
def test_names_that_lead_out_of_the_folder(tmp_path: Path, outside: str) -> None:
    root, other = tmp_path / "data", tmp_path / "outside"
    write_saved(other, several([[0], [1]]))
    place = outside if outside.startswith(".") else str(other)
    write_json(root / "dataset_dict.json", {"splits": [place]})
    refused(root, "dataset_dict.json: damaged", "leads out of the folder")
    (root / "dataset_dict.json").unlink()
    write_json(root / "state.json", {"_data_files": [{"filename": f"{place}/x.arrow"}]})
    refused(root, "state.json: damaged", "leads out of the folder")
    for tag in ("cat", "dog"):
        (root / tag).mkdir()
        (root / tag / "1.png").write_bytes(photo(0))
    refused(root, "state.json: damaged", settings=Data(labels="."))
    assert tags(open_dataset(root, Data())) == {"cat/1": ("cat",), "dog/1": ("dog",)}


def test_other_files_in_a_folder_of_photos_are_left_alone(tmp_path: Path) -> None:
    """A table without photos, a program's state, and damage are no data set."""
    for tag in ("cat", "dog"):
        (tmp_path / tag).mkdir()
        (tmp_path / tag / "1.png").write_bytes(photo(0))
    write_parquet(tmp_path / "cat" / "index.parquet", table({"url": ["x"], "label": ["y"]}))
    (tmp_path / "dog" / "state.json").write_text('{"step": 1}')
    (tmp_path / "half.parquet").write_bytes(b"PAR1")
    assert tags(open_dataset(tmp_path, Data())) == {"cat/1": ("cat",), "dog/1": ("dog",)}


def test_several_data_sets_are_refused_with_the_way_out(tmp_path: Path) -> None:
    for name in ("small", "large"):
        write_parquet(tmp_path / name / "train.parquet", several([[0], [1]]))
    refused(tmp_path, "tags may be in any of large, small: name one with data.labels")
    for labels in ("small", "small/train.parquet"):
        assert len(tags(open_dataset(tmp_path, Data(labels=labels)))) == 2


def test_photos_to_segment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They have the names of the data set; masks beside are not photos."""
    data = hub(tmp_path / "hub") / "data"
    out, file = tmp_path / "out", data / "validation-00000-of-00001.parquet"
    assert photos_by_name([file], out) == {"000000": file / "image" / "0"}
    names = [*(f"train/{n:06}" for n in range(5)), "validation/000000"]
    assert [*photos_by_name([data], out)] == names
    assert caplog.messages == []
    save_mask(np.ones((4, 6), np.uint8), tmp_path / "hub" / "masks" / "train" / "000000.png")
    assert [*photos_by_name([tmp_path / "hub"], out)] == names
    assert caplog.messages == [
        f"{tmp_path / 'hub'}: photos inside files are used; other images are not (1)"
    ]


def test_label_tools_name_such_photos_or_write_them(tmp_path: Path) -> None:
    """Corrected masks find their photos again."""
    root = tmp_path / "data"
    write_parquet(root / "a.parquet", several([[0, 1], [1, 0]], paths=["x.v2.png", "y.png"]))
    settings = Settings(data=Data())
    dataset = open_dataset(root, settings.data)
    run = RunFolder(tmp_path / "run")
    with work_on(run, "masks", {"after": {}, "data": dataset.fingerprint("train")}) as stage:
        for name in ("x.v2", "y"):
            save_mask(np.eye(4, 6, dtype=np.uint8), stage.path / f"{name}.png")
    write_atomic(run.path / "settings.yaml", dump_settings(settings))
    write_json(run.path / "run.json", {"data": str(root)})
    for tool in ("coco", "cvat", "labelstudio"):
        out = tmp_path / {"coco": "a.json", "cvat": "a.xml", "labelstudio": "b.json"}[tool]
        with pytest.raises(
            InputError, match=f"image/0: .* --to {tool} cannot name: export --to voc"
        ):
            export_masks(run.path, out, to=tool)
        assert not out.exists()
    out = tmp_path / "voc"
    export_masks(run.path, out, to="voc")
    assert len(tags(open_dataset(out, Data()))) == 2
    save_mask(np.ones((4, 6), np.uint8), out / "SegmentationClass" / "x.v2.png")
    (out / "labelmap.txt").unlink()
    assert import_masks(out, run.path, source="voc")["changed"] == 1


def test_what_the_library_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet with the photos embedded, as push_to_hub uploads it, and a saved dictionary."""
    datasets = pytest.importorskip("datasets", reason="the library datasets is not installed")
    from datasets.table import embed_table_storage

    datasets.disable_progress_bars()
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for n, file in enumerate(files):
        file.write_bytes(photo(n))
    features = datasets.Features(
        image=datasets.Image(), labels=datasets.List(datasets.ClassLabel(names=["cat", "dog"]))
    )
    columns = {"image": [str(file) for file in files], "labels": [[0], [1, 0], []]}
    made = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(train=made).save_to_disk(tmp_path / "saved")
    inside = made.with_format("arrow").map(embed_table_storage, batched=True).with_format(None)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    inside.to_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    for root in (tmp_path / "saved", tmp_path / "hub"):
        data = open_dataset(root, Data())
        assert tags(data) == {"a": ("cat",), "b": ("cat", "dog"), "c": ()}
        contents = [packed.content(sample.image) for sample in data.samples("train")]
        assert contents == [photo(n) for n in range(3)]
