"""Every parser by Hypothesis: what a writer wrote comes back, and of anything else one line."""

import contextlib
import csv
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as run_lengths
from safetensors.torch import save_file

from esol.data.images import load_mask, save_mask
from esol.data.names import composed
from esol.data.reading import read_labels, split_cells
from esol.data.shapes import polygon_region, run_length_region
from esol.errors import InputError
from esol.maps.files import grid, load_maps, save_maps
from esol.networks.checkpoints import Wanted, read_checkpoint
from esol.settings import Data, Settings
from esol.settings.load import dump_settings, load_settings, parse, settings_parser

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))

from targets import TARGETS

slow_ones = settings(max_examples=6, deadline=None, derandomize=True)
few = settings(max_examples=25, deadline=None, derandomize=True)
more = settings(max_examples=100, deadline=None, derandomize=True)

names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
"""Words without control characters and spaces."""
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def spoilt(draw: Any, sound: bytes) -> bytes:
    """The file with some bytes cut out and others put in their place."""
    content = sound
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(len(content), start + 8)))
        content = content[:start] + draw(st.binary(max_size=8)) + content[stop:]
    return content


@st.composite
def replaced(draw: Any, sound: bytes) -> bytes:
    """The JSON file with one of its values another."""
    whole = json.loads(sound)
    places: list[tuple[Any, Any]] = []
    left = [whole]
    while left:
        content = left.pop()
        keys = content.keys() if isinstance(content, dict) else range(len(content))
        places += [(content, key) for key in keys]
        left += [content[key] for key in keys if isinstance(content[key], dict | list)]
    content, key = draw(st.sampled_from(places))
    content[key] = draw(values)
    return json.dumps(whole).encode()


@pytest.mark.parametrize("name", TARGETS)
def test_a_sound_file_is_read(name: str, tmp_path: Path) -> None:
    assert TARGETS[name].attempt(TARGETS[name].sound, tmp_path) == ""


@pytest.mark.parametrize("name", TARGETS)
def test_a_spoilt_file_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]

    @few
    @given(spoilt(target.sound) | st.binary(max_size=64))
    def attempt(content: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, as the command line has it.
            target.attempt(content, tmp_path)

    attempt()


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t.file.endswith(".json")])
def test_json_of_other_values_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]

    @more
    @given(replaced(target.sound))
    def attempt(content: bytes) -> None:
        target.attempt(content, tmp_path)

    attempt()


@slow_ones
@given(values)
def test_settings_of_any_values_are_read_or_refused_in_one_line(value: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        for content in ({"data": {"classes": value}}, {"expand": value}, {"seed": value}):
            text = yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "replace")
            TARGETS["settings"].attempt(text, Path(place))


@slow_ones
@given(st.sampled_from(["seed", "data.classes", "cams.scales", "method"]), st.text(max_size=12))
def test_flags_of_any_values_are_read_or_refused_in_one_line(key: str, value: str) -> None:
    try:
        parse(settings_parser("run", "", ""), None, [f"--{key}={value}"])
    except InputError as error:
        said = str(error)
    else:
        return
    assert said.isprintable()
    assert key in said


@slow_ones
@given(st.integers(0, 2**32 - 1), st.lists(names, unique=True, max_size=3), st.booleans())
def test_settings_come_back(seed: int, classes: list[str], difficult: bool) -> None:
    made = Settings(seed=seed, data=Data(classes=tuple(classes), difficult=difficult))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "mine.yaml"
        path.write_text(dump_settings(made), encoding="utf-8")
        assert load_settings(str(path)) == made


@more
@given(st.sets(names.filter(lambda name: not set(name) & set(";|,")), min_size=1))
def test_tags_come_back(tags: set[str]) -> None:
    one_form = tuple(sorted({*map(composed, tags)}))
    assert split_cells([";".join(tags) + ";"]) == [one_form]
    assert split_cells([" ".join(tags)]) == [one_form]


