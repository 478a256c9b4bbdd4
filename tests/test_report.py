"""The report: one file, no network, every name escaped, numbers as given, photos as encoded."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esol.data import Dataset, Sample, open_dataset
from esol.data.images import colour, image_size, palette
from esol.data.selection import spaced
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import Maps, grid, load_maps, save_maps
from esol.masks.pseudo import confidence
from esol.masks.seeds import seed_mask
from esol.metrics.confusion import confusion, metrics
from esol.metrics.curves import curves, summary
from esol.metrics.histogram import Histogram, thresholds
from esol.report import Gallery, ReportData, Shot, Split, build, counted, level, percent
from esol.report import gallery as encoding
from esol.report.advice import Advice
from esol.report.answer import Answer, Picture, Product, Row
from esol.report.charts import Chart, averaged
from esol.report.gallery import shot
from esol.report.known import Known, Threshold
from esol.report.page import change
from esol.report.photos import Ranked, gallery, pictures, six
from esol.report.summary import write_report
from esol.reproduce.figures import heat
from esol.runs.folder import RunFolder
from esol.settings.load import load_settings

EVIL = "<script>alert('x')</script><!--&\"'\u2028\u2029"
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


def _maps(random: np.random.Generator, size: tuple[int, int], tags: list[int]) -> Maps:
    cells = random.integers(0, 256, (len(tags), *grid(size))).astype(np.float32) / 255
    return Maps(np.array(tags, np.int64), cells, size)


def _gallery() -> Gallery:
    random = np.random.default_rng(0)
    truth = np.zeros((30, 50), np.uint8)
    truth[:, 25:] = 1
    maps = [_maps(random, (30, 50), [0, 1]) for _ in range(2)]
    made = shot(EVIL, [0], Image.new("RGB", (50, 30), (10, 120, 200)), maps, {0: truth}, truth)
    return Gallery(
        [made],
        [EVIL],
        ["CAM", EVIL],
        [EVIL],
        1,
        [0.15, 0.155],
        ["given", EVIL],
        thresholds(0.15, 0.155),
    )


def _data() -> ReportData:
    return ReportData(
        title=f"Run {EVIL}",
        splits=[
            Split(EVIL, EVIL, 1, {"CAM": _summary(0), EVIL: _summary(1)}, [EVIL], {"CAM": "given"})
        ],
        losses={EVIL: [(step, 1 / (1 + step)) for step in range(1000)], "empty": []},
        gallery=_gallery(),
        settings_yaml=f"data:\n  root: {EVIL}\n",
        provenance={"commit": EVIL},
        classes=[EVIL, "dog"],
        notes=[EVIL],
        answer=_answer(),
    )


def _answer() -> Answer:
    picture = Picture(EVIL, "best", 0.5, "", (1, 1), [(EVIL, "#000000")])
    return Answer(
        photos={EVIL: 1, "val": 2},
        number=1,
        classes=[EVIL],
        time="1 s",
        products=[Product(EVIL, EVIL, EVIL, EVIL)],
        lists=[EVIL],
        rows=[Row(EVIL, EVIL, [0.5], [None])],
        background=None,
        found=[],
        pictures=[picture],
        measure="mIoU",
        ranked=1,
        advice=[Advice(EVIL, EVIL)],
        checked=True,
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("run") / "report.html"
    build(_data(), path)
    return path.read_text(encoding="utf-8")


def _script(text: str, opening: str) -> str:
    (content,) = re.findall(rf"{opening}(.*?)</script>", text, re.DOTALL)
    return str(content)


def test_every_name_is_escaped(text: str) -> None:
    page = _Page(text)
    scripts = [given for tag, given in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert text.count("<script") == 2
    assert not any(name.startswith("on") for _, given in page.tags for name in given)
    assert "".join(page.texts).count(EVIL) >= 22
    labels = [given["aria-label"] for tag, given in page.tags if given.get("role") == "img"]
    assert len(labels) == 4
    assert f"{EVIL}: mIoU by threshold" in labels


def test_names_cannot_leave_the_data_of_the_gallery(text: str) -> None:
    raw = _script(text, '<script type="application/json" id="data">')
    assert not set("<>&'\u2028\u2029") & set(raw)
    found = json.loads(raw)
    assert [found["photos"][0]["name"], found["kinds"][1], found["classes"][0]] == [EVIL] * 3
    assert found["lists"] == found["fixed"] == [EVIL]


def test_only_the_scripts_of_the_package_may_run(text: str) -> None:
    script = _script(text, "<script>")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "</" not in script
    assert "innerHTML" not in script


def test_gallery_has_what_was_measured_at_each_threshold(text: str) -> None:
    found = json.loads(_script(text, '<script type="application/json" id="data">'))
    assert found["thresholds"] == list(thresholds(0.15, 0.155))
    assert [found["thresholds"][start] for start in found["starts"]] == [0.15, 0.155]
    assert found["origins"] == ["given", EVIL]
    (measured,) = found["measured"]
    assert measured["photos"] == 1
    for kind, seed in enumerate((0, 1)):
        given = _summary(seed)["curves"]
        assert isinstance(given, dict)
        assert [m for m in measured["miou"][kind] if m is not None] == given["miou"]
        assert measured["miou"][kind][found["starts"][1]] is None, "not measured at 0.155"


def test_finished_masks_are_shown_without_threshold_and_curve(tmp_path: Path) -> None:
    table = dict(_summary(2)["fixed"])
    del table["threshold"]
    stages = {"CAM": _summary(0), "segmentation": {"fixed": table}}
    empty = {"losses": {}, "gallery": None, "settings_yaml": "", "provenance": {}}
    data = ReportData(title="run", splits=[Split("val", "masks", 1, stages)], **empty)
    build(data, tmp_path / "report.html")
    rows = [row for row in _Page((tmp_path / "report.html").read_text()).cells if row]
    named = [row for row in rows if row[0] == "segmentation"]
    assert len(named) == 1
    assert percent(table["miou"]) in named[0]
    assert len([row for row in rows if row[0] == "CAM"]) == 2
    by_stage = [percent(one["per_class"]["dog"]["iou"]) for one in (_summary(0)["fixed"], table)]
    assert [row for row in rows if row[0] == "dog"] == [["dog", *by_stage]]


def test_nothing_is_fetched(text: str) -> None:
    assert not re.search(r"https?:", text.replace("http://www.w3.org/", ""))
    page = _Page(text)
    for tag, given in page.tags:
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name in ("src", "href", "srcset", "xlink:href"):
            assert (given.get(name) or "data:").startswith(("data:", "#"))
    assert "url(" not in text
    assert "@import" not in text


def test_numbers_stand_in_their_columns(text: str) -> None:
    rows = [row for row in _Page(text).cells if row and row[0] == "CAM"]
    given = _summary(0)
    keys = ["precision", "recall", "f1_of_means", "miou"]
    keys += ["foreground_precision", "foreground_recall", "foreground_f1"]
    for row, part in zip(rows, ("fixed", "best_on_ground_truth"), strict=True):
        found = given[part]
        assert isinstance(found, dict)
        at = f"{level(found['threshold'])} {'given' if part == 'fixed' else 'best on ground truth'}"
        assert row == ["CAM", at, *(percent(found[key]) for key in keys)]
    dog = [row for row in _Page(text).cells if row and row[0] == "dog"]
    assert dog == [["dog", "-", "-"]]


def test_percent() -> None:
    assert [percent(value) for value in (None, 0.0, 0.4836, 1)] == ["-", "0.0", "48.4", "100.0"]
    assert [change(value) for value in (None, 0.0, 0.0234, -0.1)] == [
        "",
        "+0.0",
        "+2.3",
        "\u221210.0",
    ]
    assert [counted(number, "photo") for number in (0, 1, 2000)] == [
        "0 photos", "1 photo", "2,000 photos",
    ]  # fmt: skip
    assert [level(value) for value in (0.0, 0.6, 0.15, 0.155)] == ["0.00", "0.60", "0.15", "0.155"]


def test_equal_data_gives_equal_bytes(text: str, tmp_path: Path) -> None:
    build(_data(), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_an_empty_report_is_whole(tmp_path: Path) -> None:
    build(ReportData("empty", [], {}, None, "", {}), tmp_path / "report.html")
    page = _Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags][-2:] == ["pre", "script"]
    assert "gallery" not in {given.get("id") for _, given in page.tags}


def _unpacked(made: Shot, key: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(made.data[key])), np.uint8)


def test_small_photos_keep_every_pixel_and_cell() -> None:
    random = np.random.default_rng(1)
    maps = [_maps(random, (43, 62), [0, 3]) for _ in range(2)]
    truth, mask = random.integers(0, 5, (2, 43, 62)).astype(np.uint8)
    made = shot("a", [0], Image.new("RGB", (62, 43)), maps, {1: mask}, truth)
    assert (made.data["size"], made.data["grid"]) == ([62, 43], [16, 11])
    assert (made.tags, made.data["fixed"], made.data["truth"]) == ([0, 3], [1], True)
    stored = _unpacked(made, "maps").reshape(2, 2, 11, 16)
    np.testing.assert_array_equal(stored, [np.rint(kind.maps * 255) for kind in maps])
    np.testing.assert_array_equal(_unpacked(made, "masks").reshape(2, 43, 62), [truth, mask])


def test_large_photos_are_reduced_and_masks_keep_their_values() -> None:
    truth = np.zeros((700, 1400), np.uint8)
    truth[:, 700:] = 255
    maps = Maps(np.array([2]), np.zeros((1, 175, 350), np.float32), (700, 1400))
    maps.maps[:, :, 175:] = 1
    made = shot("a", [0], Image.new("RGB", (1400, 700), (9, 99, 200)), [maps], {}, truth)
    photo = Image.open(io.BytesIO(base64.b64decode(made.data["photo"])))
    assert (photo.format, photo.size) == ("JPEG", (320, 160))
    assert made.data["grid"] == [160, 80]
    expected = np.zeros((160, 320), np.uint8)
    expected[:, 160:] = 255
    np.testing.assert_array_equal(_unpacked(made, "masks").reshape(160, 320), expected)
    np.testing.assert_array_equal(_unpacked(made, "maps").reshape(80, 160), expected[::2, ::2])


def test_maps_of_other_tags_are_refused() -> None:
    random = np.random.default_rng(2)
    maps = [_maps(random, (8, 8), tags) for tags in ([0], [1])]
    photo = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="different tags"):
        shot("a", [0], photo, maps, {}, None)
    with pytest.raises(ValueError, match="another size"):
        shot("a", [0], photo, maps[:1], {}, np.zeros((8, 9), np.uint8))


def test_a_page_stays_within_its_budget_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The last photos are ten times as large: the even choice takes more than one try.
    sizes = [100] * 8 + [1000] * 8
    shots = [Shot(str(i), [0], [], {"photo": "x" * size}) for i, size in enumerate(sizes)]
    made = Gallery(shots, ["train"], ["CAM"], [], 0, [0.3], ["given"], thresholds())
    assert made.plain([])["left_out"] == 0
    monkeypatch.setattr(encoding, "BUDGET", 4000)
    found = made.plain([])
    kept = [len(photo["photo"]) for photo in found["photos"]]
    assert 2000 < sum(kept) <= 4000
    assert found["left_out"] == 16 - len(kept)
    assert f"it shows {len(kept)}" in caplog.text


def test_spaced() -> None:
    assert spaced(range(10), 4) == [0, 2, 5, 7]
    assert spaced(range(3), 9) == [0, 1, 2]
    assert spaced(range(3), 0) == spaced([], 3) == []


def test_each_evaluated_list_gets_its_share(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", photos=12, size=32, seed=0, hard=True)
    settings = load_settings("demo", "--data.evaluate=[train,val]", "--seeds.kind=expansion")
    data, random = open_dataset(tmp_path / "data", settings.data), np.random.default_rng(3)
    for sample in data.samples("train", "val"):
        for kind in settings.map_kinds:
            maps = _maps(random, image_size(sample.image), list(sample.tags))
            path = RunFolder(tmp_path / "run").stage("cams") / kind / f"{sample.name}.npz"
            save_maps(path, maps.maps, maps.classes, maps.size)
    known = Known(
        lists={"train": 9, "val": 3},
        train="train",
        classes=data.classes,
        tags=[],
        kinds=settings.map_kinds,
        seed_kind="expansion",
        walk_kind="expansion",
        distilled_kind="expansion",
        thresholds={kind: Threshold(0.3, "given") for kind in settings.map_kinds},
        masks=None,
        corrected=0,
        network=None,
        measured={},
        seconds={},
    )

    def read(number: int) -> tuple[Gallery, Ranked]:
        lists = settings.data.evaluate
        return gallery(RunFolder(tmp_path / "run"), data, settings, known, lists, number)

    found, ranked = read(5)
    assert [[s.lists for s in found.shots].count([place]) for place in (0, 1)] == [3, 2]
    assert [s.name for s in found.shots] == sorted(s.name for s in found.shots)
    assert (found.kinds, found.fixed, found.kinds[found.seed]) == (
        ["CAM", "Expansion", "Shrinkage"], [], "Expansion",
    )  # fmt: skip
    first = next(s for s in data.samples("train") if s.name == found.shots[0].name)
    assert tuple(found.shots[0].tags) == first.tags
    size = image_size(first.image)
    stored = _unpacked(found.shots[0], "maps").reshape(3, len(first.tags), *grid(size))
    for place, kind in enumerate(settings.map_kinds):
        path = RunFolder(tmp_path / "run").stage("cams") / kind / f"{first.name}.npz"
        np.testing.assert_array_equal(stored[place], np.rint(load_maps(path).maps * 255))
    assert data.truth is not None
    np.testing.assert_array_equal(
        _unpacked(found.shots[0], "masks").reshape(size), data.truth(first)
    )
    assert len(read(0)[0].shots) == 0
    assert len(read(999)[0].shots) == 12
    assert ranked.measure == "mIoU"
    mious = [_seed_miou(tmp_path, data, sample) for _, sample in ranked.photos]
    assert [value for value, _ in ranked.photos] == pytest.approx(sorted(mious, reverse=True))
    seen = pictures(RunFolder(tmp_path / "run"), data, known, ranked)
    assert [picture.rank for picture in seen] == ["best", "middle", "worst"]
    assert [picture.name for picture in seen[::2]] == [
        ranked.photos[0][1].name, ranked.photos[-1][1].name,
    ]  # fmt: skip
    bare = dataclasses.replace(data, truth=None)
    guessed = gallery(RunFolder(tmp_path / "run"), bare, settings, known, ["train"], 4)[1]
    assert guessed.measure == "confidence"
    for value, sample in guessed.photos:
        maps = load_maps(RunFolder(tmp_path / "run").maps("expansion") / f"{sample.name}.npz")
        assert value == confidence(maps.maps, maps.classes, 0.3)


def _seed_miou(folder: Path, data: Dataset, sample: Sample) -> float:
    maps = load_maps(RunFolder(folder / "run").maps("expansion") / f"{sample.name}.npz")
    assert data.truth is not None
    mask = seed_mask(maps.full(), maps.classes, 0.3)
    return float(metrics(confusion(mask, data.truth(sample), len(data.classes))).miou)


@pytest.mark.parametrize(
    ("number", "places"),
    [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (5, [0, 2, 4]), (6, [0, 1, 2, 3, 4, 5]),
     (200, [0, 1, 99, 100, 198, 199])],
)  # fmt: skip
def test_six_photos_from_top_to_bottom(number: int, places: list[int]) -> None:
    assert [place for _, place in six(number)] == places


def test_fewer_than_no_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--photos -1"):
        write_report(tmp_path, -1)


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
    drawn = Chart("t", ("x", "y"), {"a": [(0, 0), (0.5, 1), (0.6, None), (1, 0)]}, unit=True).html()
    lines = re.findall(r'<polyline class="s0"[^>]* points="([^"]*)"', drawn.partition("</svg>")[0])
    assert lines == ["46.0,228.0 208.0,10.0"]
    assert re.findall(r'<circle[^>]* cx="([\d.]+)" cy="([\d.]+)"', drawn) == [("370.0", "228.0")]


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0], [1e-7, 3e-7], [-2.0, 1e6]])
def test_any_scale_has_ticks(values: list[float]) -> None:
    drawn = Chart("t", ("x", "y"), {"a": list(enumerate(values))}).html()
    ticks = re.findall(r"<text[^>]*>([^<]*)<", drawn.split('<g class="y"')[1].split("</g>")[0])
    assert 2 <= len(ticks) <= 7
    assert not re.search(r"nan|inf", drawn)


def test_no_point_no_chart() -> None:
    gaps = [(0.0, float("nan")), (1.0, None)]
    assert Chart("t", ("x", "y"), {"a": [], "b": gaps}).html() == ""


def test_thin_keeps_the_mean_and_short_lines() -> None:
    points = [(step, float(step % 7)) for step in range(1000)]
    few = averaged(points, 250)
    assert len(few) == 250
    assert np.mean([y for _, y in few if y is not None]) == pytest.approx(
        np.mean([y for _, y in points])
    )
    assert averaged(points[:5]) == points[:5]
    assert averaged([]) == []
