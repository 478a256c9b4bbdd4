"""LPCAM: clusters, prototypes and maps against loops; its stage against one photo at a time."""

import logging
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from esol.data import open_dataset
from esol.data.images import load_image
from esol.data.synthetic import write_synthetic
from esol.data.transforms import squash, to_tensor
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.method.classifier import Classifier, Head
from esol.networks.backbone import Backbone
from esol.networks.weights import save_tensors
from esol.peers.kmeans import clusters_of
from esol.peers.lpcam import (
    PrototypeClassifier,
    Prototypes,
    centres,
    chosen,
    load_prototypes,
    save_prototypes,
)
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings, HeadSettings, Settings
from esol.settings.load import load_settings
from esol.stages import run

SMOKE = Path(__file__).parents[1] / "smoke.yaml"
CLASSES, CHANNELS = 3, 7


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths else 0.0


def in_some_order(found: torch.Tensor, expected: list[np.ndarray]) -> None:
    """Rows are those expected, in any order."""
    assert len(found) == len(expected)
    ours, theirs = (sorted(map(tuple, np.round(x, 5))) for x in (found.numpy(), expected))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_centres_are_means_of_the_best_partition_of_directions():
    generator = np.random.default_rng(0)
    axes = np.eye(3)[np.array([0, 0, 0, 1, 1, 1, 2, 2])] + generator.uniform(0, 0.3, (8, 3))
    vectors = (unit(axes) * generator.uniform(0.1, 9, (8, 1))).astype(np.float32)

    def scatter(labels: tuple[int, ...]) -> float:
        groups = [unit(vectors)[np.array(labels) == label] for label in set(labels)]
        return sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups)

    best = np.array(min(product(range(3), repeat=8), key=scatter))
    expected = [vectors[best == label].mean(axis=0) for label in range(3)]
    in_some_order(centres(torch.tensor(vectors), 3, seed=0), expected)


def test_few_places_give_few_centres_and_those_without_direction_none():
    assert centres(torch.empty(0, 4), 12, seed=0).shape == (0, 4)
    assert centres(torch.zeros(7, 4), 12, seed=0).shape == (0, 4)
    vectors = torch.tensor([[0.0, 0], [1, 0], [3, 0], [0, 2], [0, 0]])
    in_some_order(centres(vectors, 12, seed=0), [np.array([2.0, 0]), np.array([0.0, 2])])


