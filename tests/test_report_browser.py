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
from esol.metrics.histogram import thresholds
from esol.report import Gallery, ReportData, build
from esol.report.gallery import shot

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium in the path")

EVIL = "<script>document.title='owned'</script>"
CLASSES = ["dog", "</script><b>", "cat"]
PHOTOS, WIDTH, HEIGHT = 40, 120, 80
TITLES = ["CAM", "Shrinkage"]
# With this many cells a score is a multiple of 1/64 of 1/255: none ties with this threshold.
THRESHOLD = 0.31


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
    found = Gallery(shots, ["train", "val"], TITLES, ["masks"], 1, 0.3, thresholds())
    path = tmp_path_factory.mktemp("browser") / "report.html"
    data = ReportData("run", [], {"loss": [(0, 1.0), (1, 0.5)]}, found, "a: 1", {}, CLASSES)
    build(data, path)
    return path


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
            f"{title} mIoU {100 * photo.iou(photo.mask(kind, THRESHOLD)):.1f},"
            f" confidence {photo.confidence(kind, THRESHOLD):.2f}"
            for kind, title in enumerate(TITLES)
        ]
        fixed = f"masks mIoU {100 * photo.iou(photo.fixed):.1f}"
        assert told == ["ground truth ", *expected, fixed]


def test_slider_redraws_and_reset_goes_back(page: Any, photos: list[Photo]) -> None:
    label = f"CAM of photo {photos[1].name}"
    before = pixels(page, label)
    page.locator("#threshold").fill("90")
    assert page.locator("#value").text_content() == "0.90"
    assert (pixels(page, label) != before).any()
    page.locator("#reset").click()
    np.testing.assert_array_equal(pixels(page, label), before)


def test_views_differ_and_the_image_is_the_photo(page: Any, photos: list[Photo]) -> None:
    label = f"Shrinkage of photo {photos[1].name}"
    shown = []
    for key in "1234":
        page.keyboard.press(key)
        shown.append(pixels(page, label))
    assert np.abs(shown[0].astype(int) - 128).max() <= 2
    assert len({view.tobytes() for view in shown}) == 4


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
    assert value.text_content() == "0.32"
    page.keyboard.press(",")
    assert value.text_content() == "0.31"
    page.keyboard.press("r")
    assert value.text_content() == "0.30"
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
    assert page.locator("#value").text_content() == "0.30"


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
        for selector in ("body", ".soft", "nav a", "nav a.main", "#found", "#view :checked + span"):
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
    found = Gallery([made], ["train"], TITLES, [], 1, 0.155, thresholds(0.155))
    path = tmp_path / "report.html"
    build(ReportData("run", [], {}, found, "", {}, CLASSES), path)
    for page in opened(browser, path, width=800, height=600):
        orders = page.locator("#order option").all_text_contents()
        assert [text for text in orders if "error" in text] == []
        assert len(orders) == 3
        assert not page.locator("#list").is_visible()
        assert page.locator("#value").text_content() == "0.155"
        page.locator("#cards > li").scroll_into_view_if_needed()
        page.locator("[data-drawn]").wait_for()
        expected = [
            f"{t} confidence {photo.confidence(k, 0.155):.2f}" for k, t in enumerate(TITLES)
        ]
        assert page.locator("figcaption").all_text_contents()[-2:] == expected


def test_a_phone_shows_one_kind_at_a_time_and_nothing_sticks_out(phone: Any) -> None:
    phone.locator("#cards > li").first.scroll_into_view_if_needed()
    shown = phone.locator("#cards > li").first.locator("figure:visible")
    assert shown.count() == 1
    assert "Shrinkage" in shown.text_content()
    assert phone.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert phone.evaluate("() => document.querySelector('#bar').offsetHeight < innerHeight / 4")


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
