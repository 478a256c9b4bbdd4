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
    "crf",
    "deform",
    "evaluate",
    "heads",
    "pipeline",
    "precision",
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
