"""Folded batch norms: the same outputs, and only where it is allowed."""

import copy

import pytest
import timm
import torch
from torch import nn

from esol.networks.backbone import Backbone
from esol.networks.folding import fold_batch_norm
from esol.networks.segmenter import Segmenter
from esol.settings import BackboneSettings, Segment


def shaken(network: nn.Module) -> nn.Module:
    """In evaluation mode, with batch norms that do something, unlike fresh ones."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.1)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def folded_alike(network: nn.Module, size: int = 64) -> tuple[int, int]:
    """Batch norms folded and left, after checking that the outputs stay."""
    network = shaken(network)
    folded, x = copy.deepcopy(network), torch.randn(2, 3, size, size + 32)
    count = fold_batch_norm(folded)
    with torch.no_grad():
        expected, result = network(x), folded(x)
    assert torch.allclose(expected, result, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert norms(folded) == norms(network) - count
    return count, norms(folded)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("test_resnet", 0),
        ("mobilenetv2_100", 0),  # activation in the norm
        ("efficientnet_b0", 0),  # gates
        ("densenet121", 62),  # norms before convolutions
        ("vgg11_bn", 0),  # branches on its input, so that its parts are followed
        ("convnext_atto", 0),  # layer norm alone
    ],
)
def test_backbones(name, left):
    network = timm.create_model(name, num_classes=0, global_pool="")
    assert folded_alike(network)[1] == left


def test_segmentation_network():
    network = Segmenter(
        Segment(
            network="DeepLabV3Plus",
            encoder="tu-test_resnet",
            weights="none",
            stride=16,
            norm="frozen",
        ),
        3,
    )
    count, left = folded_alike(network)
    assert count > 10
    assert left == 0


class Shared(nn.Module):
    """A convolution that somebody else reads too, one that is used twice, and a plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.twice, self.plain = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.a, self.b, self.c = (nn.BatchNorm2d(3) for _ in range(3))
        self.d = nn.BatchNorm2d(3, affine=False)

    def forward(self, x):
        x = self.read(x)
        x = x + self.a(x)
        x = self.b(self.twice(self.twice(x)))
        return self.d(self.plain(self.c(x).relu()))


def test_only_a_convolution_of_its_own():
    network = Shared()
    assert folded_alike(network, 8) == (1, 3)


def test_batch_norm_in_training_mode():
    with pytest.raises(ValueError, match="training mode"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))


def test_a_backbone_that_learns():
    backbone = Backbone(
        BackboneSettings(
            name="test_resnet", weights="none", stride=16, learn=("layer4",), norm="frozen"
        )
    )
    with pytest.raises(ValueError, match="frozen"):
        backbone.fold()