@more
@given(
    st.lists(
        st.tuples(
            names.map(lambda name: name.replace("\\", "x").replace(".", "x").replace("/", "x")),
            st.sets(names.filter(lambda name: not set(name) & set(";|,")), min_size=1, max_size=3),
            names,
        ),
        max_size=5,
    )
)
def test_a_table_comes_back(rows: list[tuple[str, set[str], str]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["image", "labels", "split"])
    for image, tags, split in rows:
        writer.writerow([f"x{image}", ";".join(sorted(tags)) + ";", split])
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "labels.csv"
        path.write_text(stream.getvalue(), encoding="utf-8", newline="")
        found, problems = read_labels(path)
    assert problems == ()
    assert [(row.image, row.tags, row.split) for row in found] == [
        (PurePosixPath(composed(f"x{image}")), tuple(sorted({*map(composed, tags)})), split)
        for image, tags, split in rows
    ]


@more
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_run_lengths_of_coco_come_back(region: np.ndarray) -> None:
    text = run_lengths.encode(np.asfortranarray(region, np.uint8))["counts"].decode()
    np.testing.assert_array_equal(run_length_region(text, region.shape), region)
    flat = region.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    np.testing.assert_array_equal(
        run_length_region(np.diff(edges, prepend=0).tolist(), region.shape), region
    )


@more
@given(st.text(max_size=20) | st.lists(st.integers(), max_size=6))
def test_other_run_lengths_are_refused(counts: Any) -> None:
    # Of these errors ``entry`` makes a line.
    with contextlib.suppress(ValueError, OverflowError):
        assert run_length_region(counts, (4, 5)).shape == (4, 5)


corners = st.lists(
    st.tuples(st.integers(-300, 300), st.integers(-300, 300)), min_size=3, max_size=6
)


@more
@given(corners)
def test_a_polygon_is_cut_where_no_pixel_sees_it(points: list[tuple[int, int]]) -> None:
    size = (12, 16)
    ring = [float(v) for point in points for v in point]
    coded = run_lengths.frPyObjects([ring], *size)
    whole = run_lengths.decode(coded)[..., 0].astype(bool)
    for row, column in np.argwhere(polygon_region([ring], size) != whole):
        centre = np.array([column + 0.5, row + 0.5])
        starts = np.array(points, float)
        along = np.roll(starts, -1, axis=0) - starts
        length = np.maximum((along**2).sum(1), 1e-9)
        share = np.clip(((centre - starts) * along).sum(1) / length, 0, 1)
        nearest = starts + share[:, None] * along
        assert np.hypot(*(nearest - centre).T).min() < 1.5


@few
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_masks_come_back(mask: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as place:
        save_mask(mask, Path(place) / "a.png")
        np.testing.assert_array_equal(load_mask(Path(place) / "a.png"), mask)


@few
@given(st.tuples(st.integers(1, 40), st.integers(1, 40)), st.sets(st.integers(0, 253), max_size=4))
def test_maps_come_back(size: tuple[int, int], classes: set[int]) -> None:
    rng = np.random.default_rng(len(classes))
    maps = rng.random((len(classes), *grid(size))).astype(np.float32)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.npz"
        save_maps(path, maps, np.array(sorted(classes), int), size)
        found = load_maps(path)
    assert found.size == size
    assert found.classes.tolist() == sorted(classes)
    assert np.abs(found.maps - maps).max(initial=0) <= 1 / 510 + 1e-6


@few
@given(
    st.dictionaries(names, st.lists(st.floats(-9, 9, width=32), max_size=4), min_size=1, max_size=3)
)
def test_weights_come_back(layers: dict[str, list[float]]) -> None:
    state = {name: torch.tensor(numbers) for name, numbers in layers.items()}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "w.safetensors"
        save_file(state, path)
        wanted = Wanted("net", "backbone.weights", state, lambda name: False)
        found = read_checkpoint(path, wanted)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in state.items()
    }
