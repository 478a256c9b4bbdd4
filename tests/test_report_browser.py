"""The report in a real browser: what it draws is what Python computes, and every control works."""

import base64
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from esol.data.images import palette
from esol.maps.files import Maps, grid
from esol.masks.pseudo import confidence
from esol.masks.seeds import seed_mask
from esol.metrics.confusion import confusion, metrics
from esol.metrics.curves import curves, summary
from esol.metrics.histogram import Histogram, thresholds
from esol.report import Gallery, ReportData, Split, build
from esol.report.advice import Advice
from esol.report.answer import Answer, Found, Picture, Product, Row
from esol.report.gallery import jpeg, shot

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium in the path")

EVIL = "<script>document.title='owned'</script>"
CLASSES = ["dog", "</script><b>", "cat"]
PHOTOS, WIDTH, HEIGHT = 40, 120, 80
TITLES = ["CAM", "Shrinkage"]
STARTS = [0.3, 0.4]
MANY = ["CAM", "Expansion", "Shrinkage", "+ CRF", "+ IRN", "pseudo masks", "segmentation"]
# With this many cells a score is a multiple of 1/64 of 1/255: none ties with this threshold.
THRESHOLD = 0.41


class Photo:
    """A made photo and what Python says of it."""

    def __init__(self, number: int) -> None:
        random = np.random.default_rng(number)
        self.name = EVIL if number == 0 else f"photo-{number:02}"
        self.tags = [[0], [1], [0, 1], [1, 2]][number % 4]
        rows, columns = grid((HEIGHT, WIDTH))
        coarse = random.random((2, len(self.tags), 4, 5)).astype(np.float32)
        smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), (rows, columns))
        self.maps = [
            Maps(np.array(self.tags), np.rint(kind * 255) / np.float32(255), (HEIGHT, WIDTH))
            for kind in smooth.numpy()
        ]
        self.truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.truth[20:60, 10 * (number % 5) :] = self.tags[0] + 1
        self.truth[60:, :10] = 255
        self.fixed = np.roll(self.truth, 8, 1)
        self.fixed[:4] = 255

    def mask(self, kind: int, threshold: float) -> np.ndarray:
        return seed_mask(self.maps[kind].full(), self.maps[kind].classes, threshold)

    def iou(self, mask: np.ndarray) -> float:
        return float(metrics(confusion(mask, self.truth, len(CLASSES))).miou)

    def confidence(self, kind: int, threshold: float) -> float:
        return confidence(self.maps[kind].maps, self.maps[kind].classes, threshold)


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    return [Photo(number) for number in range(PHOTOS)]


@pytest.fixture(scope="module")
def report(photos: list[Photo], tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))
    shots = [
        # The last photo has no truth.
        shot(p.name, [n % 2], image, p.maps, {0: p.fixed}, p.truth if n < PHOTOS - 1 else None)
        for n, p in enumerate(photos)
    ]
    origins = ["given", "chosen by rule"]
    found = Gallery(shots, ["train", "val"], TITLES, ["masks"], 1, STARTS, origins, thresholds())
    path = tmp_path_factory.mktemp("browser") / "report.html"
    losses = {"loss": [(0, 1.0), (1, 0.5)]}
    split = Split("train", "masks", PHOTOS, {name: _summary() for name in MANY})
    answer = Answer(
        photos={"train": 30, "val": 10},
        number=PHOTOS,
        classes=CLASSES,
        time="6 min 40 s",
        products=[
            Product("Masks of these photos", "07-masks/", "IRN at 0.52 (chosen by rule)"),
            Product(
                "Network", "08-segment/model.safetensors", "FPN", "esol predict RUN PHOTOS OUT"
            ),
        ],
        lists=["train", "val"],
        rows=[Row(name, "from CAM at 0.30 (given)", [0.5, 0.4], [None, -0.1]) for name in MANY],
        background=0.5,
        found=[],
        pictures=_pictures("photo with a long name"),
        measure="mIoU",
        ranked=PHOTOS,
        advice=[Advice("Train longer: segment.fit.steps 80", "it has mIoU 28.5")],
        checked=True,
    )
    build(ReportData("run", [split], losses, found, "a: 1", {}, CLASSES, [], answer), path)
    return path


