"""Two processes make what one makes; an error in one of them ends both, told once."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.predict.model import load
from esol.runs.folder import RunFolder
from esol.settings.load import load_settings
from esol.stages import run
from esol.system.distributed import all_from_main, all_gather, all_in_order, main_process, my_share

SMOKE = Path(__file__).parent / "smoke.yaml"
# What parts of a batch share exactly: no batch statistics, no dropout. AdamW would divide rounding
# errors by themselves where a gradient is 0.
FLAGS = (
    *("--backbone.norm=frozen", "--segment.norm=frozen", "--segment.fit.optimizer=sgd"),
    *("--segment.network=DeepLabV2", "--segment.encoder=test_resnet", "--refine.instances=true"),
    *("--shrink.fit.optimizer=sgd", "--shrink.fit.lr=0.1", "--classify.fit.optimizer=sgd"),
    *("--classify.fit.lr=0.1", "--segment.fit.lr=0.01", "--machine.device=cpu"),
)
SCRIPT = """
import os, sys
from pathlib import Path
import esol.system.files
from esol.settings.load import load_settings
from esol.system.distributed import leave_group, rank
from esol.predict.model import load
from esol.stages import run

photos, out, *flags = sys.argv[1:]
replace = os.replace

def told(source, target):
    with open(f"{out}-written-{rank()}", "a") as stream:
        print(target, file=stream)
    replace(source, target)

esol.system.files.os.replace = told
run(load_settings(*flags), photos, Path(out) / "run")
found = load(Path(out) / "run", "cpu").predict_folder([Path(photos) / "images"], Path(out) / "new")
assert found["photos"] == found["predicted"] == 22, found
leave_group()
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_synthetic(root, photos=22, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine."""
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        return {name: tensor.numpy() for name, tensor in load_file(path).items()}
    if path.suffix == ".npz":
        return dict(np.load(path))
    if path.suffix == ".png":
        return {"mask": np.asarray(Image.open(path))}
    lines = map(json.loads, path.read_text().splitlines())
    return {"lines": np.array([list(line.values()) for line in lines])}


def test_two_processes_make_what_one_makes(photos, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run(load_settings(str(SMOKE), *FLAGS), photos, one / "run")
    load(one / "run", "cpu").predict_folder([photos / "images"], one / "new")
    (tmp_path / "both.py").write_text(SCRIPT)
    done = start(str(tmp_path / "both.py"), str(photos), str(two), str(SMOKE), *FLAGS)
    assert done.returncode == 0, done.stderr

    assert files(one) == files(two)
    tolerance = {".safetensors": 1e-5, ".jsonl": 1e-5, ".npz": 1, ".png": 0}
    compared = Counter()
    for name in files(one):
        if Path(name).suffix in tolerance:
            ours, theirs = read(two / name), read(one / name)
            assert ours.keys() == theirs.keys()
            for key, value in theirs.items():
                # Maps are kept in 255 steps; a step is what the last bit of a score can move.
                limit = tolerance[Path(name).suffix]
                difference = np.abs(ours[key].astype(float) - value.astype(float))
                assert difference.size == 0 or difference.max() <= limit, (name, key)
                assert limit < 1 or difference.size == 0 or difference.mean() < 1e-2, (name, key)
            compared[Path(name).suffix] += 1
    assert compared.keys() == tolerance.keys()
    for name in ("07-masks/statistics.json", "07-masks/confidence.csv"):
        assert (two / "run" / name).read_bytes() == (one / "run" / name).read_bytes()
    assert RunFolder(one / "run").manifest("seeds")["results"]["all_background"] > 0
    for stage in ("seeds", "masks", "evaluate"):
        results = [RunFolder(folder / "run").manifest(stage)["results"] for folder in (one, two)]
        assert results[0] == results[1]
    assert RunFolder(two / "run").manifest("masks")["record"]["processes"] == 2

    written = [Path(f"{two}-written-{rank}").read_text().splitlines() for rank in (0, 1)]
    assert max(Counter(written[0] + written[1]).values()) == 1
    photo_files = [sum(Path(p).suffix in (".png", ".npz") for p in part) for part in written]
    assert abs(photo_files[0] - photo_files[1]) < 0.2 * sum(photo_files)
    assert all(Path(path).suffix in (".png", ".npz") for path in written[1])


@pytest.mark.slow  # where bfloat16 is emulated
def test_two_processes_train_what_one_trains_in_bfloat16(photos, tmp_path):
    flags = [*FLAGS, "--machine.precision=bf16", "--input.size=32", "--classify.fit.steps=3"]
    run(load_settings(str(SMOKE), *flags), photos, tmp_path / "one", last="cams")
    command = ["-m", "esol", "run", str(SMOKE), str(photos), str(tmp_path / "two"), "--until=cams"]
    done = start(*command, *flags)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "one") == files(tmp_path / "two")
    compared = Counter()
    for name in files(tmp_path / "one"):
        limit = {".safetensors": 5e-5, ".npz": 16}.get(Path(name).suffix)
        if limit:
            ours, theirs = read(tmp_path / "two" / name), read(tmp_path / "one" / name)
            for key, value in theirs.items():
                difference = np.abs(ours[key].astype(float) - value.astype(float))
                assert difference.size == 0 or difference.max() <= limit, (name, key)
                assert difference.size == 0 or difference.mean() < 0.5, (name, key)
            compared[Path(name).suffix] += 1
    assert compared == {".safetensors": 3, ".npz": 3 * 22}


@pytest.mark.parametrize("case", ["all", "one"])
def test_an_error_ends_both_and_is_told_once(case, photos, tmp_path):
    data, flags = photos, ["--classify.fit.batch=7"]
    message = "classify.fit.batch = 7: has no equal parts for 2 processes; set"
    if case == "one":
        data, flags = tmp_path / "photos", ["--until=classify", "--classify.fit.batch=2"]
        shutil.copytree(photos, data)
        broken = sorted((data / "images").iterdir())[0]
        whole = broken.read_bytes()
        broken.write_bytes(whole[: len(whole) // 2])
        message = broken.name
    done = start("-m", "esol", "run", str(SMOKE), str(data), str(tmp_path / "run"), *flags)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("esol: ")]
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert "exitcode  : 2" in done.stderr
    assert not (tmp_path / "run/01-classify/manifest.json").exists()


def as_process(monkeypatch, rank: int, processes: int) -> None:
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", processes)):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(("items", "processes"), [(0, 2), (1, 3), (7, 2), (8, 4), (10, 4)])
def test_shares_are_disjoint_and_complete(items, processes, monkeypatch):
    parts = []
    for rank in range(processes):
        as_process(monkeypatch, rank, processes)
        parts.append(my_share(range(items)))
        assert main_process() == (rank == 0)
    assert sorted(item for part in parts for item in part) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    monkeypatch.setattr("esol.system.distributed.all_gather", lambda mine: parts)
    assert all_in_order(parts[0]) == list(range(items))


def test_one_process_has_everything_and_waits_for_nobody():
    assert main_process()
    assert my_share((1, 2, 3)) == (1, 2, 3)
    assert all_in_order([1, 2]) == [1, 2]
    assert all_gather("x") == ["x"]
    with pytest.raises(InputError, match="mine"):
        all_from_main(lambda: (_ for _ in ()).throw(InputError("mine")))
