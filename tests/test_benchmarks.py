"""Each benchmark, in seconds: it runs, both sides agree, and the last line is what is promised."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = [
    "cache",
    "cams",
    "cores",
    "crf",
    "decode",
    "deform",
    "depthwise",
    "evaluate",
    "heads",
    "pipeline",
    "precision",
    "processes",
    "soak",
    "train",
    "walk",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_last_line(name, tmp_path):
    if name == "crf" and importlib.util.find_spec("pydensecrf") is None:
        pytest.skip("pydensecrf2 is not installed (extra: parity)")
    results = tmp_path / "machine.csv"
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--repeats=1"]
    profiled = name in ("cams", "crf")
    command += ["--profile"] * profiled
    done = subprocess.run(
        [*command, "--device=cpu", f"--results={results}"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert set(line) == {"name", "ratio", "max_error", "peak_mb"}
    assert line["name"] == name
    assert line["ratio"] > 0
    assert line["peak_mb"] > 0
    assert ("| operator |" in done.stdout) == profiled
    rows = results.read_text().splitlines()[1:]
    assert rows
    assert all(row.startswith(f"{name},") for row in rows)


def test_results_are_renewed_not_added(tmp_path):
    results = tmp_path / "machine.csv"
    results.write_text("benchmark,case\nwalk,one\ndeform,another\n")
    script = (
        "import pathlib, sys\n"
        f"sys.path.insert(0, {str(FOLDER)!r})\n"
        "from common import Row, write\n"
        "row = Row('walk', 'two', 2.0, 1.0, 's', 2.0, 0.0)\n"
        f"write(pathlib.Path({str(results)!r}), 'walk', [row])\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    first = [row.split(",")[:2] for row in results.read_text().splitlines()[1:]]
    assert first == [["deform", "another"], ["walk", "two"]]


def test_a_difference_stops_it():
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(FOLDER)!r})\n"
        "from common import within\n"
        "within(float('nan'), 1.0, 'maps')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "maps: differs" in done.stderr


TRAINING = """
import torch, numpy as np

def run(args):
    assert len(np.load("voc12/cls_labels.npy", allow_pickle=True).item()) == 3
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in open(args.train_list):
        weight.cuda(non_blocking=True).sum().backward()
        optimizer.step()
"""
INFERENCE = """
import torch
from torch.utils.data import Subset

def work(process_id, model, parts, args):
    count = torch.cuda.device_count()
    with torch.cuda.device(process_id):
        model.cuda()
        for place in range(len(parts[process_id])):
            assert model(torch.ones(1, 2).cuda()).shape == (1, 1)
            if process_id == count - 1 and place % (len(parts[process_id]) // 20) == 0:
                print("a line that is no result")

def run(args):
    names = open(args.infer_list).read().split()
    parts = [Subset(names, range(place, len(names), 2)) for place in range(2)]
    given = torch.nn.Linear(2, 1), parts, args
    torch.multiprocessing.spawn(work, nprocs=2, args=given, join=True)
"""


def rivals(checkout: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "rivals.py"), "--irn", str(checkout), "--quick"]
    return subprocess.run(
        [*command, "--photos=3", "--batch=1", *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_rivals_times_the_stages_of_a_checkout(tmp_path):
    (tmp_path / "step").mkdir()
    for name in ("train_cam", "train_irn"):
        (tmp_path / "step" / f"{name}.py").write_text(TRAINING)
    for name in ("make_cam", "cam_to_ir_label"):
        (tmp_path / "step" / f"{name}.py").write_text(INFERENCE)
    broken = "def run(args):\n    raise ValueError('no such weights')\n"
    (tmp_path / "step" / "make_sem_seg_labels.py").write_text(broken)
    done = rivals(tmp_path, f"--results={tmp_path / 'machine.csv'}")
    assert done.returncode == 0, done.stderr
    rows = {cells[1].strip(): cells[2].strip() for cells in map(split, done.stdout.splitlines())}
    for stage in (
        "classifier, a view at 512",
        "maps, 4 scales and mirrored",
        "IRNet, a view at 512",
    ):
        assert float(rows[stage].removesuffix(" s")) > 0
    assert rows["walk with its edges"] == "ValueError: no such weights"
    assert json.loads(done.stdout.splitlines()[-1])["ratio"] > 0
    assert len((tmp_path / "machine.csv").read_text().splitlines()) == 11


def split(line: str) -> list[str]:
    """Cells of a table's line."""
    return [*line.split("|"), "", "", ""]


def test_rivals_wants_a_checkout(tmp_path):
    done = rivals(tmp_path)
    assert done.returncode == 1
    assert "no step/train_cam.py: give a clone of github.com/jiwoon-ahn/irn" in done.stderr
