"""Photos larger than in training: what a network is shown of them, and what is said about it."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from esol.data import open_dataset
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.runs.folder import RunFolder
from esol.settings import Input, Settings
from esol.settings.load import load_settings
from esol.settings.masks import Segment
from esol.stages import run
from esol.stages.checks import _check_sizes
from esol.stages.job import Job

SMOKE = str(Path(__file__).parent / "smoke.yaml")
CROP = ["--input.resize=crop", "--input.longest=[32,64]"]


@pytest.fixture
def photos(tmp_path) -> Path:
    write_synthetic(tmp_path / "photos", photos=8, size=64, seed=0, val_fraction=0.25, hard=True)
    return tmp_path / "photos"


def enlarge(photos: Path, side: int) -> None:
    """One photo and its mask, to a square."""
    for path in (photos / "images/00000.jpg", photos / "masks/00000.png"):
        with Image.open(path) as image:
            large = image.resize((side, side), Image.Resampling.NEAREST)
        large.save(path)


def test_a_photo_in_the_range_is_shown_as_it_is_and_one_above_it_at_its_middle():
    inputs = Input(longest=(320, 640))
    assert [inputs.shown(side) for side in (40, 320, 500, 640, 641, 4000)] == [
        *(40, 320, 500, 640),
        *(480, 480),
    ]


def test_the_identity_tells_of_reduced_photos_and_of_no_others(photos, tmp_path):
    """Runs made before photos were reduced stay valid where no photo is."""

    def job() -> Job:
        return Job(Settings(), open_dataset(photos, Settings().data), RunFolder(tmp_path / "run"))

    inputs = Input(longest=(32, 64))
    assert job().longest_side(inputs, job().samples()) == {}
    enlarge(photos, 65)
    assert job().longest_side(inputs, job().samples()) == {"longest side": 48}
    assert job().longest_side(inputs, job().samples(), limit=64) == {}
    assert job().longest_side(inputs, job().samples(), limit=66) == {"longest side": 48}
    assert job().longest_side(Input(resize="squash", longest=(32, 64)), job().samples()) == {}


def test_maps_of_an_older_version_are_not_taken_for_those_of_reduced_photos(photos, tmp_path):
    enlarge(photos, 80)
    settings = load_settings(SMOKE, *CROP, "--input.size=32", "--method=cam")
    run(settings, photos, tmp_path / "run", last="cams")
    path = tmp_path / "run/04-cams/identity.json"
    identity = json.loads(path.read_text())
    assert identity.pop("longest side") == 48
    path.write_text(json.dumps(identity))
    with pytest.raises(InputError, match="made with longest side = nothing, not 48; use another"):
        run(settings, photos, tmp_path / "run", last="cams")


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        (Segment(longest=751), 1),
        (Segment(longest=750), 0),
        (Segment(longest=751, input=Input(resize="squash")), 0),
    ],
)
def test_a_segmentation_tested_above_its_training_is_reported(segment, said, caplog):
    with caplog.at_level(logging.WARNING):
        _check_sizes(replace(load_settings(SMOKE), segment=segment))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == said
    assert all("segment.input.longest: [250, 750]" in message for message in messages)
