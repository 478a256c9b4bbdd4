"""The notebook runs from top to bottom."""

import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tutorial.ipynb"


@pytest.mark.slow
# Jupyter's own: it talks to a process of this machine, and says that this is not encrypted.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_notebook_runs(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    told = [
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    numbers = re.findall(
        r"^cam +precision ([\d.]+) +recall ([\d.]+)", "\n".join(told), re.MULTILINE
    )
    assert len(numbers) == 1
    assert all(float(number) > 0.1 for number in numbers[0]), "no map is alive: it shows nothing"
    assert "was made with expand.clip = 0.08, not 1.0" in "\n".join(told)


def test_stored_notebook_is_small_and_says_nothing_of_the_machine_it_ran_on():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 400_000
    assert "Traceback" not in text
    assert not re.search(r"/(root|home|tmp|work|Users|venv)/", text)