def _summary() -> dict[str, Any]:
    histogram, truth = Histogram(3), np.zeros((9, 9), np.uint8)
    truth[3:] = 1
    histogram.add(truth[None].astype(np.float32) / 2, [0], truth)
    return summary(curves(histogram), CLASSES, 0.3)


def _pictures(name: str) -> list[Picture]:
    image = jpeg(Image.new("RGB", (60, 40), (200, 60, 60)))
    ranks = [rank for rank in ("best", "middle", "worst") for _ in range(2)]
    return [
        Picture(f"{name} {number}", rank, 0.9 - number / 10, image, (60, 40), [("dog", "#800000")])
        for number, rank in enumerate(ranks)
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        # Containers run as root, where Chromium's sandbox refuses to start.
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    yield from opened(browser, report, width=1300, height=900)


@pytest.fixture
def phone(browser: Any, report: Path) -> Iterator[Any]:
    yield from opened(browser, report, width=390, height=844)


def opened(browser: Any, report: Path, **viewport: int) -> Iterator[Any]:
    page = browser.new_page(viewport=viewport, color_scheme="light")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.set_default_timeout(10_000)
    start = time.monotonic()
    page.goto(report.as_uri())
    page.wait_for_selector("#cards[data-measured=all]", state="attached")
    print(f"opened and measured after {time.monotonic() - start:.2f} s")
    yield page
    page.close()
    assert [text for text in said if not text.startswith(("data:", report.as_uri()))] == []


def names(page: Any) -> list[str]:
    return list(page.locator("#cards h3").all_text_contents())


def pixels(page: Any, label: str) -> np.ndarray:
    """(H, W, 3) what the canvas of that label shows."""
    canvas = page.get_by_label(label, exact=True)
    canvas.scroll_into_view_if_needed()
    canvas.and_(page.locator(".card[data-drawn] canvas")).wait_for()
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    text = canvas.evaluate("(canvas) => canvas.toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2])))
    return np.asarray(picture.convert("RGB"))


def to_threshold(page: Any) -> None:
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#value").text_content() == f"{THRESHOLD:.2f}"
    assert page.locator("#threshold").get_attribute("aria-valuetext") == f"{THRESHOLD:.2f}"


def test_masks_are_those_of_python_at_each_threshold(page: Any, photos: list[Photo]) -> None:
    page.get_by_role("radio", name="mask", exact=True).check()
    to_threshold(page)
    for number in (0, 2, 3):
        photo = photos[number]
        for kind, title in enumerate(TITLES):
            expected = photo.mask(kind, THRESHOLD)
            assert len(np.unique(expected)) > 1
            shown = pixels(page, f"{title} of photo {photo.name}")
            np.testing.assert_array_equal(shown, palette()[expected])
    shown = pixels(page, f"masks of photo {photos[2].name}")
    np.testing.assert_array_equal(shown, palette()[photos[2].fixed])


def test_captions_tell_the_measures_of_python(page: Any, photos: list[Photo]) -> None:
    to_threshold(page)
    for number in (0, 3):
        photo = photos[number]
        page.locator("#cards > li").nth(number).scroll_into_view_if_needed()
        page.wait_for_function(
            "(at) => 'drawn' in document.querySelectorAll('.card')[at].dataset", arg=number
        )
        told = page.locator("#cards > li").nth(number).locator("figcaption").all_text_contents()
        expected = [
            f"{title} at {THRESHOLD:.2f}, mIoU {100 * photo.iou(photo.mask(kind, THRESHOLD)):.1f},"
            f" confidence {photo.confidence(kind, THRESHOLD):.2f}"
            for kind, title in enumerate(TITLES)
        ]
        fixed = f"masks mIoU {100 * photo.iou(photo.fixed):.1f}"
        assert told == ["photo ", "ground truth ", *expected, fixed]


def test_each_kind_starts_and_resets_where_the_run_cut_it(page: Any, photos: list[Photo]) -> None:
    labels = [f"{title} of photo {photos[1].name}" for title in TITLES]
    page.keyboard.press("3")

    def check() -> None:
        for kind, label in enumerate(labels):
            expected = palette()[photos[1].mask(kind, STARTS[kind])]
            agree = (pixels(page, label) == expected).all(-1).mean()
            assert agree > 0.998, f"{label}: a score may tie with its threshold, not more"

    assert page.locator("#value").text_content() == "0.30 / 0.40"
    check()
    page.locator("#threshold").fill("90")
    assert page.locator("#value").text_content() == "0.90"
    captions = page.locator("#cards > li").nth(1).locator("figcaption").all_text_contents()
    assert [text.partition(",")[0] for text in captions if " at " in text] == [
        "CAM at 0.90", "Shrinkage at 0.90",
    ]  # fmt: skip
    page.locator("#reset").click()
    assert page.locator("#value").text_content() == "0.30 / 0.40"
    check()


def test_the_slider_moves_the_maps_that_are_shown_alone(page: Any) -> None:
    value, slider = page.locator("#value"), page.locator("#threshold")
    page.get_by_role("radio", name="CAM", exact=True).check()
    assert (value.text_content(), slider.input_value()) == ("0.30", "30")
    slider.fill("20")
    page.get_by_role("radio", name="Shrinkage", exact=True).check()
    assert (value.text_content(), slider.input_value()) == ("0.40", "40")
    page.get_by_role("radio", name="side by side", exact=True).check()
    assert value.text_content() == "0.20 / 0.40"
    page.keyboard.press(".")
    assert value.text_content() == "0.21 / 0.41"
    assert page.locator("#measured").is_visible()


def test_views_differ_and_the_photo_stands_beside_them(page: Any, photos: list[Photo]) -> None:
    label, photo = f"Shrinkage of photo {photos[1].name}", f"photo {photos[1].name}"
    shown = []
    for key in "123":
        page.keyboard.press(key)
        shown.append(pixels(page, label))
        assert np.abs(pixels(page, photo).astype(int) - 128).max() <= 2
    assert len({view.tobytes() for view in shown}) == 3
    page.get_by_role("radio", name="CAM", exact=True).check()
    tiles = page.locator("#cards > li").nth(1).locator("figure:visible figcaption strong")
    assert tiles.all_text_contents() == ["photo", "CAM"]


def test_class_and_list_filters(page: Any, photos: list[Photo]) -> None:
    assert names(page) == [photo.name for photo in photos]
    page.locator("#class").select_option(label="</script><b> (30)")
    assert names(page) == [photo.name for photo in photos if 1 in photo.tags]
    page.locator("#list").select_option(label="val")
    assert names(page) == [p.name for n, p in enumerate(photos) if 1 in p.tags and n % 2]
    assert page.locator("#found").text_content() == "20 of 40 photos"


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("by", ["error", "confidence"])
def test_order_is_by_the_measure_of_the_shown_maps(
    page: Any, photos: list[Photo], by: str, way: str
) -> None:
    page.get_by_role("radio", name="CAM", exact=True).check()
    page.locator("#order").select_option(f"{by} {way}")
    assert f"by {by} of CAM" in page.locator("#found").text_content()
    place = {photo.name: photo for photo in photos}
    found = [place[name] for name in names(page)]
    assert len(found) == PHOTOS
    if by == "error":
        assert found.pop() is photos[-1], "the photo without truth is not the last"
        values = [1 - photo.iou(photo.mask(0, 0.3)) for photo in found]
    else:
        values = [photo.confidence(0, 0.3) for photo in found]
    steps = np.diff(values) if way == "up" else -np.diff(values)
    assert steps.min() > -2e-3, "not in order"
    assert np.ptp(values) > 0.1


def test_order_follows_the_threshold(page: Any) -> None:
    page.locator("#order").select_option("confidence up")
    before = names(page)
    page.locator("#threshold").fill("80")
    page.wait_for_function(
        "(before) => document.querySelector('#cards h3').textContent !== before"
        " || document.querySelectorAll('#cards h3')[1].textContent !== before",
        arg=before[0],
    )
    page.wait_for_timeout(600)
    assert sorted(names(page)) == sorted(before)
    assert names(page) != before


def test_only_cards_in_sight_hold_pixels(page: Any) -> None:
    count = "() => [...document.querySelectorAll('canvas')].map((c) => c.width > 0)"
    page.locator("#cards > li").first.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.card canvas').width > 0")
    held = page.evaluate(count)
    assert held[0]
    assert not held[-1]
    page.locator("#cards > li").last.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('.card:last-child canvas').width > 0")
    page.wait_for_function("() => document.querySelector('.card canvas').width === 0")


def test_keys(page: Any, photos: list[Photo]) -> None:
    value = page.locator("#value")
    page.keyboard.press(".")
    page.keyboard.press(".")
    assert value.text_content() == "0.32 / 0.42"
    page.keyboard.press(",")
    assert value.text_content() == "0.31 / 0.41"
    page.keyboard.press("r")
    assert value.text_content() == "0.30 / 0.40"
    page.keyboard.press("m")
    assert page.locator("#show :checked").get_attribute("value") == "0"
    focused = "() => document.activeElement.querySelector('h3')?.textContent"
    for key, number in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        assert page.evaluate(focused) == photos[number].name
    top, bar = page.evaluate(
        "() => [document.activeElement, document.querySelector('#controls')].map((element, at) =>"
        " element.getBoundingClientRect()[at ? 'bottom' : 'top'])"
    )
    assert top >= bar - 1, "the bar covers the focused photo"
    page.keyboard.press("c")
    assert page.evaluate("() => document.activeElement.id") == "class"
    page.keyboard.press("r")
    assert page.evaluate("() => document.activeElement.id") == "class", "lists keep their letters"


def test_keys_can_be_switched_off(page: Any) -> None:
    page.get_by_text("Keyboard", exact=True).click()
    page.locator("#keys").uncheck()
    page.keyboard.press(".")
    assert page.locator("#value").text_content() == "0.30 / 0.40"


def test_theme_switch_overrules_the_system(page: Any) -> None:
    paper = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#theme").select_option("dark")
    dark = page.evaluate(paper)
    assert light != dark
    page.keyboard.press("Escape")
    page.emulate_media(color_scheme="dark")
    page.locator("#theme").select_option("light")
    assert page.evaluate(paper) == light
    page.locator("#theme").select_option("auto")
    assert page.evaluate(paper) == dark


def test_names_stay_text(page: Any) -> None:
    assert page.title() == "run"
    assert names(page)[0] == EVIL
    assert page.locator("#gallery b").count() == 0
    assert "</script><b>" in page.locator("#cards > li").nth(1).text_content()


def test_every_control_has_a_name_and_enough_contrast(page: Any) -> None:
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('input, select, button')]"
        ".filter((one) => !one.labels?.length && !one.textContent.trim()).length"
    )
    assert unnamed == 0
    for theme in ("light", "dark"):
        page.locator("#theme").select_option(theme)
        for selector in (
            *("body", ".soft", "nav a", "nav a.main", "#found", "#view :checked + span"),
            *(".products code", ".stages small", ".pictures h3", ".pictures figcaption", ".advice"),
        ):
            ink, paper = page.evaluate(COLOURS, selector)
            assert contrast(ink, paper) >= 4.5, (theme, selector, ink, paper)


