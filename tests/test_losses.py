"""Losses against loops over pixels and classes."""

import math

import pytest
import torch
from torch import nn

from esol.data.batch import Batch
from esol.method.classifier import Classifier, Head, ranked_mean
from esol.method.expansion import Expansion
from esol.method.localizer import Localizer
from esol.method.losses import (
    area_loss,
    classification_loss,
    classify_losses,
    expand_losses,
    shrink_losses,
)
from esol.method.shrinkage import Shrinkage
from esol.settings import Expand, HeadSettings, Shrink
from esol.training.fit import all_divided


def random_maps() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    tags = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    return maps, tags


def test_classification_loss_is_the_mean_of_logistic_losses():
    maps, tags = random_maps()
    total = 0.0
    for n in range(3):
        for k in range(4):
            score = sum(maps[n, k].flatten().tolist()) / 30
            total += math.log1p(math.exp(-score if tags[n, k] else score))
    assert classification_loss(maps.mean((2, 3)), tags).item() == pytest.approx(total / 12)


@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_cells_count_by_their_rank(decay):
    maps, _ = random_maps()
    found = ranked_mean(maps, decay)
    weights = [decay**rank for rank in range(30)]
    for n in range(3):
        for k in range(4):
            ranked = sorted(maps[n, k].flatten().tolist(), reverse=True)
            total = sum(weight * cell for weight, cell in zip(weights, ranked, strict=True))
            assert found[n, k].item() == pytest.approx(total / sum(weights))


def test_all_cells_count_alike_without_a_decay():
    maps, _ = random_maps()
    assert torch.equal(ranked_mean(maps, 1.0), maps.mean((2, 3)))


def test_area_loss_counts_tagged_classes_only():
    maps, tags = random_maps()
    areas = []
    for n, k in tags.nonzero().tolist():
        positive = maps[n, k].clamp_min(0)
        areas.append((positive / positive.max()).mean().item())
    assert area_loss(maps, tags).value().item() == pytest.approx(sum(areas) / 3)
    assert area_loss(-maps.abs(), tags).value().item() == 0
    assert area_loss(maps, tags * 0).value().item() == 0


def test_area_loss_cannot_be_lowered_by_raising_the_peak():
    maps, tags = random_maps()
    maps.requires_grad_()
    area_loss(maps, tags).value().backward()
    assert (maps.grad >= 0).all()
    assert maps.grad.max() > 0


def localizer() -> tuple[Localizer, Batch]:
    torch.manual_seed(0)
    head = Head(4, 3, HeadSettings(width=5, kernel=1))
    nn.init.normal_(head.v.weight)
    expansion = Expansion(head.w1.weight, Expand(clip=0.5, learn="w1"))
    shrinkage = Shrinkage(head.w2.weight, head.v.weight, Shrink(learn="v"))
    model = Localizer(Classifier(nn.Identity(), head), expansion, shrinkage)
    return model, Batch(torch.rand(2, 4, 5, 5), torch.eye(3)[:2], ("a", "b"), cached=True)


def test_every_stage_pools_as_the_head_says():
    model, batch = localizer()
    head = model.classifier.head
    head.decay = 0.5
    maps = {kind: ranked_mean(of_kind, 0.5) for kind, of_kind in model.maps(batch.inputs).items()}
    expected = {kind: classification_loss(scores, batch.tags) for kind, scores in maps.items()}
    found = {
        "cam": classify_losses(model.classifier, batch)["loss"],
        "expansion": expand_losses(model, batch, alpha=1.0, objective="minimise")["loss"],
        "shrinkage": shrink_losses(model, batch, area=0.0)["classification"],
    }
    assert {kind: loss.item() for kind, loss in found.items()} == pytest.approx(
        {kind: loss.item() for kind, loss in expected.items()}
    )


def test_expansion_maximises_by_alpha():
    model, batch = localizer()
    maximised = expand_losses(model, batch, alpha=0.01, objective="maximise")
    minimised = expand_losses(model, batch, alpha=0.02, objective="minimise")
    assert maximised["loss"].item() == pytest.approx(-0.01 * maximised["classification"].item())
    assert minimised["loss"].item() == pytest.approx(0.02 * maximised["classification"].item())


def test_shrinkage_adds_area_and_leaves_expansion_alone():
    model, batch = localizer()
    losses = all_divided(shrink_losses(model, batch, area=2.0))
    expected = losses["classification"] + 2 * losses["area"]
    assert losses["loss"].item() == pytest.approx(expected.item())
    losses["loss"].backward()
    assert model.expansion.w1.grad is None
    assert model.shrinkage.v.grad is not None
