"""EPS: the estimated saliency against loops over photos, classes and cells."""

import numpy as np
import pytest
import torch
from descent import losses_of_steps
from torch import nn

from esol.data.batch import Batch
from esol.method.classifier import Head, ranked_mean
from esol.method.losses import classification_loss
from esol.networks.backbone import Backbone
from esol.peers.eps import SaliencyClassifier, eps_losses, saliency_estimate
from esol.settings import BackboneSettings, HeadSettings

CLASSES = 3


def network(learn: tuple[str, ...] = ("*",)) -> SaliencyClassifier:
    torch.manual_seed(0)
    backbone = Backbone(
        BackboneSettings(name="test_resnet", weights="none", stride=8, learn=learn, norm="frozen")
    )
    return SaliencyClassifier(
        backbone, Head(backbone.channels, CLASSES + 1, HeadSettings(width=5, kernel=1))
    )


def some_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 40, generator=generator)
    saliency = (torch.rand(2, 1, 32, 40, generator=generator) > 0.5).float()
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    return Batch(images, tags, ("a", "b"), cached=False, targets=saliency)


def by_loops(probabilities, tags, saliency, tau: float, lam: float) -> np.ndarray:
    n, channels, h, w = probabilities.shape
    result = np.zeros((n, 1, h, w))
    cells = [(y, x) for y in range(h) for x in range(w)]
    for i in range(n):
        valid = []
        for k in range(channels - 1):
            area = [(y, x) for y, x in cells if round(probabilities[i, k, y, x].item())]
            inside = [(y, x) for y, x in area if round(saliency[i, 0, y, x].item())]
            valid.append(bool(area) and len(inside) / len(area) > tau)
        for y, x in cells:
            foreground, background = 0.0, probabilities[i, -1, y, x].item()
            for k in range(channels - 1):
                if tags[i, k] and valid[k]:
                    foreground += probabilities[i, k, y, x].item()
                elif tags[i, k]:
                    background += probabilities[i, k, y, x].item()
            result[i, 0, y, x] = lam * foreground + (1 - lam) * (1 - background)
    return result


@pytest.mark.parametrize(("tau", "lam"), [(0.4, 0.5), (0.5, 0.9), (0.0, 1.0), (0.6, 0.0)])
def test_estimate_is_that_of_loops(tau, lam):
    generator = torch.Generator().manual_seed(2)
    logits = 4 * torch.randn(6, CLASSES + 1, 4, 5, generator=generator, dtype=torch.float64)
    tags = (torch.rand(6, CLASSES, generator=generator) < 0.6).float()
    saliency = torch.rand(6, 1, 4, 5, generator=generator, dtype=torch.float64)
    probabilities = logits.softmax(dim=1)
    found = saliency_estimate(probabilities, tags, saliency, tau=tau, lam=lam)
    expected = by_loops(probabilities, tags, saliency, tau, lam)
    assert found.shape == (6, 1, 4, 5)
    assert found.min() > -1e-12
    assert found.max() < 1 + 1e-12
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(("salient", "cells", "tau"), [(2, 5, 0.4), (3, 10, 0.3), (1, 5, 0.2)])
def test_a_share_of_exactly_tau_is_not_valid(salient, cells, tau):
    probabilities = torch.zeros(1, 2, 1, cells)
    probabilities[:, 0], probabilities[:, 1] = 0.9, 0.1
    saliency = torch.zeros(1, 1, 1, cells)
    saliency[..., :salient] = 1
    at = saliency_estimate(probabilities, torch.ones(1, 1), saliency, tau=tau, lam=1.0)
    assert not at.any()
    below = saliency_estimate(probabilities, torch.ones(1, 1), saliency, tau=tau - 0.01, lam=1.0)
    torch.testing.assert_close(below, torch.full_like(below, 0.9))


def test_a_channel_without_area_is_not_valid():
    probabilities = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    saliency = torch.ones(1, 1, 2, 2)
    found = saliency_estimate(probabilities, torch.tensor([[1, 0]]), saliency, tau=0.0, lam=0.5)
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 0.5 * (1 - 0.2 - 0.5)))