COLOURS = """(selector) => {
  let element = document.querySelector(selector);
  const ink = getComputedStyle(element).color;
  const paper = () => getComputedStyle(element).backgroundColor;
  while (paper() === 'rgba(0, 0, 0, 0)') element = element.parentElement;
  return [ink, paper()].map((text) => text.match(/\\d+/g).slice(0, 3).map(Number));
}"""


def contrast(ink: list[int], paper: list[int]) -> float:
    """WCAG 2.2's contrast ratio of two sRGB colours."""

    def luminance(colour: list[int]) -> float:
        share = np.array(colour) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_without_truth_there_is_no_error_to_order_by(browser: Any, tmp_path: Path) -> None:
    photo, image = Photo(2), Image.new("RGB", (WIDTH, HEIGHT))
    made = shot("a", [0], image, photo.maps, {}, None)
    found = Gallery(
        [made], ["train"], TITLES, [], 1, [0.155, 0.155], ["given", "given"], thresholds(0.155)
    )
    path = tmp_path / "report.html"
    seen, seldom = _pictures("a"), [Found("dog", 40, 3, 0.01)]
    products = [Product("Masks of these photos", "07-masks/", "CAM at 0.15 (given)")]
    answer = Answer(
        {"train": 1},
        1,
        CLASSES,
        "",
        products,
        [],
        [],
        0.62,
        seldom,
        seen,
        "confidence",
        9,
        [],
        True,
    )
    build(ReportData("run", [], {}, found, "", {}, CLASSES, [], answer), path)
    for page in opened(browser, path, width=800, height=600):
        orders = page.locator("#order option").all_text_contents()
        assert [text for text in orders if "error" in text] == []
        assert len(orders) == 3
        assert not page.locator("#list").is_visible()
        assert page.locator("#value").text_content() == "0.155"
        page.locator("#cards > li").scroll_into_view_if_needed()
        page.locator("[data-drawn]").wait_for()
        expected = [
            f"{t} at 0.155, confidence {photo.confidence(k, 0.155):.2f}"
            for k, t in enumerate(TITLES)
        ]
        assert page.locator("#cards figcaption").all_text_contents() == ["photo ", *expected]
        shows = page.locator("#show label").all_text_contents()
        assert shows == ["side by side", *TITLES]
        page.evaluate(
            "() => document.querySelectorAll('details').forEach((d) => { d.open = true; })"
        )
        text = page.locator("body").inner_text()
        for word in ("truth", "mIoU", "error"):
            assert word not in text
        first = page.locator("#answer").inner_text()
        for told in ("62.0 %", "3 of 40", "surest", "least sure", "Nothing stands out"):
            assert told in first
        page.set_viewport_size({"width": 390, "height": 844})
        assert sticking_out(page) == []


