"""Configurations that come with the package: complete where they say so, and they train."""

import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import esol
from esol.maps.files import load_maps
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings import Settings
from esol.settings.load import config_folder, dump_settings, load_settings

STUDIES = Path(__file__).parents[1] / "studies"
CONFIGS = sorted(config_folder().rglob("*.yaml"))
COMPLETE = ("voc12", "coco14")
GROUPS = (
    *("data", "input", "backbone", "head", "classify", "expand", "shrink", "cams", "seeds"),
    *("lpcam", "refine", "masks", "segment"),
)

# Sizes are smaller than the configurations', for time alone: at 512 pixels and four scales two
# photos take minutes of a CPU. Networks, optimisers, losses and settings are the real ones.
SMALL = (
    *("--backbone.weights=none", "--segment.weights=none", "--data.limit=2"),
    *("--input.size=128", "--input.longest=[96,160]", "--cams.scales=[0.25,0.5]"),
    *("--refine.affinity.input.size=128", "--refine.affinity.input.longest=[96,160]"),
    *("--segment.input.size=65", "--segment.input.longest=[64,96]", "--segment.longest=96"),
    *(f"--{stage}.fit.steps=2" for stage in ("classify", "expand", "shrink", "segment")),
    *(f"--{stage}.fit.batch=2" for stage in ("classify", "expand", "shrink", "segment")),
    *("--refine.affinity.fit.steps=2", "--refine.affinity.fit.batch=2"),
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_reads_back_from_its_full_form(path, tmp_path):
    settings = load_settings(str(path))
    full = tmp_path / "full.yaml"
    full.write_text(dump_settings(settings))
    assert load_settings(str(full)) == settings


@pytest.mark.parametrize("name", COMPLETE)
def test_published_recipes_leave_nothing_to_the_defaults(name):
    """Nothing changes in them when a default does."""
    given = yaml.safe_load((config_folder() / f"{name}.yaml").read_text())
    known = asdict(Settings())
    for group in GROUPS:
        assert leaves(given[group]) == leaves(known[group]), group


def leaves(group: dict[str, Any], prefix: str = "") -> set[str]:
    found = set()
    for key, value in group.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found.add(prefix + key)
    return found


@pytest.mark.parametrize("name", COMPLETE)
def test_samplers_learn_as_they_were_measured_to(name):
    measured, chosen = load_settings("voc-animals-cpu"), load_settings(name)
    assert chosen.expand == measured.expand
    assert chosen.shrink == measured.shrink


def test_the_recipe_for_transformers_is_the_measured_one():
    """studies/networks.py measures it with weights that are at hand."""
    spec = importlib.util.spec_from_file_location("networks_study", STUDIES / "networks.py")
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    _, _, flags = study.NETWORKS["vit"]
    measured = load_settings(study.CONFIG, *(f"--{flag}" for flag in flags))
    chosen = load_settings("tags-folder-vit")
    assert chosen.refine.similarity == measured.refine.similarity
    assert chosen.backbone.stride == measured.backbone.stride
    assert asdict(chosen.input) == asdict(measured.input)
    for group in ("head", "classify", "cams"):
        of_group = getattr(measured, group)
        if group == "classify":  # where steps are given, epochs say nothing
            of_group = replace(
                of_group, fit=replace(of_group.fit, epochs=chosen.classify.fit.epochs)
            )
        of_group = replace(of_group, lists=()) if group == "cams" else of_group
        assert getattr(chosen, group) == of_group, group


@pytest.mark.parametrize(
    ("name", "data", "flags", "classes"),
    [
        (
            "voc12",
            "voc-animals",
            # The photos at hand have augmented masks only.
            ["--data.masks=SegmentationClassAug", "--data.evaluate=[train_aug]"],
            20,
        ),
        ("coco14", "tiny-coco", ["--data.train=train2017", "--data.evaluate=[train2017]"], 80),
    ],
)
def test_every_network_of_the_papers_setting_trains(name, data, flags, classes, shared, tmp_path):
    root = shared / "data" / data
    if not root.is_dir():
        pytest.skip(f"no photos at {root}")
    before = load_settings(name)
    assert before.segment.weights == before.backbone.weights == "imagenet"
    out = esol.run(load_settings(name, *SMALL, *flags), root, tmp_path / "run")
    stages = [stage for stage in STAGES if RunFolder(out).is_finished(stage)]
    assert stages[-1] == "evaluate"
    for stage in ("classify", "expand", "shrink", "refine", "segment"):
        assert RunFolder(out).manifest(stage)["results"]["steps"] == 2, stage
        lines = (RunFolder(out).stage(stage) / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == 2, stage
        assert all(np.isfinite(value) for line in lines for value in json.loads(line).values())
    for kind in ("cam", "expansion", "shrinkage"):
        files = list((RunFolder(out).stage("cams") / kind).rglob("*.npz"))
        assert len(files) == 2, kind
        assert all(np.isfinite(load_maps(path).maps).all() for path in files), kind
    model = esol.load(out, "cpu")
    assert len(model.classes) == classes
    assert sum(p.numel() for p in model.segmenter.parameters()) > 58e6
    photo = next((root / ("JPEGImages" if name == "voc12" else "train2017")).iterdir())
    found = model.predict(photo, crf=False)
    assert found.scores.shape[0] == classes + 1
    assert np.isfinite(found.scores).all()
