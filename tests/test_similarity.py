"""Affinities of cells by what a backbone knows, and maps spread by them."""

from itertools import product

import numpy as np
import pytest
import torch

from esol.networks.backbone import Backbone
from esol.networks.similarity import CellSimilarity
from esol.ops.affinity import attention_affinity, feature_affinity, in_boxes, nearness, spread
from esol.ops.grids import resize
from esol.settings import BackboneSettings, Similarity


def test_attention_is_balanced_in_columns_then_rows_and_made_symmetric():
    rng = np.random.default_rng(0)
    attention = rng.random((2, 3, 5, 5))
    expected = attention.mean((0, 1))
    for _ in range(3):
        for column in range(5):
            expected[:, column] /= expected[:, column].sum()
        for row in range(5):
            expected[row] /= expected[row].sum()
    expected = (expected + expected.T) / 2
    found = attention_affinity(torch.from_numpy(attention))
    assert np.allclose(found, expected, atol=1e-6)
    of_means = attention_affinity(torch.from_numpy(attention.mean(1)))
    assert torch.allclose(of_means, found, atol=1e-6)


def test_a_cell_that_all_others_look_at_does_not_get_more():
    """What registers were invented for: a few tokens that hold the whole photo's content."""
    attention = torch.full((1, 6, 6), 0.02)
    attention[:, :, 4] = 0.9
    assert torch.allclose(attention_affinity(attention).sum(0), torch.ones(6), atol=1e-3)


@pytest.mark.parametrize("common", [0.0, 0.5])
def test_features_are_compared_by_their_angles(common):
    rng = np.random.default_rng(0)
    fine, coarse = rng.standard_normal((7, 4, 6)), rng.standard_normal((3, 2, 3))
    levels = [torch.from_numpy(level).float() for level in (coarse, fine)]
    on_grid = [resize(level[None], (4, 6))[0].flatten(1).numpy() for level in levels]
    on_grid = [level - common * level.mean(axis=1, keepdims=True) for level in on_grid]
    expected = np.zeros((24, 24))
    for one, other in product(range(24), repeat=2):
        angles = []
        for level in on_grid:
            a, b = level[:, one], level[:, other]
            angles.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        expected[one, other] = max(np.mean(angles), 0) ** 3
    found = feature_affinity(levels, (4, 6), 3.0, common)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.allclose(found.diagonal(), 1, atol=1e-5)


def test_nearness_falls_with_the_distance():
    found = nearness((3, 4), 1.5)
    for one, other in product(range(12), repeat=2):
        distance = np.hypot(one // 4 - other // 4, one % 4 - other % 4)
        expected = np.exp(-(distance**2) / (2 * 1.5**2))
        assert found[one, other] == pytest.approx(expected, abs=1e-6)


def test_boxes_enclose_what_stands_out():
    maps = torch.full((2, 5, 7), 0.1)
    maps[0, 0, 1] = maps[0, 1, 2] = 1.0  # diagonal neighbours are one part
    maps[0, 4, 6] = 0.5
    maps[1, 2, 2] = 0.2  # the maximum of its map, all of which exceeds 0.4 of it
    boxes = torch.zeros_like(maps, dtype=torch.bool)
    boxes[0, 0:2, 1:3] = boxes[1, 2, 2] = True
    assert torch.equal(in_boxes(maps, 0.6), maps * boxes)
    boxes[0, 4, 6] = boxes[1] = True
    assert torch.equal(in_boxes(maps, 0.4), maps * boxes)


def test_spreading_takes_means_weighted_by_affinities():
    rng = np.random.default_rng(0)
    maps, affinity = rng.random((2, 3, 4)), rng.random((12, 12))
    expected = maps.reshape(2, 12)
    for _ in range(3):
        expected = np.stack([[(row @ one) / row.sum() for row in affinity] for one in expected])
    found = spread(torch.from_numpy(maps), torch.from_numpy(affinity), 3)
    assert np.allclose(found, expected.reshape(2, 3, 4))
    assert torch.equal(
        spread(torch.from_numpy(maps), torch.eye(12).double(), 2), torch.from_numpy(maps)
    )
    flat = torch.full((1, 3, 4), 0.3).double()
    assert torch.allclose(spread(flat, torch.from_numpy(affinity), 5), flat)


def test_more_levels_are_those_before_the_features_that_the_head_reads():
    settings = BackboneSettings(name="mobilenetv2_100", weights="none", learn=(), power=0.5)
    network = Backbone(settings).eval()
    photo = torch.randn(3, 64, 96)
    found, size = CellSimilarity(network, Similarity(levels=2)).of_photo(photo)
    with torch.no_grad():
        levels = [network.stages(photo[None])[-2][0], network(photo[None])[0]]
    assert size == (4, 6)
    assert torch.allclose(found, feature_affinity(levels, size))
