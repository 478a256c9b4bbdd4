"""DRS: suppression against loops, in the head and in a whole network; the maps learned anew."""

import copy

import numpy as np
import pytest
import torch
from descent import losses_of_steps
from torch import nn
from torch.nn import functional as F

from esol.data.batch import Batch
from esol.errors import InputError
from esol.method.classifier import Head, ranked_mean
from esol.method.expansion import clip_features as suppress
from esol.method.losses import classification_loss
from esol.networks.backbone import Backbone
from esol.peers.drs import (
    RefinedClassifier,
    SuppressedClassifier,
    Suppression,
    drs_losses,
    refine_losses,
    refinement_targets,
)
from esol.settings import BackboneSettings, HeadSettings

CLASSES, WIDTH = 3, 5


def plain_backbone(learn: tuple[str, ...] = ("*",), norm: str = "frozen") -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone(
        BackboneSettings(name="test_resnet", weights="none", stride=8, learn=learn, norm=norm)
    )
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            # At their start residual branches end in a scale of 0: nothing in them would count.
            nn.init.constant_(module.weight, 1.0)
    return backbone


def some_head(backbone: Backbone) -> Head:
    head = Head(backbone.channels, CLASSES, HeadSettings(width=WIDTH, kernel=1))
    nn.init.normal_(head.v.weight)
    return head


def suppressed(
    delta: float, *, everywhere: bool = True, learn: tuple[str, ...] = ("*",)
) -> SuppressedClassifier:
    backbone = plain_backbone(learn)
    return SuppressedClassifier(backbone, some_head(backbone), delta=delta, everywhere=everywhere)


def some_batch(**changes) -> Batch:
    images = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1))
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    return Batch(images, tags, ("a", "b"), cached=False)._replace(**changes)


class Bare(nn.Module):
    """Stands for a backbone: any network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)


def by_loops(x: torch.Tensor, shares: np.ndarray) -> torch.Tensor:
    result = x.clone()
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            limit = shares[n, c] * max(x[n, c].flatten().tolist())
            for y in range(x.shape[2]):
                for i in range(x.shape[3]):
                    result[n, c, y, i] = min(x[n, c, y, i].item(), limit)
    return result


def test_suppress_is_that_of_loops():
    x = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(suppress(x, 0.55), by_loops(x, np.full((2, 3), 0.55)))
    shares = torch.tensor([[0.1, 0.5, 1], [0.9, 0.3, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(suppress(x, shares[:, :, None, None]), by_loops(x, shares.numpy()))
    assert torch.equal(suppress(x, 1.0), x)


def test_learned_shares_come_from_means():
    torch.manual_seed(0)
    layer = Suppression(3, 0.0).double()
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    means = np.array([[sum(x[n, c].flatten().tolist()) / 20 for c in range(3)] for n in range(2)])
    weight, bias = (p.detach().numpy() for p in layer.controller.parameters())
    shares = 1 / (1 + np.exp(-(means @ weight.T + bias)))
    torch.testing.assert_close(layer(x).detach(), by_loops(x, shares))
    assert not np.allclose(shares, shares[0, 0])


@pytest.mark.parametrize("delta", [0.3, 1.0])
def test_fixed_shares_have_no_parameters(delta):
    layer, x = Suppression(3, delta), torch.rand(1, 3, 4, 4)
    assert not list(layer.parameters())
    assert torch.equal(layer(x), suppress(x, delta))


@pytest.mark.parametrize("delta", [-0.1, 1.1, float("nan")])
def test_wrong_delta_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        Suppression(3, delta)


def test_head_is_suppressed_after_each_relu():
    model = suppressed(0.4, everywhere=False)
    features = torch.randn(2, model.backbone.channels, 3, 4)
    shares = np.full((2, WIDTH), 0.4)
    x1 = by_loops(F.relu(model.head.w1(features)).detach(), shares)
    x2 = by_loops(F.relu(model.head.w2(x1)).detach(), shares)
    torch.testing.assert_close(model.maps(features)["drs"], model.head.v(x2))


def with_suppressed_relus(network: nn.Module, delta: float) -> nn.Module:
    """A copy whose ReLUs are replaced; none of its hooks, which start after the copy."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.ReLU):
            setattr(network, name, nn.Sequential(nn.ReLU(), Suppression(1, delta)))
        else:
            with_suppressed_relus(child, delta)
    return network


