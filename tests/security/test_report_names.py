"""A whole run over photos and tags with names made to escape; its report, read by a parser."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esol.data.images import save_mask
from esol.settings.load import load_settings
from esol.stages import run

SMOKE = str(Path(__file__).parents[1] / "smoke.yaml")

# A slash in a name makes it a folder and a file.
PHOTOS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '" onload="alert(3)',
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "]]><!--",
    "line\nbreak\u2028",
]
TAGS = ["</script><script>alert(4)</script>", "'\"><svg onload=alert(5)>", "&ltb&gt"]


class Reader(HTMLParser):
    """Elements with their attributes, and all texts outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(given)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self.inside.pop()

    def handle_data(self, text: str) -> None:
        if not self.inside:
            self.texts.append(text)
        elif self.inside[-1] == "script":
            self.scripts.append(text)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("names")
    data = place / "photos"
    rng = np.random.default_rng(0)
    rows = ["image,labels,split"]
    for name in PHOTOS:
        for split in ("train", "val"):
            file = data / "images" / f"{name}{split}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(file)
            save_mask(np.full((48, 48), 1, np.uint8), data / "masks" / f"{name}{split}.png")
            quoted = str(file.relative_to(data)).replace('"', '""')
            rows.append(f'"{quoted}","{"|".join(TAGS).replace(chr(34), chr(34) * 2)}",{split}')
    (data / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    flags = ["--input.size=32", "--refine.methods=[]", "--masks.source=seeds"]
    flags += ["--segment.network=none", "--classify.fit.epochs=1"]
    folder = place / "<b onclick=alert(6)>run"
    return run(load_settings(SMOKE, *flags), data, folder) / "report.html"


def test_no_name_becomes_an_element_or_a_script(page):
    found = Reader(page.read_text(encoding="utf-8"))
    scripts = [given for tag, given in found.elements if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert {tag for tag, _ in found.elements}.isdisjoint({"b", "iframe", "object", "base"})
    pictures = [given for tag, given in found.elements if tag == "img"]
    assert len(pictures) == 6
    assert all(one.keys() == {"alt", "width", "height", "src"} for one in pictures)
    assert all((one["src"] or "").startswith("data:image/jpeg;base64,") for one in pictures)
    assert not [name for _, given in found.elements for name in given if name.startswith("on")]
    text = "".join(found.texts)
    # As they are, not escaped twice.
    assert all(tag in text for tag in TAGS)
    assert "<b onclick=alert(6)>run" in text


def test_the_gallery_has_every_name_as_it_is(page):
    text = page.read_text(encoding="utf-8")
    data = json.loads(Reader(text).scripts[0])
    names = {photo["name"] for photo in data["photos"]}
    assert names == {f"{name}{split}" for name in PHOTOS for split in ("train", "val")}
    assert data["classes"] == sorted(TAGS)
    raw = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert raw is not None
    assert not set("<>&'\u2028") & set(raw[1])


def test_nothing_runs_in_a_browser(page):
    """In Chromium, if it is there: no script but the page's own, no error, every photo shown."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium in the path")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page()
        said: list[str] = []
        shown.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.goto(page.as_uri())
        shown.wait_for_selector("#cards[data-measured=all]", state="attached")
        elements = shown.evaluate(
            "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
            ".filter(a => a.name.startsWith('on')).length"
        )
        scripts = shown.evaluate("document.scripts.length")
        text = shown.evaluate("document.body.innerText")
        browser.close()
    assert said == []
    assert (elements, scripts) == (0, 2)
    assert all(tag in text for tag in TAGS)
