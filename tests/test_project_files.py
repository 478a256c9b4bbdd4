"""Files beside the package: citation, forms for issues, CI; what they name is there."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PATH = re.compile(r"`([\w./-]+/[\w.-]*|[\w-]+\.(?:md|toml|txt|jsonl|yaml|json))`")


def test_citation():
    """Checked against the whole schema with cffconvert when it was written."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["license"] == PROJECT["license"]
    assert cited["authors"] == [{"name": "ESOL contributors"}]
    # The version's one place is the package.
    assert "version" not in cited
    (paper,) = cited["references"]
    assert paper["title"].startswith("Expansion and Shrinkage of Localization")
    assert [author["family-names"] for author in paper["authors"]] == [
        "Li",
        "Jie",
        "Wang",
        "Wei",
        "Ma",
    ]


def test_ci_runs_the_versions_that_are_promised():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    job, minimum = jobs["check"], jobs["minimum"]
    told = [
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert job["strategy"]["matrix"]["python"] == told
    assert job["steps"][-1] == {"run": ".ci/run"}
    assert minimum["steps"][1]["with"]["python-version"] == told[0]
    assert f">={told[0]}" == PROJECT["requires-python"]
    assert minimum["steps"][-1] == {"run": ".ci/minimum"}
    for script in ("run", "minimum"):
        assert (ROOT / ".ci" / script).stat().st_mode & 0o100


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_have_what_github_wants(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form)
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["type"] in kinds for field in form["body"])
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", ".github/pull_request_template.md"])
def test_named_files_are_there(name):
    made_by_runs = {"metrics.jsonl", "manifest.json", "settings.yaml"}
    named = set(PATH.findall((ROOT / name).read_text())) - made_by_runs
    assert named
    for path in named:
        # Inside the package, its folders are named alone.
        assert (ROOT / path).exists() or (ROOT / "esol" / path).exists(), path