def test_centres_repeat_and_leave_random_states_alone():
    vectors = torch.rand(200, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    np.random.seed(0)
    first = centres(vectors, 5, seed=3)
    drawn = torch.rand(1), np.random.rand()
    assert torch.equal(first, centres(vectors, 5, seed=3))
    torch.manual_seed(0)
    np.random.seed(0)
    assert drawn == (torch.rand(1), np.random.rand())


def some_head(kernel: int, seed: int = 0) -> Head:
    torch.manual_seed(seed)
    head = Head(CHANNELS, CLASSES, HeadSettings(width=5, kernel=kernel))
    torch.nn.init.normal_(head.v.weight)
    return head


@pytest.mark.parametrize("k", range(CLASSES))
@pytest.mark.parametrize("kernel", [1, 3])
def test_prototypes_are_chosen_by_the_classifiers_probability(kernel, k):
    head, generator = some_head(kernel, k), np.random.default_rng(k)
    own, context = generator.normal(size=(2, 60, CHANNELS)).astype(np.float32)
    # Where all cells are equal, only the sums over a kernel's places count.
    w1, w2, v = (w.weight.detach().sum(dim=(2, 3)).numpy() for w in (head.w1, head.w2, head.v))

    def probability(vector: np.ndarray) -> float:
        exponents = np.exp(v @ np.maximum(w2 @ np.maximum(w1 @ vector, 0), 0))
        return float(exponents[k] / exponents.sum())

    tensors = torch.tensor(own), torch.tensor(context)
    high = sorted(map(probability, own))[40]
    low, below = sorted(map(probability, context))[10:50:39]
    found = chosen(*tensors, head, k, high + 1e-4, (low - 1e-4, below + 1e-4))
    np.testing.assert_array_equal(found.own, [x for x in own if probability(x) > high + 1e-4])
    between = [x for x in context if low - 1e-4 < probability(x) < below + 1e-4]
    np.testing.assert_array_equal(found.context, between)
    assert 0 < len(found.own) < 60
    assert 0 < len(found.context) < 60
    surest = max(own, key=probability)
    none = chosen(*tensors, head, k, 1 - 1e-9, (0.05, 0.5))
    assert any(np.array_equal(surest, x) for x in none.own)


def test_without_centres_there_are_no_prototypes():
    empty = torch.empty(0, CHANNELS)
    found = chosen(empty, empty, some_head(3), 0, 0.9, (0.05, 0.9))
    assert [len(part) for part in found] == [0, 0]


def some_prototypes() -> list[Prototypes]:
    generator = torch.Generator().manual_seed(1)
    counts = ((3, 2), (1, 0), (0, 4))
    return [
        Prototypes(*(torch.rand(n, CHANNELS, generator=generator) for n in two)) for two in counts
    ]


def test_maps_are_mean_cosines_with_prototypes_less_those_with_the_context():
    backbone = Backbone(BackboneSettings(name="test_resnet", weights="none", stride=8))
    prototypes = some_prototypes()
    network = PrototypeClassifier(Classifier(backbone, some_head(3)), prototypes)
    features = torch.randn(2, CHANNELS, 3, 4, generator=torch.Generator().manual_seed(0))
    features[0, :, 1, 2] = 0
    maps = network.maps(features)["lpcam"]
    assert maps.shape == (2, CLASSES, 3, 4)
    for n, k, y, x in product(range(2), range(CLASSES), range(3), range(4)):
        own, context = (
            [cosine(features[n, :, y, x].numpy(), p) for p in part.numpy()]
            for part in prototypes[k]
        )
        expected = np.mean(own) - np.mean(context or [0]) if own else 0
        assert maps[n, k, y, x] == pytest.approx(expected, abs=1e-5), (n, k, y, x)
    assert not maps[:, 2].any(), "no prototypes, no map"
    assert not maps[0, :, 1, 2].any(), "no direction"


def test_prototypes_read_back_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "lpcam.safetensors"
    save_prototypes(path, some_prototypes())
    for one, other in zip(load_prototypes(path, CLASSES), some_prototypes(), strict=True):
        assert torch.equal(one.own, other.own)
        assert torch.equal(one.context, other.context)
    with pytest.raises(InputError, match=r"lpcam\.safetensors cannot be loaded .*run its stage"):
        load_prototypes(path, CLASSES + 1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"lpcam\.safetensors cannot be loaded"):
        load_prototypes(path, CLASSES)
    with pytest.raises(InputError, match=r"nothing\.safetensors cannot be loaded"):
        load_prototypes(tmp_path / "nothing.safetensors", CLASSES)


@pytest.mark.parametrize("low_high", ["[0.9,0.1]", "[0.1,1.5]", "[0.5]"])
def test_a_wrong_range_is_refused(low_high):
    with pytest.raises(InputError, match=r"lpcam\.background"):
        load_settings(str(SMOKE), "--method=lpcam", f"--lpcam.background={low_high}")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    write_synthetic(root, photos=24, size=64, seed=0, val_fraction=0.25, hard=True)
    return root


def settings(*flags: str) -> Settings:
    given = ("--method=lpcam", "--lpcam.clusters=3", "--lpcam.photos=4", "--refine.methods=[]")
    return load_settings(str(SMOKE), *given, "--masks.source=seeds", *flags)


def places(chosen_settings: Settings, folder: RunFolder, k: int, photos: Path) -> list[np.ndarray]:
    """Features of the drawn photos above and below the threshold, one photo at a time."""
    classifier = Classifier.trained(chosen_settings, 6, folder.weights("classify"))
    own, context = [], []
    samples = open_dataset(photos, chosen_settings.data).samples("train")
    tagged = [sample for sample in samples if k in sample.tags]
    drawn = np.random.default_rng((0, k)).permutation(len(tagged))[:4]
    for sample in (tagged[row] for row in sorted(drawn)):
        image = to_tensor(squash(load_image(sample.image), 64), classifier.backbone.normalisation)
        with torch.no_grad():
            features = classifier.backbone(image[None])[0].numpy()
        path = folder.stage("peer") / "maps" / chosen_settings.lpcam.maps / f"{sample.name}.npz"
        stored = load_maps(path)
        scores = stored.maps[list(stored.classes).index(k)]
        for y, x in product(range(features.shape[1]), range(features.shape[2])):
            row, column = (
                int((i + 0.5) * n / m)
                for i, n, m in zip((y, x), scores.shape, features.shape[1:], strict=True)
            )
            if scores[row, column] != chosen_settings.lpcam.threshold:
                high = scores[row, column] > chosen_settings.lpcam.threshold
                (own if high else context).append(features[:, y, x])
    return [
        np.array(part, np.float32).reshape(-1, classifier.backbone.channels)
        for part in (own, context)
    ]


def centres_by_hand(part: np.ndarray) -> torch.Tensor:
    part = part[part.any(axis=1)]
    if not len(part):
        return torch.from_numpy(part)
    labels = clusters_of(torch.tensor(unit(part)), 3, seed=0, starts=1, iterations=300).numpy()
    means = [part[labels == label].mean(axis=0) for label in range(3) if (labels == label).any()]
    return torch.tensor(np.array(means))


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--lpcam.maps=expansion",),
        ("--lpcam.maps=shrinkage", "--backbone.learn=[]", "--backbone.norm=frozen"),
    ],
)
def test_the_stage_clusters_places_of_some_photos_of_each_class(flags, photos, tmp_path):
    chosen_settings = settings("--lpcam.threshold=0.3", *flags)
    folder = RunFolder(run(chosen_settings, photos, tmp_path / "run", last="peer"))
    learned = {"cam": 1, "expansion": 2, "shrinkage": 3}[chosen_settings.lpcam.maps]
    stages = ("classify", "expand", "shrink")
    assert tuple(folder.manifest("peer")["identity"]["after"]) == stages[:learned]
    assert not any(folder.stage(stage).exists() for stage in stages[learned:])
    stored = load_file(folder.weights("peer", "lpcam"))
    assert not (folder.stage("peer") / "parts").exists()
    head = Classifier.trained(chosen_settings, 6, folder.weights("classify")).head
    kept = 0
    for k in range(6):
        found = [centres_by_hand(part) for part in places(chosen_settings, folder, k, photos)]
        expected = chosen(*found, head, k, 0.9, (0.05, 0.9))
        for name, rows in expected._asdict().items():
            torch.testing.assert_close(stored[f"{k}.{name}"], rows, rtol=1e-4, atol=1e-5)
            kept += len(rows)
    assert kept > 12
    results = folder.manifest("peer")["results"]
    assert results["prototypes"] + results["context prototypes"] == kept


