"""The report: one file, no network, every name escaped, numbers as given."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esol.charts import line_chart, thin
from esol.data.images import palette
from esol.evaluate import Histogram, curves, summary
from esol.panels import colour, heat
from esol.report import Panel, ReportData, Split, build, level, percent, thumbnail

EVIL = "<script>alert('x')</script>&\"'"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class _Page(HTMLParser):
    """Checks that elements are closed in order; collects what the tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th") and "tr" in self.open:
            self.cells[-1].append(data)


def _summary(seed: int) -> dict[str, object]:
    random = np.random.default_rng(seed)
    histogram = Histogram(2)
    truth = random.integers(0, 2, (20, 20)).astype(np.uint8)
    scores = (0.5 * random.random((1, 20, 20)) + 0.3 * truth).astype(np.float32)
    histogram.add(scores, [0], truth)
    return summary(curves(histogram), [EVIL, "dog"], 0.15)


def _data() -> ReportData:
    photo = Image.new("RGB", (500, 300), (10, 120, 200))
    mask = np.zeros((300, 500), np.uint8)
    mask[:, 250:] = 1
    images = [
        ("photo", photo),
        (EVIL, heat(mask.astype(np.float32), photo)),
        ("truth", colour(mask)),
    ]
    return ReportData(
        title=f"Run {EVIL}",
        splits=[Split(EVIL, EVIL, 1, {"CAM": _summary(0), EVIL: _summary(1)})],
        losses={EVIL: [(step, 1 / (1 + step)) for step in range(1000)], "empty": []},
        panels=[Panel(EVIL, [EVIL, "dog"], images)],
        settings_yaml=f"data:\n  root: {EVIL}\n",
        provenance={"commit": EVIL},
        classes=[EVIL, "dog"],
        notes=[EVIL],
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("run") / "report.html"
    build(_data(), path)
    return path.read_text(encoding="utf-8")


def test_every_name_is_escaped(text: str) -> None:
    page = _Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in text
    assert not any(name.startswith("on") for _, given in page.tags for name in given)
    assert "".join(page.texts).count(EVIL) >= 12
    alts = [given["alt"] for tag, given in page.tags if tag == "img"]
    assert alts == [f"{caption} of photo {EVIL}" for caption in ("photo", EVIL, "truth")]
    labels = [given["aria-label"] for tag, given in page.tags if given.get("role") == "img"]
    assert len(labels) == 4
    assert f"{EVIL}: mIoU by threshold" in labels


def test_finished_masks_are_shown_without_threshold_and_curve(tmp_path: Path) -> None:
    table = dict(_summary(2)["fixed"])
    del table["threshold"]
    stages = {"CAM": _summary(0), "segmentation": {"fixed": table}}
    empty = {"losses": {}, "panels": [], "settings_yaml": "", "provenance": {}}
    data = ReportData(title="run", splits=[Split("val", "masks", 1, stages)], **empty)
    build(data, tmp_path / "report.html")
    rows = [row for row in _Page((tmp_path / "report.html").read_text()).cells if row]
    named = [row for row in rows if row[0] == "segmentation"]
    assert len(named) == 1
    assert percent(table["miou"]) in named[0]
    assert len([row for row in rows if row[0] == "CAM"]) == 2


def test_nothing_is_fetched(text: str) -> None:
    assert not re.search(r"https?:", text.replace("http://www.w3.org/", ""))
    page = _Page(text)
    for tag, given in page.tags:
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name in ("src", "href", "srcset", "xlink:href"):
            assert (given.get(name) or "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text


def test_numbers_stand_in_their_columns(text: str) -> None:
    rows = [row for row in _Page(text).cells if row and row[0] == "CAM"]
    given = _summary(0)
    keys = ["precision", "recall", "f1_of_means", "f1", "miou"]
    keys += ["foreground_precision", "foreground_recall", "foreground_f1"]
    for row, part in zip(rows, ("fixed", "best_on_ground_truth"), strict=True):
        found = given[part]
        assert isinstance(found, dict)
        assert row == ["CAM", level(found["threshold"]), *(percent(found[key]) for key in keys)]
    assert "best-on-ground-truth" in text
    dog = [row for row in _Page(text).cells if row[0] == "dog"]
    assert dog == [["dog", "-", "-", "-", "-", "-"]] * 2


def test_percent() -> None:
    assert [percent(value) for value in (None, 0.0, 0.4836, 1)] == ["-", "0.0", "48.4", "100.0"]
    assert [level(value) for value in (0.0, 0.6, 0.15, 0.155)] == ["0.00", "0.60", "0.15", "0.155"]


def test_equal_data_gives_equal_bytes(text: str, tmp_path: Path) -> None:
    build(_data(), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_an_empty_report_is_whole(tmp_path: Path) -> None:
    build(ReportData("empty", [], {}, [], "", {}), tmp_path / "report.html")
    page = _Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.tags[-1][0] == "pre"


def _decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_thumbnails_are_small_and_masks_keep_their_values() -> None:
    photo = _decode(thumbnail(Image.new("RGB", (500, 1000), (9, 99, 200))))
    assert (photo.format, photo.size) == ("JPEG", (120, 240))
    mask = np.zeros((480, 480), np.uint8)
    mask[:, 240:] = 255
    shot = _decode(thumbnail(colour(mask)))
    assert (shot.format, shot.size) == ("PNG", (240, 240))
    assert np.unique(np.asarray(shot.convert("RGB")).reshape(-1, 3), axis=0).tolist() == [
        [0, 0, 0],
        palette()[255].tolist(),
    ]
    tiny = Image.new("RGB", (3, 2))
    assert _decode(thumbnail(tiny)).size == tiny.size == (3, 2)


def test_heat_shows_the_photo_where_nothing_is_scored() -> None:
    photo = Image.new("RGB", (4, 1), (50, 60, 70))
    shown = np.asarray(heat(np.array([[0.0, 0.2, 0.6, 1.0]]), photo)).astype(int)
    assert shown[0, 0].tolist() == [50, 60, 70]
    brightness = shown[0, 1:].sum(-1)
    assert (np.diff(brightness) > 0).all()
    with pytest.raises(ValueError, match="photo 1 x 4"):
        heat(np.zeros((4, 1)), photo)


def test_colour_keeps_the_values() -> None:
    mask = np.array([[0, 1, 255]], np.uint8)
    picture = colour(mask)
    assert np.asarray(picture).tolist() == mask.tolist()
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB"))[0], palette()[mask[0]])


def test_a_line_goes_through_its_points_and_breaks_at_gaps() -> None:
    drawn = line_chart("t", ("x", "y"), {"a": [(0, 0), (0.5, 1), (0.6, None), (1, 0)]}, unit=True)
    lines = re.findall(r'<polyline class="s0"[^>]* points="([^"]*)"', drawn.partition("</svg>")[0])
    assert lines == ["46.0,228.0 208.0,10.0"]
    assert re.findall(r'<circle[^>]* cx="([\d.]+)" cy="([\d.]+)"', drawn) == [("370.0", "228.0")]


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0], [1e-7, 3e-7], [-2.0, 1e6]])
def test_any_scale_has_ticks(values: list[float]) -> None:
    drawn = line_chart("t", ("x", "y"), {"a": list(enumerate(values))})
    ticks = re.findall(r"<text[^>]*>([^<]*)<", drawn.split('<g class="y"')[1].split("</g>")[0])
    assert 2 <= len(ticks) <= 7
    assert not re.search(r"nan|inf", drawn)


def test_no_point_no_chart() -> None:
    gaps = [(0.0, float("nan")), (1.0, None)]
    assert line_chart("t", ("x", "y"), {"a": [], "b": gaps}) == ""


def test_thin_keeps_the_mean_and_short_lines() -> None:
    points = [(step, float(step % 7)) for step in range(1000)]
    few = thin(points, 250)
    assert len(few) == 250
    assert np.mean([y for _, y in few if y is not None]) == pytest.approx(
        np.mean([y for _, y in points])
    )
    assert thin(points[:5]) == points[:5]
    assert thin([]) == []
