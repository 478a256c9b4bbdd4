"""Masks that measure no class, have no background, or show other classes than the tags."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opened import refused
from PIL import Image

from esol.data import open_dataset
from esol.data.check import check
from esol.data.images import save_mask
from esol.data.truth import Shown, against_tags, cautions, only_ignored, pixels, shown
from esol.errors import InputError
from esol.runs.folder import RunFolder
from esol.runs.plan import Outlook, Plan
from esol.settings import Data, Settings
from esol.stages import checks
from esol.stages.job import Job

CLASSES = ("bird", "cat", "dog")


def square(value: int, around: int = 0) -> np.ndarray:
    mask = np.full((6, 8), around, np.uint8)
    mask[2:4, 2:5] = value
    return mask


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (square(255), "store 1 for the class"),
        (square(0, around=255), "store 1 for the class"),
        (square(0), "only background"),
        (square(1, around=255), "precision says nothing (no pixel can be wrong)"),
        (square(1, around=2), "foreground precision, recall and F1 say nothing"),
        (square(1), ""),
        (square(1) + square(0, around=0) + np.eye(6, 8, dtype=np.uint8) * 254, ""),
    ],
)
def test_cautions(mask, words):
    found = cautions(pixels(mask))
    assert len(found) == bool(words)
    assert all(words in line and "\n" not in line for line in found)
    assert bool(only_ignored(pixels(mask))) == ("store 1" in words)


def test_nothing_is_said_of_no_pixels():
    assert cautions({}) == ()


def masks(*rows: tuple[str, int]):
    """Masks of one class each, beside the tags of their photos."""
    return [
        shown(square(value), Path(f"{number}.png"), tags.split(), CLASSES)
        for number, (tags, value) in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "alphabetical", "problem", "warning"),
    [
        # All shifted: it was (cat, dog), then bird came.
        ([("cat", 1), ("dog", 2)] * 2, False, "4 of 4", ""),
        ([("cat", 1), ("dog", 2)] * 2, True, "0.png shows 'bird' (value 1), but", ""),
        # It was (bird, dog), then cat came: birds are right still.
        ([("bird", 1), ("dog", 2)] * 2, True, "2 of 4", ""),
        ([("bird", 1), ("dog", 2)] * 2, False, "", "2 of 4"),
        # Some tags are wrong; the class has its tag elsewhere.
        ([("bird", 1), ("dog", 2), ("dog", 2), ("cat", 2)], True, "", "2 of 4"),
        ([("bird", 1), ("bird", 1), ("dog", 2)], True, "", "1 of 3"),
        ([("cat", 1)], True, "", "1 of 1"),
        # Something small is not tagged, something tagged is not drawn, or nothing is drawn.
        ([("cat bird", 1)] * 4, True, "", ""),
        ([("cat", 0), ("dog", 0), ("dog", 255)], True, "", ""),
        ([("", 1), ("", 1)], True, "", ""),
    ],
)
def test_against_tags(rows, alphabetical, problem, warning):
    found = against_tags(masks(*rows), CLASSES, alphabetical=alphabetical)
    for words, line in zip((problem, warning), found, strict=True):
        assert bool(words) == bool(line)
        assert words in line
    advice = "to classes.txt" if alphabetical else "give the masks the values"
    assert advice in found[0] or not problem


def data_set(root: Path, *rows: tuple[str, int | None]) -> Path:
    """Photos with tags, and their masks of one class."""
    for number, (_, value) in enumerate(rows):
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (9 * number, 0, 0)).save(root / f"images/{number}.jpg")
        if value is not None:
            save_mask(square(value), root / f"masks/{number}.png")
    lines = [f"{number}.jpg,{tags}" for number, (tags, _) in enumerate(rows)]
    (root / "labels.csv").write_text("\n".join(["image,labels", *lines]) + "\n")
    return root


def of_masks(root: Path) -> list[str]:
    """What check warns of about the masks of a set without problems."""
    report = check(root, Data())
    assert report.problems == ()
    return [line for line in report.warnings if line.startswith(f"{root / 'masks'}:")]


def test_a_new_tag_shifts_the_masks_until_the_order_is_written_down(tmp_path):
    old = [("cat", 1), ("dog", 2)] * 2
    new = [("bird", None)] * 2
    assert of_masks(data_set(tmp_path / "old", *old)) == []
    root = data_set(tmp_path / "new", *old, *new)
    (problem,) = check(root, Data()).problems
    assert problem.startswith(f"{root / 'masks'}: 4 of 4 masks show other classes than the tags")
    (root / "classes.txt").write_text("cat\ndog\nbird\n")
    assert of_masks(root) == []


def test_a_few_contradictions_are_one_warning(tmp_path):
    root = data_set(tmp_path, *[("cat", 1), ("dog", 2)] * 5, ("dog", 1))
    (warning,) = of_masks(root)
    assert "1 of 11 masks show other classes than the tags" in warning
    assert str(root / "masks/10.png") in warning


def test_masks_of_0_and_255_are_a_problem(tmp_path):
    root = data_set(tmp_path, *[("cat", 255)] * 3)
    (problem,) = check(root, Data()).problems
    assert problem.startswith(f"{root / 'masks'}: list 'train': all that is not background")


def test_masks_without_background_are_a_warning(tmp_path):
    root = data_set(tmp_path, *[("cat", 1)] * 3)
    for path in (root / "masks").iterdir():
        save_mask(square(1, around=255), path)
    (warning,) = of_masks(root)
    assert "'train': the ground truth has no background" in warning


def test_alphabetical_is_what_nobody_ordered(tmp_path):
    root = data_set(tmp_path, *[("cat", 1), ("dog", 2)] * 2)
    assert open_dataset(root, Data()).truth.alphabetical
    assert not open_dataset(root, Data(classes=("cat", "dog"))).truth.alphabetical
    (root / "classes.txt").write_text("cat\ndog\n")
    assert not open_dataset(root, Data()).truth.alphabetical
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    refused(root, "classes.txt: line 1", "value 0 in any case")


def look(root: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> list[str]:
    """Names of the masks that are read before a run's work, until it is refused or not."""
    monkeypatch.setattr(checks, "LOOKED_AT", most)
    seen: list[str] = []

    def counting(*arguments: Any) -> Shown:
        found = shown(*arguments)
        seen.append(found.mask.stem)
        return found

    monkeypatch.setattr(checks, "shown", counting)
    data = open_dataset(root, Data())
    checks.check_input(
        Job(Settings(), data, RunFolder(root / "run")),
        Plan(RunFolder(root / "run"), to_do={"evaluate": Outlook()}),
    )
    return seen


def test_a_run_looks_at_some_masks_and_at_all_if_these_are_wrong(tmp_path, monkeypatch, caplog):
    rows = [("cat", 1), ("dog", 2)] * 4
    assert look(data_set(tmp_path / "a", *rows), monkeypatch, 3) == ["0", "2", "5"]
    assert "masks" not in caplog.text
    # The very masks that are looked at are wrong, the others are not.
    odd = [(tag, 3 - value if n in (0, 2, 5) else value) for n, (tag, value) in enumerate(rows)]
    seen = look(data_set(tmp_path / "b", *odd), monkeypatch, 3)
    assert len(seen) == 3 + 8
    assert "3 of 8 masks show other classes" in caplog.text
    shifted = [*rows, ("bird", None), ("bird", None)]
    with pytest.raises(InputError, match="list 'train': 8 of 8 masks"):
        look(data_set(tmp_path / "c", *shifted), monkeypatch, 3)
    binary = [("cat", 255)] * 4
    with pytest.raises(InputError, match="list 'train': all that is not background"):
        look(data_set(tmp_path / "d", *binary), monkeypatch, 3)
