"""Pages: links hold, pictures are small, what is generated is up to date, no page is lost."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import esol

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def made(name: str) -> ModuleType:
    """A script of docs/make."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "make" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_page_is_up_to_date():
    script = made("settings")
    assert script.page() == script.PAGE.read_text(encoding="utf-8"), (
        "docs/settings.md is not what the settings say: run python docs/make/settings.py"
    )


def test_tables_of_formats_are_up_to_date():
    script = made("formats")
    assert script.page() == script.PAGE.read_text(encoding="utf-8"), (
        "docs/data.md is not what the readers say: run python docs/make/formats.py"
    )


def test_picture_of_the_packages_is_up_to_date():
    script = made("architecture")
    assert script.picture() == script.PICTURE.read_text(encoding="utf-8"), (
        "docs/pictures/architecture.svg is not what the imports say: run docs/make/architecture.py"
    )


def test_readme_fits_on_two_screens_and_has_one_picture():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    assert len(text.split()) <= 700
    assert len(re.findall(r"!\[[^\]]+\]\(", text)) == 1
    # .ci/run says that it runs the second one.
    commands = re.findall(r"^pip install .*", text, re.MULTILINE)
    assert commands[0] == "pip install -e . -c constraints.txt && esol demo"
    assert commands[1] == 'pip install -e ".[test]" -c constraints.txt && pytest'


BEGIN_OTHERWISE = {"LOG.md", "settings.md", "api.md", "reference.md"}
"""Pages of entries, where a reader looks something up."""


@pytest.mark.parametrize(
    "page",
    [page for page in sorted(DOCS.glob("*.md")) if page.name not in BEGIN_OTHERWISE],
    ids=lambda page: page.stem,
)
def test_page_begins_with_what_it_is_for_and_a_picture_or_a_command(page):
    title, *parts = page.read_text(encoding="utf-8").split("\n\n")
    assert re.fullmatch(r"# .+", title)
    assert parts[0].startswith("This page ")
    shown = any(part.startswith(("```", "![")) for part in parts[1:3])
    assert shown or "`esol " in parts[0], parts[:3]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        target = page.parent / link.partition("#")[0]
        assert target.exists(), link
        # What is outside docs/ is not on the site.
        assert page == ROOT / "README.md" or target.resolve().is_relative_to(DOCS), link


def test_pictures_are_small():
    pictures = list((DOCS / "pictures").iterdir())
    assert pictures
    assert all(path.stat().st_size < 100_000 for path in pictures)


def test_every_page_is_in_the_navigation():
    # The file's own tags are mkdocs' business.
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    listed = {page for part in config["nav"] for pages in part.values() for page in pages}
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    tables = {page for page in there if page.startswith("results/voc-animals-1000/")}
    assert listed == there - tables | {"results/voc-animals-1000/README.md", "tutorial.md"}


def test_every_public_name_is_on_the_python_pages():
    page, reference = (
        (DOCS / name).read_text(encoding="utf-8") for name in ("api.md", "reference.md")
    )
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.M)) == sorted(esol.__all__)
    assert sorted(re.findall(r"^::: esol\.(\w+)$", reference, re.M)) == sorted(esol.__all__)