@pytest.mark.parametrize("delta", [0.55, 1.0])
def test_every_relu_of_the_backbone_is_suppressed(delta):
    images = some_batch().inputs
    reference = plain_backbone().eval()
    if delta < 1:
        with_suppressed_relus(reference.network, delta)
    model = suppressed(delta).eval()
    torch.testing.assert_close(model.backbone(images), reference(images))
    plain = plain_backbone().eval()(images)
    assert torch.equal(model.backbone(images), plain) == (delta == 1)
    relus = sum(isinstance(m, nn.ReLU) for m in plain_backbone().network.modules())
    assert relus > 5
    assert len(model.suppressors) == 2 + relus


def test_head_alone_leaves_the_backbone_as_it_was():
    model, images = suppressed(0.3, everywhere=False).eval(), some_batch().inputs
    assert torch.equal(model.backbone(images), plain_backbone().eval()(images))
    assert len(model.suppressors) == 2


def test_learned_shares_inside_the_backbone_are_the_modules():
    model, images = suppressed(0.0).eval(), some_batch().inputs
    before = model.backbone(images)
    model.load_state_dict(model.state_dict())
    assert torch.equal(model.backbone(images), before)
    for suppressor in model.suppressors:
        nn.init.zeros_(suppressor.controller.weight)
        nn.init.constant_(suppressor.controller.bias, 50.0)
    torch.testing.assert_close(model.backbone(images), plain_backbone().eval()(images))


def test_a_copy_calls_its_own_suppressors():
    model, images = suppressed(0.0).eval(), some_batch().inputs
    before = model.backbone(images)
    other = copy.deepcopy(model)
    for suppressor in other.suppressors:
        nn.init.constant_(suppressor.controller.bias, -5.0)
    assert torch.equal(model.backbone(images), before)
    assert not torch.allclose(other.backbone(images), before)


def test_weights_survive_a_round_trip():
    model, images = suppressed(0.0), some_batch().inputs
    for parameter in model.suppressors.parameters():
        nn.init.normal_(parameter)
    other = suppressed(0.0)
    other.load_state_dict(model.state_dict())
    model.eval(), other.eval()
    ours, theirs = (m.maps(m.backbone(images))["drs"] for m in (model, other))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_relus_changes_nothing(training):
    backbone = plain_backbone(norm="learned").train(training)
    backbone.network.layer1.eval()
    modes = {name: module.training for name, module in backbone.named_modules()}
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    SuppressedClassifier(backbone, some_head(backbone), delta=0.0, everywhere=True)
    assert {name: module.training for name, module in backbone.named_modules()} == modes
    assert all(torch.equal(state[name], value) for name, value in backbone.state_dict().items())
    hooks = [len(m._forward_hooks) for m in backbone.modules() if isinstance(m, nn.ReLU)]
    assert set(hooks) == {1}


def test_a_network_without_relus_is_refused():
    head = Head(4, CLASSES, HeadSettings(width=WIDTH, kernel=1))
    bare = Bare(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU()))
    with pytest.raises(InputError, match=r"drs\.everywhere"):
        SuppressedClassifier(bare, head, delta=0.5, everywhere=True)
    SuppressedClassifier(bare, head, delta=0.5, everywhere=False)


def test_gates_are_left_alone():
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.ReLU())
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), gate)
    model = SuppressedClassifier(
        Bare(network),
        Head(4, CLASSES, HeadSettings(width=WIDTH, kernel=1)),
        delta=0.5,
        everywhere=True,
    )
    assert len(model.suppressors) == 3
    x = torch.rand(1, 3, 4, 4)
    expected = suppress(F.relu(network[0](x)), 0.5).mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(model.backbone(x), expected)


def test_one_relu_of_several_widths_cannot_learn():
    relu, head = nn.ReLU(), Head(5, CLASSES, HeadSettings(width=WIDTH, kernel=1))
    network = nn.Sequential(nn.Conv2d(3, 4, 1), relu, nn.Conv2d(4, 5, 1), relu)
    with pytest.raises(InputError, match=r"\[4, 5\]"):
        SuppressedClassifier(Bare(network), head, delta=0.0, everywhere=True)
    model = SuppressedClassifier(Bare(network), head, delta=0.5, everywhere=True)
    x = torch.rand(1, 3, 4, 4)
    first = suppress(F.relu(network[0](x)), 0.5)
    torch.testing.assert_close(model.backbone(x), suppress(F.relu(network[2](first)), 0.5))


