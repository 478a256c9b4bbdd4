"""``esol export RUN OUT --to heatmaps``: maps as pictures over their photos."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esol.cli.main import main
from esol.data import open_dataset
from esol.data.images import load_image
from esol.errors import InputError
from esol.maps import heatmaps
from esol.maps.files import grid, save_maps
from esol.maps.heatmaps import RECORD, colours, export_heatmaps, file_names, heatmap
from esol.runs.folder import RunFolder
from esol.runs.work import work_on
from esol.settings import Data, Settings
from esol.settings.load import dump_settings
from esol.system.files import write_atomic, write_json

SIZES = {"a b": (40, 60), "cats/0001": (30, 30), "empty": (20, 20), "turned": (24, 48)}
KINDS = ("cam", "expansion", "shrinkage")
TITLES = ("dog", "traffic_light")


def make_run(place: Path, value: float = 1.0) -> Path:
    """A run with the stage cams: maps of ``value`` in their upper half."""
    data, run = place / "data", place / "run"
    rows = ["image,labels"]
    for name, (height, width) in SIZES.items():
        path = data / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image, exif = Image.new("RGB", (width, height), (90, 120, 150)), Image.Exif()
        if name == "turned":
            exif[0x0112] = 6
            image = image.transpose(Image.Transpose.ROTATE_90)
        image.save(path, exif=exif)
        rows.append(f"images/{name}.jpg,{'' if name == 'empty' else 'dog;traffic light'}")
    write_atomic(data / "labels.csv", "\n".join(rows))
    settings = Settings(data=Data())
    dataset = open_dataset(data, settings.data)
    identity = {"after": {}, "data": dataset.fingerprint("train"), "value": value}
    with work_on(RunFolder(run), "cams", identity, overwrite=True) as stage:
        for sample in dataset.splits["train"]:
            height, width = SIZES[sample.name]
            maps = np.zeros((len(sample.tags), *grid((height, width))), np.float32)
            maps[:, : maps.shape[1] // 2] = value
            for kind in KINDS:
                path = stage.path / kind / f"{sample.name}.npz"
                save_maps(path, maps, np.array(sample.tags, np.int64), (height, width))
    write_atomic(run / "settings.yaml", dump_settings(settings))
    write_json(run / "run.json", {"data": str(data)})
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def pictures(out: Path) -> list[str]:
    return sorted(file.relative_to(out).as_posix() for file in out.rglob("*.jpg"))


def test_a_picture_for_each_photo_kind_and_class(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(run), str(out), "--to", "heatmaps"]) == 0
    assert capsys.readouterr().out == (
        f"{out}: 18 pictures of 3 photos of train: cam, expansion, shrinkage\n"
    )
    names = ("a b", "cats/0001", "turned")
    expected = [
        f"{kind}/{name}.{title}.jpg" for kind in KINDS for name in names for title in TITLES
    ]
    assert pictures(out) == sorted(expected)
    for name in names:
        height, width = SIZES[name]
        found = np.asarray(load_image(out / "cam" / f"{name}.dog.jpg")).astype(int)
        assert found.shape == (height, width, 3)
        above, below = (np.array([*half]) for half in (found[2, 5], found[-3, 5]))
        # Bright where the map is, a darker photo elsewhere.
        assert above.sum() > below.sum() + 200
        assert np.abs(below - np.array([90, 120, 150]) * 0.65).max() < 12
    assert load_image(out / "scale.png").size == (256, 24)
    assert not list(out.rglob(".tmp-*"))


def test_photos_are_chosen_by_number_or_by_name(run, tmp_path):
    assert export_heatmaps(run, tmp_path / "one", photos=1)["pictures"] == 6
    assert pictures(tmp_path / "one")[0] == "cam/a b.dog.jpg"
    names = tmp_path / "names.txt"
    names.write_text("turned\ncats/0001\n")
    command = ["export", str(run), str(tmp_path / "two"), "--to", "heatmaps", "--photos"]
    assert main([*command, str(names)]) == 0
    assert len(pictures(tmp_path / "two")) == 12
    # The same folder takes more.
    assert main([*command, "0"]) == 0
    assert len(pictures(tmp_path / "two")) == 18


def test_a_stopped_call_goes_on(run, tmp_path, monkeypatch):
    out, drawn = tmp_path / "out", []
    real = heatmaps._draw

    def draw(sample, *rest):
        if len(drawn) == 1 and sample.name == "cats/0001":
            drawn.append("stop")
            raise KeyboardInterrupt
        drawn.append(sample.name)
        real(sample, *rest)

    monkeypatch.setattr(heatmaps, "_draw", draw)
    with pytest.raises(KeyboardInterrupt):
        export_heatmaps(run, out)
    (out / "cam" / "a b.dog.jpg").unlink()
    export_heatmaps(run, out)
    assert drawn == ["a b", "stop", "a b", "cats/0001", "turned"]
    assert len(pictures(out)) == 18


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--list", "val"], "--list val: the run has no such list; it has train"),
        (["--photos", "-1"], "--photos -1: give 0 or more"),
        (["--photos", "nosuch.txt"], "nosuch.txt: cannot be read"),
        (["--photos", "NAMES"], "'empty' is no tagged photo of the list (1 of 1 names); names are"),
        (["--data", "nosuch"], "nosuch: the run's photos are not there"),
    ],
)
def test_mistakes_are_named(run, tmp_path, capsys, words, message):
    names = tmp_path / "names.txt"
    names.write_text("empty\n")
    words = [str(names) if word == "NAMES" else word for word in words]
    assert main(["export", str(run), str(tmp_path / "out"), "--to", "heatmaps", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="out: is not an empty folder; give a new one"):
        export_heatmaps(run, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_heat_maps_of_other_maps_are_refused(run, tmp_path):
    out = tmp_path / "out"
    export_heatmaps(run, out)
    make_run(tmp_path, value=0.5)
    with pytest.raises(InputError, match=f"has heat maps of other maps .{RECORD}.; name another"):
        export_heatmaps(run, out)


def test_missing_maps_and_changed_photos_are_named(run, tmp_path):
    Image.new("RGB", (10, 10)).save(tmp_path / "data" / "images" / "cats" / "0001.jpg")
    with pytest.raises(InputError, match=r"cats/0001\.npz: of another photo .*; run again"):
        export_heatmaps(run, tmp_path / "out")
    (run / "04-cams" / "cam" / "turned.npz").unlink()
    with pytest.raises(InputError, match=r"turned\.npz: no such maps \(1 of 9\); make the stage"):
        export_heatmaps(run, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_large_photos_are_reduced(run, tmp_path, monkeypatch):
    monkeypatch.setattr(heatmaps, "LONGEST", 30)
    export_heatmaps(run, tmp_path / "out", photos=1)
    assert load_image(tmp_path / "out" / "cam" / "a b.dog.jpg").size == (30, 20)


def test_equal_steps_look_equal():
    """Lightness L* rises everywhere, by about the same."""
    levels = colours(np.linspace(0, 1, 64, dtype=np.float32)[None])[0] / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    steps = np.diff(lightness)
    assert lightness[0] < 2
    assert lightness[-1] > 95
    assert steps.min() > 0.4 * steps.mean()
    assert steps.max() < 1.7 * steps.mean()


def test_scores_of_0_and_1_by_hand():
    photo = np.full((2, 2, 3), 100, np.uint8)
    low, high = (heatmap(photo, np.full((1, 1), value, np.float32))[0, 0] for value in (0, 1))
    assert low.tolist() == [65, 65, 66]  # 0.65 * 100 + 0.35 * (0, 0, 4)
    assert high.tolist() == [214, 216, 148]  # 0.25 * 100 + 0.75 * (252, 255, 164)


def test_names_of_files_are_different_whatever_the_classes_are_called():
    names = ["a/b", "a b", "A:b", "..", "con.", "Ähre", "x" * 20]
    found = file_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    assert not any(set(name) & set('/\\:. "') for name in found)


def test_record_is_plain(run, tmp_path):
    export_heatmaps(run, tmp_path / "out", photos=1)
    assert json.loads((tmp_path / "out" / RECORD).read_text())["alpha"] == [0.35, 0.75]
