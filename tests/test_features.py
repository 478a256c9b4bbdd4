"""Feature cache: same features as the backbone, computed once, found again."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import esol.training.features as features
from esol.data.images import load_image
from esol.data.normalisation import IMAGENET
from esol.data.sample import Sample
from esol.data.synthetic import write_synthetic
from esol.data.transforms import squash, to_tensor
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.networks.backbone import Backbone
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings, Classify, Input, Machine, Settings
from esol.settings.load import load_settings
from esol.stages import run
from esol.training.features import FeatureCache, cache_folder, compute_features

SMOKE = Path(__file__).parent / "smoke.yaml"

SETTINGS = Settings(
    input=Input(size=64, resize="squash"),
    backbone=BackboneSettings(name="test_resnet", weights="none", stride=8, learn=(), cache=True),
)


@pytest.fixture
def samples(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(path)
    return tuple(Sample(path.stem, path, (0,)) for path in paths)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return Backbone(
        BackboneSettings(name="test_resnet", weights="none", stride=8, learn=(), norm="frozen")
    ).eval()


def test_cache_holds_the_backbones_features(samples, backbone, tmp_path):
    cache = compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    for sample in samples:
        tensor = to_tensor(squash(load_image(sample.image), 64), IMAGENET)[None]
        for mirrored in (False, True):
            expected = backbone(tensor.flip(3) if mirrored else tensor)[0]
            found = cache.read(sample, mirrored)
            assert found.dtype == torch.float16
            torch.testing.assert_close(found.float(), expected, rtol=2e-3, atol=1e-3)


def test_only_missing_and_changed_photos_are_computed(samples, backbone, tmp_path, seen):
    compute_features(backbone, samples[:2], SETTINGS, tmp_path / "run")
    compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    assert seen == ["0", "1", "2"]
    Image.new("RGB", (30, 30)).save(samples[1].image)
    compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    assert seen == ["0", "1", "2", "1"]


def stored(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.rglob("*.npy")}


def test_a_copied_or_renamed_photo_is_known(samples, backbone, tmp_path, seen):
    compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    copies = []
    for sample in samples:
        copy = tmp_path / "copy" / f"new-{sample.name}.png"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(sample.image, copy)
        os.utime(copy, ns=(0, 0))
        copies.append(Sample(copy.stem, copy, (0,)))
    found = compute_features(backbone, tuple(copies), SETTINGS, tmp_path / "run")
    assert seen == ["0", "1", "2"]
    assert found.path(copies[1]) == found.path(samples[1]) != found.path(samples[0])


def test_an_edited_photo_of_equal_size_is_computed_anew(samples, backbone, tmp_path, seen):
    photo = samples[1].image
    for colour in ("red", "blue"):
        Image.new("RGB", (50, 40), colour).save(photo, compress_level=0)
        size = photo.stat().st_size
        found = compute_features(backbone, samples, SETTINGS, tmp_path / "run")
        tensor = to_tensor(squash(load_image(photo), 64), IMAGENET)[None]
        expected = backbone(tensor)[0]
        torch.testing.assert_close(
            found.read(samples[1], False).float(), expected, rtol=2e-3, atol=1e-3
        )
    assert photo.stat().st_size == size
    assert seen == ["0", "1", "2", "1"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("former", [False, True], ids=["this version's", "version 0.1.0's"])
def test_features_of_the_earlier_run_are_taken_over(
    samples, backbone, tmp_path, seen, monkeypatch, former, links
):
    def refused(*_):
        raise OSError("this file system has no links")

    if not links:
        monkeypatch.setattr(features.os, "link", refused)
    made = compute_features(backbone, samples[:2], SETTINGS, tmp_path / "earlier")
    if former:
        for sample in samples[:2]:
            made.path(sample).rename(made.folder / features._former_name(sample))
    before = stored(tmp_path / "earlier")
    later = replace(SETTINGS, classify=Classify(init=str(tmp_path / "earlier")))
    compute_features(backbone, samples, later, tmp_path / "run")
    assert seen == ["0", "1", "2"]
    assert stored(tmp_path / "earlier") == before
    shutil.rmtree(tmp_path / "earlier")
    compute_features(backbone, samples, later, tmp_path / "run")
    assert seen == ["0", "1", "2"]
    compute_features(backbone, samples, SETTINGS, tmp_path / "alone")
    assert stored(tmp_path / "run") == stored(tmp_path / "alone")


def test_a_cache_of_an_earlier_version_stays_valid(samples, backbone, tmp_path, seen):
    made = compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    for sample in samples:
        made.path(sample).rename(made.folder / features._former_name(sample))
    compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    assert seen == ["0", "1", "2"]


def test_same_bytes_whatever_was_there_before(samples, backbone, tmp_path):
    whole = compute_features(backbone, samples, SETTINGS, tmp_path / "whole")
    parts = FeatureCache(cache_folder(SETTINGS, tmp_path / "parts"))
    # One in the middle, then one before it, then all: as photos are added to a folder.
    for some in ((samples[1],), samples[:2], samples):
        compute_features(backbone, some, SETTINGS, tmp_path / "parts")
    for sample in samples:
        assert whole.path(sample).read_bytes() == parts.path(sample).read_bytes()


def test_killed_in_between_leaves_whole_files_that_are_used(
    samples, backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "BATCH", 1)
    saved, real = [], np.save

    def killed(path, *arguments, **options):
        saved.append(path)
        if len(saved) == 2:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        real(path, *arguments, **options)

    monkeypatch.setattr(features.np, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    cache = FeatureCache(cache_folder(SETTINGS, tmp_path / "run"))
    assert [cache.path(sample).exists() for sample in samples] == [True, False, False]
    compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    assert len(saved) == 4
    whole = compute_features(backbone, samples, SETTINGS, tmp_path / "whole")
    for sample in samples:
        assert whole.path(sample).read_bytes() == cache.path(sample).read_bytes()


def test_unreadable_cache_file_is_named(samples, backbone, tmp_path):
    cache = compute_features(backbone, samples, SETTINGS, tmp_path)
    cache.path(samples[0]).write_bytes(b"cut")
    with pytest.raises(InputError, match="delete it and run again"):
        cache.read(samples[0], False)


def test_random_weights_of_another_seed_are_other_features(tmp_path):
    assert cache_folder(SETTINGS, tmp_path) != cache_folder(replace(SETTINGS, seed=1), tmp_path)


def test_other_weights_or_size_use_another_folder(tmp_path):
    other_size = replace(SETTINGS, input=Input(size=96, resize="squash"))
    elsewhere = replace(SETTINGS, machine=Machine(cache=str(tmp_path / "shared")))
    mine = cache_folder(SETTINGS, tmp_path)
    assert mine != cache_folder(other_size, tmp_path)
    assert cache_folder(elsewhere, tmp_path) == tmp_path / "shared" / mine.name


def test_full_disk_is_told_before_the_work(samples, backbone, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match=r"needs .* GiB.*machine\.cache"):
        compute_features(backbone, samples, SETTINGS, tmp_path / "run")


def test_inputs_flip_half_of_the_time(samples, backbone, tmp_path):
    cache = compute_features(backbone, samples, SETTINGS, tmp_path / "run")
    batches = cache.inputs(samples, 1, flip=True).batches(10, seed=0, start=0, stop=10, workers=0)
    plain = mirrored = 0
    for batch in batches:
        assert batch.cached
        for name, row in zip(batch.names, batch.inputs, strict=True):
            sample = samples[int(name)]
            plain += torch.equal(row, cache.read(sample, False))
            mirrored += torch.equal(row, cache.read(sample, True))
    assert plain + mirrored == 100
    assert 30 < mirrored < 70


def test_a_backbone_that_learned_is_cached_from_then_on(tmp_path):
    """Expand, shrink and maps from cached features: as from photos, but for float16's rounding."""
    write_synthetic(tmp_path / "photos", photos=12, size=64, seed=0, val_fraction=0.25, hard=True)
    # SGD, as AdamW's first steps follow a gradient's sign, which rounding decides near 0.
    flags = (
        "--input.flip=false",
        "--shrink.fit.optimizer=sgd",
        "--refine.methods=[]",
        "--masks.source=seeds",
    )
    runs = {}
    for cached in ("false", "true"):
        chosen = load_settings(str(SMOKE), *flags, f"--backbone.cache={cached}")
        runs[cached] = run(chosen, tmp_path / "photos", tmp_path / cached, last="cams")
    plain, cached = runs["false"], runs["true"]
    assert not (plain / "cache").exists()
    assert len(list((cached / "cache").rglob("*.npy"))) == 12
    weights = {"classify": "classifier", "expand": "expansion", "shrink": "shrinkage"}
    for stage, name in weights.items():
        ours = load_file(RunFolder(cached).stage(stage) / f"{name}.safetensors")
        theirs = load_file(RunFolder(plain).stage(stage) / f"{name}.safetensors")
        for key, value in ours.items():
            if stage == "classify":
                assert torch.equal(value, theirs[key])
            else:
                torch.testing.assert_close(value, theirs[key], atol=2e-3, rtol=0)
    for path in (RunFolder(plain).stage("cams") / "expansion").iterdir():
        found = load_maps(RunFolder(cached).stage("cams") / "expansion" / path.name)
        assert np.abs(found.maps - load_maps(path).maps).mean() < 0.01
    # Another classifier, another cache.
    other = load_settings(str(SMOKE), *flags, "--backbone.cache=true", "--seed=1")
    run(other, tmp_path / "photos", cached, last="expand", overwrite=True)
    assert len(list((cached / "cache").iterdir())) == 2