def test_a_phone_shows_one_kind_at_a_time_beside_the_photo(phone: Any) -> None:
    phone.locator("#cards > li").first.scroll_into_view_if_needed()
    shown = phone.locator("#cards > li").first.locator("figure:visible")
    assert shown.count() == 2
    assert "Shrinkage" in shown.last.text_content()
    left, right = shown.first.bounding_box(), shown.last.bounding_box()
    assert left["y"] == right["y"]
    assert phone.evaluate("() => document.querySelector('#bar').offsetHeight < innerHeight / 4")


def sticking_out(page: Any) -> list[str]:
    """Elements that end right of the window, or of a box that would cut or scroll them."""
    found = page.evaluate(
        """() => [...document.querySelectorAll('main *, header *')].filter((one) => {
            if (!one.checkVisibility() || one.closest('fieldset, pre, svg, .name')) return false;
            return one.getBoundingClientRect().right > innerWidth + 0.5
              || (one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
                  && getComputedStyle(one).overflowX !== 'visible');
        }).map((one) => one.outerHTML.slice(0, 80))"""
    )
    wide = page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    return [*found, *(["the page"] if wide else [])]


@pytest.mark.parametrize("width", [320, 390, 700, 820, 1024, 1280])
def test_no_column_is_cut_at_any_width(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert sticking_out(page) == []
    cells = page.locator("#numbers-1 tbody tr").first.locator("td")
    assert cells.count() == len(MANY)
    assert all(cell.is_visible() for cell in cells.all())


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_begins_with_the_answer(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844 if width == 390 else 800})
    top = {
        name: page.locator(name).first.bounding_box()
        for name in (".lead", ".products", ".stages", ".pictures", ".advice", "#gallery")
    }
    order = list(top) if width == 390 else [".lead", ".products", ".stages", "#gallery"]
    assert sorted(order, key=lambda name: top[name]["y"]) == order
    assert page.locator(".pictures img").count() == 6
    sizes = page.evaluate("() => [...document.images].map((one) => one.naturalWidth)")
    assert sizes == [60] * 6
    if width == 1280:
        ends = [box["y"] + box["height"] for name, box in top.items() if name != "#gallery"]
        assert max(ends) <= 800, "the answer does not fit the first screen"


@pytest.mark.parametrize("width", [700, 820, 1024])
def test_rows_of_many_kinds_break_between_them(phone: Any, width: int) -> None:
    """A run with IRN, CRF, masks, corrections and a network has ten kinds to choose from."""
    phone.set_viewport_size({"width": width, "height": 900})
    phone.evaluate(
        """() => {
            const row = document.querySelector('#show'), last = row.lastElementChild;
            for (let n = 0; n < 8; n++) row.append(last.cloneNode(true));
        }"""
    )
    assert phone.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
