"""The study of backbones: what works has been through every stage, what does not is quoted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def study(folder: Path, *names: str) -> list[str]:
    """Lines between the marks of a page."""
    page = folder / "page.md"
    page.write_text("before\n<!-- results -->\nold\n<!-- end of results -->\nafter\n")
    command = [sys.executable, str(ROOT / "studies" / "backbones.py"), *names, f"--page={page}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *found, last = page.read_text().splitlines()
    assert (first, last) == ("before", "after")
    return [line for line in found if line and not line.startswith("<!--")]


def test_one_that_works_and_one_that_does_not(tmp_path):
    heads, _, works, tokens, refused, *notes = study(tmp_path, "test_resnet", "test_vit", "vgg99")
    assert heads == (
        "| backbone | C | parameters | stride | frozen, cached | learning | stride 8 | IRN |"
    )
    assert works == "| `test_resnet` | 96 | 0.4 M | 16 | yes | yes | yes | yes |"
    assert tokens == "| `test_vit` | 64 | 0.3 M | 16 | yes | yes | no (1) | no (2) |"
    assert refused == "| `vgg99` | - | - | - | no (3) | no (3) | no (3) | no (3) |"
    assert "stride = 8: out of reach of this network; set backbone.stride: 16" in notes[0]
    assert "leave irn out of refine.methods" in notes[1]
    assert "timm has no such network" in notes[2]


@pytest.mark.slow
def test_networks_that_are_dilated_here(tmp_path):
    _, _, *rows = study(tmp_path, "mobilenetv3_large_100", "densenet121")
    assert [row.count("| yes ") for row in rows] == [4, 4]


def test_the_page_has_the_table():
    page = (ROOT / "docs" / "backbones.md").read_text()
    table = page.split("<!-- results -->")[1].split("<!-- end of results -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) >= 30
    assert all(line.count("yes") + line.count("no (") == 4 for line in rows)
