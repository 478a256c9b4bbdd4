"""``esol evaluate MASKS --gt DIR``: two folders of masks."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esol.cli.main import main
from esol.data.images import save_mask
from esol.errors import InputError
from esol.metrics.confusion import confusion, metrics
from esol.metrics.curves import table
from esol.metrics.folders import class_names, evaluate_masks


def _put(folder: Path, name: str, values: object) -> None:
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    masks, truth = tmp_path / "masks", tmp_path / "truth"
    _put(truth, "a", [[0, 1, 1], [2, 255, 0]])
    _put(masks, "a", [[0, 1, 2], [2, 1, 255]])
    _put(truth, "sub/b", [[0, 0]])
    _put(masks, "sub/b", [[3, 0]])
    _put(masks, "no-truth", [[9]])
    (truth / ".tmp-00.png").write_bytes(b"unfinished")
    return masks, truth


def test_two_photos_by_hand(folders: tuple[Path, Path]) -> None:
    result = evaluate_masks(*folders, classes=["cat", "dog", "cow"])
    expected = np.array([[3, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    assert result == {
        **table(metrics(expected), ["cat", "dog", "cow"]),
        "classes": 3,
        "photos": 2,
        "pixels": 7,
        "coverage": 6 / 7,
        "warnings": [],
    }
    assert result["miou"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)


def test_classes_are_found_or_counted(folders: tuple[Path, Path]) -> None:
    assert list(evaluate_masks(*folders)["per_class"]) == ["background", "1", "2", "3"]
    assert evaluate_masks(*folders) == evaluate_masks(*folders, classes=3)
    assert evaluate_masks(*folders, classes=5)["miou"] == evaluate_masks(*folders)["miou"]


def test_a_list_chooses_the_photos(folders: tuple[Path, Path]) -> None:
    result = evaluate_masks(*folders, classes=3, names=["sub/b", "sub/b"])
    assert (result["photos"], result["pixels"], result["coverage"]) == (1, 2, 1)
    only = confusion(np.array([[3, 0]], np.uint8), np.zeros((1, 2), np.uint8), 3)
    assert result["miou"] == table(metrics(only), ["1", "2", "3"])["miou"] == 0.5


def _spoil(kind: str, masks: Path, truth: Path) -> None:
    if kind == "missing":
        (masks / "sub" / "b.png").unlink()
    elif kind == "size":
        _put(masks, "a", [[0]])
    elif kind == "value":
        _put(masks, "a", [[0, 1, 4], [2, 1, 0]])
    elif kind == "true value":
        _put(truth, "a", [[0, 1, 200], [2, 1, 0]])
    elif kind == "colour":
        Image.new("RGB", (3, 2)).save(masks / "a.png")
    elif kind == "broken":
        (masks / "a.png").write_bytes(b"\x89PNG")
    elif kind == "no truth":
        for path in truth.rglob("*.png"):
            path.unlink()
    elif kind == "ignored":
        _put(truth, "a", np.full((2, 3), 255))
        _put(truth, "sub/b", [[255, 255]])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"masks/sub/b\.png: no such mask \(1 of 2 missing\)"),
        ("size", r"masks/a\.png: 1 x 1 .*truth/a\.png has 3 x 2"),
        ("value", r"masks/a\.png: value 4, but there are 3 classes"),
        ("true value", r"truth/a\.png: value 200, but there are 3 classes"),
        ("colour", r"masks/a\.png: .*RGB"),
        ("broken", r"masks/a\.png"),
        ("no truth", r"truth: no ground truth"),
        ("ignored", r"truth: no labelled pixel"),
    ],
)
def test_mistakes_are_named(folders: tuple[Path, Path], kind: str, message: str) -> None:
    _spoil(kind, *folders)
    with pytest.raises(InputError, match=message) as caught:
        evaluate_masks(*folders, classes=3)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such folder"):
        evaluate_masks(tmp_path, tmp_path / "gone")


def test_a_listed_photo_without_truth_is_named(folders: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"truth/no-truth\.png"):
        evaluate_masks(*folders, names=["no-truth"])


TRUTH = np.array([[0, 0, 0, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("predicted", "true", "words"),
    [
        (TRUTH, TRUTH, ()),
        (TRUTH, 1 - TRUTH, ("mIoU would be 100.0 % instead of 0.0 %", "are inverted")),
        (TRUTH * 255, TRUTH, ("masks: all that is not background", "255 (undecided)")),
        (TRUTH, np.where(TRUTH, 1, 255), ("truth: the ground truth has no background",)),
        (TRUTH, 1 + TRUTH, ("truth: the ground truth has no background", "foreground")),
        (TRUTH, TRUTH * 0, ("truth: the ground truth shows no class",)),
        # Poor masks are not inverted ones.
        (np.array([[1, 1, 0, 1], [1, 1, 0, 0]]), TRUTH, ()),
    ],
)
def test_what_the_numbers_cannot_say(
    tmp_path: Path, predicted: np.ndarray, true: np.ndarray, words: tuple[str, ...]
) -> None:
    _put(tmp_path / "masks", "a", predicted)
    _put(tmp_path / "truth", "a", true)
    warnings = evaluate_masks(tmp_path / "masks", tmp_path / "truth")["warnings"]
    assert len(warnings) == bool(words)
    assert all(
        word in line and line.startswith(str(tmp_path)) for line in warnings for word in words
    )


@pytest.mark.parametrize("predicted", [TRUTH, TRUTH * 255, TRUTH * 0])
def test_a_truth_of_0_and_255_is_refused(tmp_path: Path, predicted: np.ndarray) -> None:
    _put(tmp_path / "masks", "a", predicted)
    _put(tmp_path / "truth", "a", TRUTH * 255)
    with pytest.raises(InputError, match=r"truth: all that is not background .* store 1 for the"):
        evaluate_masks(tmp_path / "masks", tmp_path / "truth")


def test_warnings_are_printed_beside_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("masks", "truth"):
        _put(tmp_path / folder, "a", TRUTH + 1)
    arguments = ["evaluate", str(tmp_path / "masks"), "--gt", str(tmp_path / "truth")]
    assert main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    (warning,) = json.loads(out)["warnings"]
    assert "no background" in warning
    assert err.strip() == warning
    assert main(arguments) == 0
    assert capsys.readouterr().err.strip() == warning


def printed(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines of the command's output, words separated by single spaces."""
    masks, truth = map(str, folders)
    assert main(["evaluate", masks, "--gt", truth]) == 0
    out = capsys.readouterr().out
    return [" ".join(re.sub("[│┃]", " ", line).split()) for line in out.splitlines()]