def test_gradients_flow_through_probabilities_alone():
    logits = torch.randn(1, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 3
    logits.requires_grad_()
    saliency, tags = torch.ones(1, 1, 3, 3, requires_grad=True), torch.ones(1, 2)
    saliency_estimate(logits.softmax(dim=1), tags, saliency, tau=0.4, lam=0.5).sum().backward()
    assert logits.grad.any()
    assert saliency.grad is None


def test_losses_are_the_unweighted_sum():
    model, batch = network(), some_batch()
    model.head.decay = 0.9
    losses = eps_losses(model, batch, tau=0.4, lam=0.5)
    logits = model.head(model.backbone(batch.inputs)).detach()
    classification = classification_loss(ranked_mean(logits[:, :CLASSES], 0.9), batch.tags).item()
    # Cells of 8 pixels, whose centres lie between pixels 3 and 4: the later one is taken.
    saliency = batch.targets[:, :, 4::8, 4::8]
    estimate = by_loops(logits.softmax(dim=1), batch.tags, saliency, 0.4, 0.5)
    mismatch = ((estimate - saliency.numpy()) ** 2).mean()
    assert losses["classification"].item() == pytest.approx(classification)
    assert losses["saliency"].item() == pytest.approx(mismatch, rel=1e-5)
    assert losses["loss"].item() == pytest.approx(classification + mismatch, rel=1e-5)


def test_maps_are_the_classes_probabilities():
    model = network()
    features = torch.rand(2, model.backbone.channels, 3, 4)
    maps, logits = model.maps(features), model.head(features)
    assert list(maps) == ["eps"]
    raised = torch.exp(logits)
    torch.testing.assert_close(maps["eps"], (raised / raised.sum(dim=1, keepdim=True))[:, :CLASSES])


def test_without_saliency_there_is_no_loss():
    with pytest.raises(ValueError, match="without targets"):
        eps_losses(network(), some_batch()._replace(targets=None), tau=0.4, lam=0.5)


def test_cached_features_need_no_backbone():
    model = SaliencyClassifier(nn.Identity(), Head(4, CLASSES + 1, HeadSettings(width=5, kernel=1)))
    batch = some_batch()._replace(inputs=torch.rand(2, 4, 4, 5), cached=True)
    assert eps_losses(model, batch, tau=0.4, lam=0.5)["loss"].isfinite()


@pytest.mark.parametrize("learn", [(), ("*",)])
def test_gradients_reach_what_learns(learn):
    model, batch = network(learn).train(), some_batch()
    eps_losses(model, batch, tau=0.4, lam=0.5)["loss"].backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached >= {"head.w1.weight", "head.w2.weight", "head.v.weight"}
    assert any(name.startswith("backbone") for name in reached) == bool(learn)
    # Background learns from saliency only.
    assert model.head.v.weight.grad[-1].any()


def test_classification_leaves_background_alone():
    model, batch = network(), some_batch()
    logits = model.head(model.backbone(batch.inputs))
    both = eps_losses(model, batch, tau=0.4, lam=0.5)["loss"]
    rest = both - classification_loss(logits[:, :-1].mean((2, 3)), batch.tags)
    background = model.head.v.weight
    full = torch.autograd.grad(both, background, retain_graph=True)[0][-1]
    of_rest = torch.autograd.grad(rest, background)[0][-1]
    torch.testing.assert_close(full, of_rest)


def test_weights_survive_a_round_trip():
    model, other = network(), network()
    nn.init.normal_(model.head.v.weight)
    other.load_state_dict(model.state_dict())
    features = torch.rand(1, model.backbone.channels, 2, 2)
    assert torch.equal(other.head(features), model.head(features))


def test_steps_lower_the_loss():
    model, batch = network(), some_batch()
    values = losses_of_steps(model, lambda: eps_losses(model, batch, tau=0.4, lam=0.5)["loss"])
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]
