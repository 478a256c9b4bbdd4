"""Branches on a frozen backbone: grids, what learns, what is stored, messages."""

import pytest
import torch

from esol.errors import InputError
from esol.networks.affinity import AffinityNet, pair_losses
from esol.networks.backbone import Backbone
from esol.networks.weights import load_weights, save_weights
from esol.settings import BackboneSettings


def backbone(name: str = "test_resnet", stride: int = 8, **changes) -> Backbone:
    settings = {"weights": "none", "learn": (), "norm": "frozen", **changes}
    return Backbone(BackboneSettings(name=name, stride=stride, **settings))


@pytest.fixture
def net() -> AffinityNet:
    torch.manual_seed(0)
    return AffinityNet(backbone(), width=0.25)


@pytest.mark.parametrize(
    ("name", "stride", "width"),
    [("mobilenetv2_100", 16, 0.25), ("resnet50", 16, 1.0), ("test_resnet", 8, 0.1)],
)
@pytest.mark.parametrize("size", [(64, 96), (101, 77), (5, 33)])
def test_results_are_on_the_stride_4_grid(name, stride, width, size):
    net = AffinityNet(backbone(name, stride), width=width).eval()
    with torch.no_grad():
        edge, displacement = net(torch.rand(2, 3, *size))
    grid = -(-size[0] // 4), -(-size[1] // 4)
    assert edge.shape == (2, *grid)
    assert displacement.shape == (2, 2, *grid)


def test_resnet_has_the_widths_of_irn():
    branches = AffinityNet(backbone("resnet50", 16)).branches
    widths = [project[0].out_channels for project in branches.displacement.project]
    assert widths == [64, 128, 256, 256, 256]
    assert branches.displacement.coarse[0].in_channels == 768
    assert branches.displacement.joint[0].in_channels == 448
    assert branches.edge.predict.in_channels == 160


def test_only_the_branches_learn(net):
    frozen = {k: v.clone() for k, v in net.backbone.state_dict().items()}
    net.train()
    assert not net.backbone.training
    assert net.branches.training
    edge, displacement = net(torch.rand(2, 3, 48, 48))
    labels = torch.randint(0, 3, edge.shape)
    pair_losses(edge, displacement, labels, 4)["loss"].value().backward()
    assert all(p.grad is None for p in net.backbone.parameters())
    assert all(torch.equal(frozen[k], v) for k, v in net.backbone.state_dict().items())
    groups = [*net.edge_parameters(), *net.displacement_parameters()]
    assert len(groups) == len({id(p) for p in groups}) == len(list(net.branches.parameters()))
    assert all(p.grad is not None and bool(p.grad.any()) for p in groups)


def test_a_backbone_that_would_learn_is_frozen():
    net = AffinityNet(backbone(learn=("*",), norm="learned"), width=0.25).train()
    assert not any(p.requires_grad for p in net.backbone.parameters())
    assert not any(module.training for module in net.backbone.modules())


def test_a_few_steps_lower_the_loss(net):
    torch.manual_seed(1)
    images = torch.zeros(2, 3, 64, 64)
    images[:, :, 16:48, 16:48] = 1.0
    labels = torch.zeros(2, 16, 16, dtype=torch.int64)
    labels[:, 4:12, 4:12] = 1
    optimizer = torch.optim.Adam(net.branches.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        loss = pair_losses(*net.train()(images), labels, 5)["loss"].value()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_mean_shift_is_subtracted_in_eval_mode_only(net):
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        before = net.eval()(images)[1]
        net.set_mean_shift(torch.tensor([0.5, -2.0]))
        after, training = net(images)[1], net.train()(images)[1]
    torch.testing.assert_close(after, before - torch.tensor([0.5, -2.0]).view(1, 2, 1, 1))
    torch.testing.assert_close(training, before)


def test_stored_weights_are_the_branches(net, tmp_path):
    net.set_mean_shift(torch.tensor([0.5, -2.0]))
    path = tmp_path / "branches.safetensors"
    save_weights(net.branches, path)
    other = AffinityNet(net.backbone, width=0.25)
    load_weights(other.branches, path)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for one, two in zip(net.eval()(images), other.eval()(images), strict=True):
            torch.testing.assert_close(one, two)
    assert not [name for name in net.branches.state_dict() if "backbone" in name]


def test_network_without_stage_features_is_named():
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 4, 1)

    network = backbone()
    network.network = Plain()
    with pytest.raises(InputError, match=r"test_resnet.*gives no features of its stages"):
        AffinityNet(network)


def test_without_displacement_only_edges_are_predicted():
    net = AffinityNet(backbone(), displacement=False, width=0.25)
    edge, displacement = net(torch.rand(2, 3, 32, 32))
    assert displacement is None
    assert edge.shape == (2, 8, 8)
    assert not list(net.displacement_parameters())
    assert not [name for name in net.branches.state_dict() if name.startswith("displacement")]
    pair_losses(edge, None, torch.randint(0, 2, edge.shape), 3)["loss"].value().backward()
    assert all(p.grad is not None for p in net.branches.parameters())