def test_the_table_by_hand(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Values 0, 1, 2 are in the truth; 3 is only predicted."""
    (folders[1] / "classes.txt").write_text("cat\ndog\ncow\n")
    lines = printed(folders, capsys)
    rows = [
        "class IoU precision recall F1 photos",
        "background 75.0 100.0 75.0 85.7 2",
        "cat 50.0 100.0 50.0 66.7 1",
        "dog 50.0 50.0 100.0 66.7 1",
        # 83.3 and 75 have an F1 of 78.9; the mean of the rows above is 73.0.
        "mean 58.3 83.3 75.0 78.9 2",
        "foreground, all classes as one: precision 75.0, recall 100.0, F1 85.7",
    ]
    assert [line for line in lines if line in rows] == rows
    assert "classes left out, not in the ground truth: cow" in lines
    assert (
        "pixels left out: 12.5 % (255 in the ground truth), 1 mask without ground truth or not"
        " listed" in lines
    )
    assert "pixels counted as background: 14.3 % (255 in the masks)" in lines
    assert lines[-1] == f"class names: {folders[1] / 'classes.txt'}"


def test_a_class_never_predicted_is_said(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _put(folders[0], "a", [[0, 1, 1], [1, 1, 0]])
    lines = printed(folders, capsys)
    assert "never predicted, left out of the mean precision: 2" in lines
    assert lines[-1] == "class names: none, so mask values"


NAMED = {
    "masks/classes.json": {"classes": [{"value": 0, "name": "background"}, {"name": "json"}]},
    "classes.json": {"classes": [{"value": 0, "name": "background"}, {"name": "json above"}]},
    "masks/manifest.json": {"identity": {"data": {"classes": ["stage"]}}},
    "manifest.json": {"classes": ["corrected"], "photos": {}},
    "truth/classes.txt": "truth\n",
    "classes.txt": "data\n",
}


@pytest.mark.parametrize("place", NAMED)
def test_classes_are_named_by_what_lies_there(folders: tuple[Path, Path], place: str) -> None:
    """Each of the places alone, and before all that come after it."""
    root, later = folders[0].parent, list(NAMED)[list(NAMED).index(place) :]
    for path, content in ((root / name, NAMED[name]) for name in reversed(later)):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        names, file = class_names(*folders)
        assert file == path
        assert len(names) == 1


def test_a_classes_json_of_another_program_is_passed_over(folders: tuple[Path, Path]) -> None:
    for content in ([], {"classes": 3}, {"classes": [1, 2]}, {"cat": 1}):
        (folders[0] / "classes.json").write_text(json.dumps(content))
        assert class_names(*folders) == ((), None)
    (folders[0] / "classes.json").write_text("{")
    with pytest.raises(InputError, match=r"classes\.json: not a JSON file"):
        class_names(*folders)


def test_names_that_are_missing_stay_numbers(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "classes.txt").write_text("cat\n")
    lines = printed(folders, capsys)
    assert [line.split()[0] for line in lines if line.endswith(" 1")] == ["cat", "2"]


def test_json_is_what_python_returns(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "classes.txt").write_text("cat\ndog\ncow\n")
    masks, truth = map(str, folders)
    assert main(["evaluate", masks, "--gt", truth, "--json"]) == 0
    assert capsys.readouterr().out == json.dumps(evaluate_masks(masks, truth), indent=2) + "\n"


def test_predictions_in_the_data_folder_have_numbers(folders: tuple[Path, Path]) -> None:
    """Also beside a table of colours of the ground truth, in another order."""
    masks, truth = folders
    table = {"background": [0, 0, 0], "dog": [128, 0, 0], "cat": [0, 128, 0]}
    shown = [["background", "cat"], ["dog", "dog"]]
    _paint(truth, table, {"a": [[*row] for row in shown]})
    (truth / "palette.json").unlink()
    (truth / "sub" / "b.png").unlink()
    lines = (f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in table.items())
    (truth.parent / "labelmap.txt").write_text("".join(lines))
    save_mask(np.array([[0, 1], [2, 2]], np.uint8), masks / "a.png")
    names = ["background", "cat", "dog"]
    described = [{"value": value, "name": name} for value, name in enumerate(names)]
    content = {"classes": described, "model": "0" * 64, "crf": False}
    (masks / "classes.json").write_text(json.dumps(content))
    measured = evaluate_masks(masks, truth)
    assert [*measured["per_class"]] == names
    assert measured["miou"] == 1


def _paint(folder: Path, table: dict[str, list[int]], masks: dict[str, list[list[str]]]) -> None:
    """Masks in colours, given by names, with the table of these."""
    for name, rows in masks.items():
        _put(folder, name, [[table[thing] for thing in row] for row in rows])
    (folder / "palette.json").write_text(json.dumps(table))


def test_colours_are_compared_by_names(folders: tuple[Path, Path]) -> None:
    masks, truth = folders
    by_numbers = evaluate_masks(masks, truth, classes=["cat", "dog", "cow"])
    table = {"background": [0, 0, 0], "cow": [9, 9, 0], "dog": [0, 9, 9], "cat": [9, 0, 9]}
    table["ignore"] = [200, 200, 200]
    (truth / "a.png").unlink()
    shown = {"a_gt": [["background", "cat", "cat"], ["dog", "ignore", "background"]]}
    (truth / "sub" / "b.png").unlink()
    _paint(truth, table, {**shown, "sub/b_GT": [["background", "background"]]})
    # The masks have numbers: somebody must say of which classes.
    with pytest.raises(InputError, match=r"a_gt.png: .* 'cat' .* not a class here"):
        evaluate_masks(masks, truth)
    (truth.parent / "classes.txt").write_text("cat\ndog\ncow\n")
    assert evaluate_masks(masks, truth) == by_numbers
    # Both in colours, of which each folder has its own table: names are enough.
    (truth.parent / "classes.txt").unlink()
    other = {name: [value + 20 for value in colour] for name, colour in table.items()}
    for path in [*masks.rglob("*.png")]:
        path.unlink()
    found = {"a": [["background", "cat", "dog"], ["dog", "cat", "ignore"]]}
    _paint(masks, other, {**found, "sub/b": [["cow", "background"]]})
    measured = evaluate_masks(masks, truth)
    assert measured["miou"] == by_numbers["miou"]
    assert measured["per_class"] == by_numbers["per_class"]
    assert class_names(masks, truth) == (("cow", "dog", "cat"), truth / "palette.json")
    # A mask with numbers among these has no names.
    _put(masks, "a", [[0, 1, 2], [2, 1, 255]])
    with pytest.raises(InputError, match=r"a.png: a grey mask with numbers"):
        evaluate_masks(masks, truth)
