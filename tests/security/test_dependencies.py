"""Every package that an installation brings along is pinned to one version."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+?)(\s*;.*)?(\s+#.*)?", line) for line in lines]
    kept = zip(lines, found, strict=True)
    wrong = [line for line, match in kept if line and match is None and line[0] != "#"]
    assert wrong == [], "one package with one version on each line"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def needed() -> dict[str, str]:
    """Package -> who needs it: of esol with its tests, and of what these need in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    first = [*project["dependencies"], *extras["onnx"], *extras["parquet"], *extras["test"]]
    todo = [(Requirement(text), "esol") for text in first]
    found: dict[str, str] = {}
    while todo:
        wanted, by = todo.pop()
        name = canonicalize_name(wanted.name)
        if name in found or name == "esol":
            continue
        marked = wanted.marker
        if marked and not any(marked.evaluate({"extra": e}) for e in ("", *wanted.extras)):
            continue
        found[name] = by
        try:
            inner = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # Not of this system; its own needs are none here.
        for text in inner:
            requirement = Requirement(text)
            chosen = ("", *wanted.extras)
            if not requirement.marker or any(
                requirement.marker.evaluate({"extra": extra}) for extra in chosen
            ):
                requirement.marker = None
                todo.append((requirement, name))
    return found


def test_everything_is_pinned():
    oldest = pins("constraints-minimum.txt")
    # In .ci/minimum; "+cpu" may follow the version.
    are_oldest = Version(metadata.version("torch")).base_version == oldest["torch"]
    pinned, wanted = oldest if are_oldest else pins("constraints.txt"), needed()
    assert len(wanted) > 40
    loose = {name: by for name, by in wanted.items() if name not in pinned}
    assert loose == {}


def test_the_oldest_versions_are_those_promised():
    """constraints-minimum.txt pins what users install directly to its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras, oldest = project["optional-dependencies"], pins("constraints-minimum.txt")
    shipped = (extras[name] for name in ("onnx", "parquet", "track"))
    for text in [*project["dependencies"], *(text for extra in shipped for text in extra)]:
        wanted = Requirement(text)
        (bound,) = wanted.specifier
        assert bound.operator == ">="
        assert Version(oldest[canonicalize_name(wanted.name)]) == Version(bound.version), text


def test_pillow_is_newer_than_known_faults_of_its_decoders():
    """docs/SECURITY.md names them; all were mended in 13.0."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {w.name: w.specifier for w in map(Requirement, project["dependencies"])}
    assert not any(wanted["pillow"].contains(old) for old in ("11.0.0", "12.0.0", "12.3.0"))
    assert wanted["pillow"].contains("13.0.0")