def test_loss_is_the_classification_loss_of_the_maps():
    model, batch = suppressed(0.5), some_batch()
    model.head.decay = 0.9
    maps = model.maps(model.backbone(batch.inputs))["drs"]
    expected = classification_loss(ranked_mean(maps, 0.9), batch.tags)
    assert drs_losses(model, batch)["loss"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("everywhere", [True, False])
def test_gradients_reach_everything_that_learns(everywhere):
    model = suppressed(0.0, everywhere=everywhere).train()
    drs_losses(model, some_batch())["loss"].backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == set()


def test_only_the_head_learns_on_a_frozen_backbone():
    model = suppressed(0.0, everywhere=False, learn=()).train()
    drs_losses(model, some_batch())["loss"].backward()
    reached = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {"head", "suppressors"}


def test_shares_that_cannot_learn_are_refused():
    with pytest.raises(ValueError, match=r"backbone\.learn"):
        drs_losses(suppressed(0.0, learn=()), some_batch())
    assert drs_losses(suppressed(0.5, learn=()), some_batch())["loss"].requires_grad


def test_features_that_nothing_suppressed_are_refused():
    features = torch.rand(2, suppressed(0.5).backbone.channels, 4, 5)
    batch = some_batch(inputs=features, cached=True)
    with pytest.raises(ValueError, match="images"):
        drs_losses(suppressed(0.5), batch)
    assert drs_losses(suppressed(0.5, everywhere=False), batch)["loss"].isfinite()


def test_targets_keep_the_largest_class():
    maps = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    maps[:, 0, 0], maps[:, 1, 1] = 0.5, 0
    targets = refinement_targets(maps)
    assert targets.dtype == np.float32
    for y in range(4):
        for x in range(5):
            best = maps[:, y, x].tolist().index(max(maps[:, y, x]))
            expected = [maps[k, y, x] if k == best else 0 for k in range(3)]
            assert targets[:, y, x].tolist() == expected
    assert refinement_targets(maps[:0]).shape == (0, 4, 5)


def refined(learn: tuple[str, ...] = ("*",)) -> RefinedClassifier:
    backbone = plain_backbone(learn)
    return RefinedClassifier(backbone, some_head(backbone))


def test_refinement_is_the_mean_squared_error_of_averaged_targets():
    model = refined()
    targets = torch.rand(2, CLASSES, 16, 20, generator=torch.Generator().manual_seed(2))
    batch = some_batch(targets=targets)
    maps = model.maps(model.backbone(batch.inputs))["drs_refined"].tolist()
    total = 0.0
    for n, k, y, x in np.ndindex(2, CLASSES, 4, 5):
        cell = targets[n, k, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        total += (maps[n][k][y][x] - sum(cell.flatten().tolist()) / 16) ** 2
    loss = refine_losses(model, batch)["loss"].item()
    assert loss == pytest.approx(total / (2 * CLASSES * 4 * 5), rel=1e-5)
    untagged = refine_losses(model, batch._replace(tags=torch.zeros(2, CLASSES)))["loss"].item()
    assert untagged == loss
    with pytest.raises(ValueError, match="without targets"):
        refine_losses(model, some_batch())


def test_refinement_learns_from_features_and_images():
    model = refined(()).train()
    batch = some_batch(targets=torch.rand(2, CLASSES, 4, 5))
    features = model.backbone(batch.inputs)
    losses = [
        refine_losses(model, one)["loss"]
        for one in (batch, batch._replace(inputs=features, cached=True))
    ]
    assert losses[0].item() == losses[1].item()
    losses[1].backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {"head.w1.weight", "head.w2.weight", "head.v.weight"}


@pytest.mark.parametrize("method", ["learned", "fixed", "refined"])
def test_steps_lower_the_loss(method):
    model = refined() if method == "refined" else suppressed(0.55 * (method == "fixed"))
    batch = some_batch(targets=torch.rand(2, CLASSES, 4, 5))
    losses = refine_losses if method == "refined" else drs_losses
    values = losses_of_steps(model, lambda: losses(model, batch)["loss"])
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]
