"""The same seed gives the same bytes, whatever else differs: processes, order, language, time."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from esol.data.synthetic import write_synthetic
from esol.predict.model import load
from esol.settings.load import load_settings
from esol.stages import run

SMOKE = Path(__file__).parent / "smoke.yaml"
NOT_COMPARED = ("log.txt", "run.json", "report.html")
"""Times of day, where the data lie, and what shows seconds and memory. Of manifest.json the record
(versions, seconds, memory) and of settings.yaml the workers are left out too; all other bytes
count."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("numbers") / "photos"
    write_synthetic(root, photos=20, size=64, seed=0, val_fraction=0.25, hard=True)
    # A tag and a photo that not every language can write.
    for name in ("labels.csv", "classes.txt"):
        text = (root / name).read_text(encoding="utf-8").replace("anchor", "größe")
        text = text.replace("images/00003.jpg", "images/ä 3.jpg")
        (root / name).write_text(text, encoding="utf-8")
    (root / "images/00003.jpg").rename(root / "images/ä 3.jpg")
    (root / "masks/00003.png").rename(root / "masks/ä 3.png")
    return root


@pytest.fixture(scope="module")
def plain(photos, tmp_path_factory) -> Path:
    return everything(photos, tmp_path_factory.mktemp("plain"))


def everything(photos: Path, out: Path, *flags: str) -> Path:
    """All stages, and masks for the photos as if they were new."""
    run(load_settings(str(SMOKE), *flags), photos, out / "run")
    model = load(out / "run", "cpu", precision="no")  # as the run, whose settings say so
    model.predict_folder([photos / "images"], out / "new", soft=True)
    return out


def contents(out: Path) -> dict[str, object]:
    """File -> what has to be the same."""
    return {
        path.relative_to(out).as_posix(): content(path)
        for path in out.rglob("*")
        if path.is_file() and path.name not in NOT_COMPARED
    }


def content(path: Path) -> object:
    if path.name == "manifest.json":
        return {**json.loads(path.read_text(encoding="utf-8")), "record": None}
    if path.name == "settings.yaml":
        lines = path.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not line.strip().startswith("workers:")]
    return path.read_bytes()


def assert_same(out: Path, plain: Path) -> None:
    found, wanted = contents(out), contents(plain)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert sum(name.endswith(".png") for name in wanted) > 20 * 5


def test_listing_and_rows_in_another_order(photos, plain, tmp_path, monkeypatch):
    data, rng = tmp_path / "photos", random.Random(0)
    shutil.copytree(photos, data)
    head, *rows = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    rng.shuffle(rows)
    (data / "labels.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    scandir, listdir = os.scandir, os.listdir

    class Shuffled:
        """A folder's entries in another order than the file system's."""

        def __init__(self, path=".") -> None:
            with scandir(path) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: rng.random()))

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *error) -> None:
            self.close()

        def close(self) -> None:
            self.entries = iter(())

    monkeypatch.setattr("os.scandir", Shuffled)
    monkeypatch.setattr(
        "os.listdir", lambda path=".": rng.sample(found := listdir(path), len(found))
    )
    out = everything(data, tmp_path / "out")
    monkeypatch.undo()
    assert_same(out, plain)


@pytest.mark.parametrize("workers", [1, 2])
def test_photos_loaded_by_other_processes(workers, photos, plain, tmp_path):
    assert_same(everything(photos, tmp_path, f"--machine.workers={workers}"), plain)


@pytest.mark.parametrize("flags", [(), ("--backbone.cache=true", "--backbone.learn=[]")])
def test_several_photos_at_once(flags, photos, plain, tmp_path, monkeypatch):
    one = everything(photos, tmp_path / "one", *flags) if flags else plain
    for module in ("data.at_once", "predict.folder", "training.features"):
        monkeypatch.setattr(f"esol.{module}.at_once", lambda pixels, device: 3)
    assert_same(everything(photos, tmp_path / "three", *flags), one)


def test_another_process_language_time_zone_and_hash_seed(photos, plain, tmp_path):
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from test_same_numbers import everything\n"
        "everything(Path(sys.argv[2]), Path(sys.argv[3]))"
    )
    changed = {"LC_ALL": "C", "LANG": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), str(photos), str(tmp_path)],
        env={**os.environ, **changed},
        capture_output=True,
        text=True,
        cwd=tmp_path.parent,
    )
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path, plain)
