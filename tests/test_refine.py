"""Refinement of one photo: CRF masks, confident labels, and maps that stop at edges."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from esol.data.transforms import reduced
from esol.maps.files import Maps
from esol.masks.crf import confident_labels, crf_masks
from esol.masks.refine import boundaries, similar_maps, spread_maps
from esol.masks.seeds import seed_mask
from esol.networks.affinity import AffinityNet
from esol.networks.backbone import Backbone
from esol.settings import BackboneSettings, Crf, Input, Refine, Similarity, Walk

CPU = torch.device("cpu")
SETTINGS = Refine(crf=Crf(iterations=5, bilateral_size=20, bilateral_colour=13), longest=0)


def scene(height: int = 48, width: int = 64) -> tuple[Image.Image, np.ndarray]:
    """A red object on green ground, and where it is."""
    inside = np.zeros((height, width), bool)
    inside[height // 4 : height // 4 * 3, width // 4 : width // 4 * 3] = True
    pixels = np.where(inside[..., None], (200, 40, 40), (40, 160, 60)).astype(np.uint8)
    return Image.fromarray(pixels), inside


def blob(
    size: tuple[int, int], classes: tuple[int, ...] = (2,), score: float = 0.9, sharp: float = 2.0
) -> Maps:
    """Maps of a round blob in the middle, smaller than the object; equal for all classes but for
    the first, which is the strongest.
    """
    h, w = -(-size[0] // 4), -(-size[1] // 4)
    y, x = np.mgrid[:h, :w]
    far = ((y - (h - 1) / 2) / h) ** 2 + ((x - (w - 1) / 2) / w) ** 2
    peak = score * np.exp(-sharp * 4 * far)
    maps = np.stack([peak * 0.8**i for i in range(len(classes))]).astype(np.float32)
    return Maps(np.asarray(classes, np.int64), maps, size)


def iou(mask: np.ndarray, inside: np.ndarray, value: int) -> float:
    return float(((mask == value) & inside).sum() / ((mask == value) | inside).sum())


def test_reduced_keeps_small_photos_and_proportions():
    photo, _ = scene()
    assert reduced(photo, 64) is photo
    assert reduced(photo, 0) is photo
    assert reduced(photo, 32).size == (32, 24)


def test_crf_pulls_the_mask_to_the_colours():
    photo, inside = scene()
    maps = blob((48, 64))
    before = np.where(maps.full()[0] > 0.3, 3, 0)
    (after,) = crf_masks(photo, maps, (0.3,), SETTINGS, CPU)
    assert after.shape == (48, 64)
    assert set(np.unique(after)) == {0, 3}
    assert iou(after, inside, 3) > max(0.95, iou(before, inside, 3) + 0.1)


def test_crf_without_iterations_is_the_seed():
    photo, _ = scene()
    maps = blob((48, 64), classes=(0, 4))
    (mask,) = crf_masks(photo, maps, (0.5,), Refine(crf=Crf(iterations=0)), CPU)
    assert np.array_equal(mask, seed_mask(maps.full(), maps.classes, 0.5))
    assert set(np.unique(mask)) == {0, 1}


def test_reduced_photos_give_masks_of_full_size():
    photo, inside = scene(480, 640)
    settings = replace(SETTINGS, longest=64)
    (mask,) = crf_masks(photo, blob((480, 640)), (0.3,), settings, CPU)
    assert mask.shape == (480, 640)
    assert iou(mask, inside, 3) > 0.9


def test_photos_without_a_tag_are_background():
    photo, _ = scene()
    none = Maps(np.zeros(0, np.int64), np.zeros((0, 12, 16), np.float32), (48, 64))
    assert not np.any(crf_masks(photo, none, (0.5, 0.2), SETTINGS, CPU))
    assert spread_maps(none, torch.zeros(12, 16), Walk()).shape == (0, 12, 16)


def test_maps_go_over_to_cells_alike():
    """Two halves of a photo that features tell apart: each class fills its own half."""

    class Halves:
        reads_features, backbone = True, None

        def of_features(self, features):
            left = torch.arange(24) % 6 < 3
            return (left[:, None] == left).float(), (4, 6)

    class Features:
        def features(self, backbone, view):
            return torch.zeros(1, 1, 4, 6)

    maps = np.zeros((2, 12, 18), np.float32)
    maps[0, :6, :6], maps[1, 6:9, 12:15] = 1.0, 0.5
    photo = Maps(np.array([1, 4]), maps, (48, 72))
    found = similar_maps(photo, Halves(), Features(), Similarity(steps=1))
    assert found.shape == maps.shape
    # Each is divided by its maximum, also the one that was weaker and smaller.
    assert found[:, 6, [0, 17]] == pytest.approx(np.eye(2))


def test_labels_between_the_thresholds_are_unsure():
    photo = Image.new("RGB", (64, 48), "grey")
    maps = blob((48, 64))
    masks = crf_masks(photo, maps, (0.6, 0.3), Refine(crf=Crf(iterations=0)), CPU)
    labels, score = confident_labels(*masks), maps.full()[0]
    assert np.array_equal(labels == 3, score > 0.6)
    assert np.array_equal(labels == 0, score <= 0.3)
    assert np.array_equal(labels == 255, (score > 0.3) & (score <= 0.6))


def test_labels_follow_the_crf():
    photo, inside = scene()
    masks = crf_masks(photo, blob((48, 64)), (0.4, 0.2), SETTINGS, CPU)
    assert iou(confident_labels(*masks), inside, 3) > 0.9


def test_seeds_of_one_photo_are_those_of_single_calls():
    photo, _ = scene(48, 64)
    maps, thresholds = blob((48, 64), classes=(0, 4)), (0.5, 0.2, 0.35)
    together = crf_masks(photo, maps, thresholds, SETTINGS, CPU)
    for mask, threshold in zip(together, thresholds, strict=True):
        (alone,) = crf_masks(photo, maps, (threshold,), SETTINGS, CPU)
        assert np.array_equal(mask, alone)
    assert len({mask.tobytes() for mask in together}) > 1


def test_a_walk_fills_what_edges_enclose():
    maps = blob((48, 64), sharp=20.0)
    edge = torch.full((12, 16), 0.0)
    edge[3, 3:13] = edge[8, 3:13] = edge[3:9, 3] = edge[3:9, 12] = 1.0
    result = spread_maps(maps, edge, Walk(radius=5, beta=10, steps=64))[0]
    assert result.max() == pytest.approx(1)
    assert result[4:8, 4:12].min() > 0.5
    outside = np.concatenate([result[:3].ravel(), result[9:].ravel()])
    assert outside.max() < 0.2
    still = spread_maps(maps, torch.zeros(12, 16), Walk(steps=0))
    assert still == pytest.approx(maps.maps / maps.maps.max(), abs=1e-6)


def test_boundaries_are_those_of_the_mirror_image_mirrored():
    torch.manual_seed(0)
    backbone = Backbone(
        BackboneSettings(name="test_resnet", weights="none", stride=8, learn=(), norm="frozen")
    )
    net = AffinityNet(backbone, displacement=False).eval()
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    photo = Image.fromarray(noise)
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    inputs = Input(size=64, resize="crop")
    edge, field = boundaries(net, photo, inputs, 0)
    assert field is None
    assert edge.shape == (12, 16)
    assert torch.allclose(edge, boundaries(net, mirrored, inputs, 0)[0].flip(1), atol=1e-6)
    assert boundaries(net, photo, Input(size=64, resize="squash"), 0)[0].shape == (16, 16)
    # Above the training's range, at its middle, 44; refine.longest comes first.
    small = replace(inputs, longest=(32, 56))
    assert boundaries(net, photo, small, 0)[0].shape == (9, 11)
    assert boundaries(net, photo, small, 60)[0].shape == (9, 11)
    assert boundaries(net, photo, small, 56)[0].shape == (11, 14)