def test_half_a_stage_is_finished_to_the_same_prototypes(photos, tmp_path, monkeypatch):
    whole = run(settings(), photos, tmp_path / "whole", last="cams")
    half, done = tmp_path / "half", []

    def stops(path: Path, *more: object) -> None:
        if path.parent.name == "parts" and len(done) == 3:
            raise KeyboardInterrupt
        done.append(path)
        save_tensors(path, *more)

    monkeypatch.setattr("esol.stages.prototypes.save_tensors", stops)
    with pytest.raises(KeyboardInterrupt):
        run(settings(), photos, half, last="cams")
    monkeypatch.undo()
    stage = RunFolder(half).stage("peer")
    assert {path.name for path in (stage / "parts").iterdir()} == {
        f"{k}.safetensors" for k in range(3)
    }
    for path in list((stage / "maps" / "cam").glob("*1.npz")):
        path.unlink()
    run(settings(), photos, half, last="cams")
    assert not (stage / "parts").exists()
    assert made(half) == made(whole)
    prototypes = RunFolder(half).weights("peer", "lpcam")
    before = prototypes.stat().st_mtime_ns
    (stage / "parts").mkdir()
    (stage / "manifest.json").unlink()
    run(settings(), photos, half, last="cams")
    assert prototypes.stat().st_mtime_ns == before, "clustered once"
    assert made(half) == made(whole)


def made(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for kind in ("*.safetensors", "*.npz")
        for path in folder.rglob(kind)
    }


def test_tokens_have_prototypes_too(photos, tmp_path):
    flags = ("--backbone.name=test_vit", "--backbone.stride=auto", "--backbone.learn=[]")
    folder = RunFolder(run(settings(*flags), photos, tmp_path / "run", last="cams"))
    maps = [load_maps(path).maps for path in (folder.stage("cams") / "lpcam").rglob("*.npz")]
    assert len(maps) == 24
    assert sum(part.max() == 1 for part in maps if len(part)) > 5


def test_classes_without_prototypes_are_named(photos, tmp_path, caplog):
    """Maps are 1 at one cell of their own grid, which need not be the centre of a place."""
    caplog.set_level(logging.INFO, "esol")
    flags = ("--lpcam.threshold=0.999", "--classify.fit.epochs=1")
    folder = RunFolder(run(settings(*flags), photos, tmp_path / "run", last="cams"))
    stored = load_file(folder.weights("peer", "lpcam"))
    names = open_dataset(photos, settings().data).classes
    empty = [name for k, name in enumerate(names) if not len(stored[f"{k}.own"])]
    assert empty
    assert (
        f"no photo of {', '.join(empty)} has a place above lpcam.threshold = 0.999" in caplog.text
    )
    (few,) = re.findall("fewer places than that: (.*)", caplog.text)
    assert {f"{name} 0" for name in empty} <= set(few.split(", "))
    for k, name in enumerate(names):
        maps = folder.stage("cams") / "lpcam"
        found = [load_maps(path) for path in maps.rglob("*.npz")]
        of_class = [m.maps[list(m.classes).index(k)] for m in found if k in m.classes]
        assert any(m.any() for m in of_class) == (name not in empty)
