"""Edge and displacement branches on a frozen backbone.

Ahn et al., Weakly supervised learning of instance segmentation with inter-pixel relations (IRN),
CVPR 2019, section 4.1; IRN's ResNet-50 layout, for any number of stages with any strides.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from esol.data.batch import Batch, Losses, Mean
from esol.errors import InputError, is_shortage
from esol.networks.backbone import SIDE, Backbone
from esol.ops.cells import cells
from esol.ops.grids import resize
from esol.ops.pairs import pair_sums
from esol.system.precision import single

EDGE_STRIDE = 4
"""Photo pixels per cell of the edge and displacement maps, in each direction."""

_COARSE_STRIDE = 8
"""Photo pixels per cell where stages coarser than EDGE_STRIDE meet in the displacement branch."""


class _Stage(NamedTuple):
    """Channels and photo pixels per cell of a stage of the backbone."""

    channels: int
    stride: int


class AffinityNet(nn.Module):
    """Boundaries between labels, and the displacement from each cell to its object's centre.

    Args:
        backbone: frozen here, always in eval mode; must give its stages' features.
        displacement: also predict displacements, which only instances need: most of the work.
        width: factor on IRN's branch widths (32 for edges; 64, 128 and 256 for displacement);
            less is faster.

    Attributes:
        branches: everything that learns, and the mean shift; what a stage stores.

    Raises:
        InputError: the backbone does not give its stages' features.
    """

    def __init__(
        self, backbone: Backbone, *, displacement: bool = True, width: float = 1.0
    ) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.branches = Branches(_stages(backbone), width, displacement)

    def train(self, mode: bool = True) -> "AffinityNet":
        """Training mode of the branches; the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, 3, H, W) normalised images -> edge logits and displacement on the stride-4 grid.

        (N, h, w) logits and (N, 2, h, w) displacement in cells, (y, x), h = ceil(H / 4) and
        w = ceil(W / 4). The mean shift is subtracted in eval mode; None without the branch.
        """
        with torch.no_grad():
            features = self.backbone.stages(images)
        return self.branches(features, (images.shape[-2], images.shape[-1]))

    def edge_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the edge branch."""
        return self.branches.edge.parameters()

    def displacement_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the displacement branch; none without it."""
        branch = self.branches.displacement
        return iter(()) if branch is None else branch.parameters()

    def set_mean_shift(self, mean: Tensor) -> None:
        """Store the mean displacement over the training photos, (2,) in cells, (y, x).

        The loss fixes displacements only up to a constant that all cells share: it compares cells.
        """
        self.branches.mean_shift.copy_(mean)


class Branches(nn.Module):
    """The trained part of ``AffinityNet``, on a backbone's stages from fine to coarse."""

    mean_shift: Tensor

    def __init__(self, stages: tuple[_Stage, ...], width: float, displacement: bool) -> None:
        super().__init__()
        self.edge = EdgeBranch(stages, width)
        self.displacement = DisplacementBranch(stages, width) if displacement else None
        self.register_buffer("mean_shift", torch.zeros(2))

    def forward(
        self, features: list[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """Stage features of photos of ``size`` (H, W) -> edge logits and displacement."""
        edge = single(self.edge(features, size))
        if self.displacement is None:
            return edge, None
        displacement = single(self.displacement(features, size))
        if not self.training:
            displacement = displacement - self.mean_shift.view(1, 2, 1, 1)
        return edge, displacement


class EdgeBranch(nn.Module):
    """Every stage to 32 channels on the stride-4 grid, then one logit."""

    def __init__(self, stages: tuple[_Stage, ...], width: float) -> None:
        super().__init__()
        channels = _scaled(32, width)
        self.project = nn.ModuleList(_projection(s.channels, channels, 4) for s in stages)
        self.predict = nn.Conv2d(channels * len(stages), 1, 1)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Stage features of photos of ``size`` -> (N, h, w) logits."""
        grid, stages = cells(size, EDGE_STRIDE), zip(self.project, features, strict=True)
        parts = [_resized(project, x, grid) for project, x in stages]
        return self.predict(torch.cat(parts, dim=1)).squeeze(1)


class DisplacementBranch(nn.Module):
    """Coarse stages meet at stride 8, fine ones join at stride 4, then two numbers a cell."""

    def __init__(self, stages: tuple[_Stage, ...], width: float) -> None:
        super().__init__()
        self.fine = tuple(stage.stride <= EDGE_STRIDE for stage in stages)
        widths = [_scaled(_displacement_channels(stage.stride), width) for stage in stages]
        self.project = nn.ModuleList(
            _projection(stage.channels, out, min(16, out // 8))
            for stage, out in zip(stages, widths, strict=True)
        )
        joint = _scaled(256, width)
        groups = min(16, joint // 8)
        coarse = sum(w for w, fine in zip(widths, self.fine, strict=True) if not fine)
        self.coarse = _projection(coarse, joint, groups)
        self.joint = _projection(joint + sum(widths) - coarse, joint, groups)
        self.predict = nn.Conv2d(joint, 2, 1, bias=False)

    def forward(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Stage features of photos of ``size`` -> (N, 2, h, w) displacement in cells, (y, x)."""
        grid, coarse_grid = cells(size, EDGE_STRIDE), cells(size, _COARSE_STRIDE)
        parts: dict[bool, list[Tensor]] = {True: [], False: []}
        for project, x, fine in zip(self.project, features, self.fine, strict=True):
            parts[fine].append(_resized(project, x, grid if fine else coarse_grid))
        coarse = resize(self.coarse(torch.cat(parts[False], dim=1)), grid)
        return self.predict(self.joint(torch.cat([*parts[True], coarse], dim=1)))


def _displacement_channels(stride: int) -> int:
    """IRN's channels for a stage of a stride."""
    return 256 if stride > EDGE_STRIDE else 128 if stride == EDGE_STRIDE else 64


def _scaled(channels: int, width: float) -> int:
    """IRN's number of channels times ``width``, a multiple of 8 so that groups divide it."""
    return max(8, round(channels * width / 8) * 8)


def _projection(channels: int, out: int, groups: int) -> nn.Sequential:
    groups = next(g for g in range(max(1, groups), 0, -1) if out % g == 0)
    convolution = nn.Conv2d(channels, out, 1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(groups, out), nn.ReLU())


def _resized(project: nn.Module, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """``project`` on the side of the resize with fewer cells."""
    return project(resize(x, grid)) if x.shape[-2] > grid[0] else resize(project(x), grid)


@torch.no_grad()
def _stages(backbone: Backbone) -> tuple[_Stage, ...]:
    """Channels and strides, from a blank photo: timm's tables leave out the output stride."""
    fault = f"backbone.name = {backbone.name!r}: "
    others = (
        "; use another network, such as resnet50, or leave irn out of refine.methods (and set"
        " masks.source: crf)"
    )
    if backbone.side:
        raise InputError(f"{fault}takes photos of one size, which IRNet does not keep to{others}")
    side = SIDE if SIDE % backbone.stride == 0 else 4 * backbone.stride
    blank = next(backbone.parameters()).new_zeros(1, 3, side, side)
    try:
        features = backbone.stages(blank)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        if is_shortage(error):
            raise
        raise InputError(
            f"{fault}timm gives no features of its stages, which IRN needs{others}"
        ) from error
    stages = tuple(_Stage(x.shape[1], side // x.shape[2]) for x in features)
    if stages[0].stride > _COARSE_STRIDE:
        raise InputError(
            f"{fault}its finest features have {stages[0].stride} pixels a cell, too coarse for the"
            f" edges that IRN needs{others}"
        )
    if stages[-1].stride <= EDGE_STRIDE:
        raise InputError(
            f"{fault}IRN needs a stage with more than {EDGE_STRIDE} pixels a"
            " cell; use another network, such as resnet50"
        )
    return stages


def affinity_losses(model: AffinityNet, batch: Batch, *, radius: int) -> Losses:
    """IRN's pair losses (its section 4.1) on the confident labels of the batch."""
    edge, displacement = model(batch.inputs)
    return pair_losses(edge, displacement, batch.labels(edge), radius)


def pair_losses(
    edge_logits: Tensor, displacement: Tensor | None, labels: Tensor, radius: int
) -> Losses:
    """Means of :func:`esol.ops.pairs.pair_sums`, which describes the arguments; 0 without a pair.

    ``positive``: of pairs of one label, half from background, half from classes. ``negative``: of
    pairs of two labels. With displacement, ``foreground_displacement`` and
    ``background_displacement``. ``loss``: half of the sum of all of these.
    """
    sums = pair_sums(edge_logits, displacement, labels, radius)
    kind = torch.promote_types(edge_logits.dtype, torch.float32)
    means = {name: Mean.of(total, count, kind) for name, (total, count) in sums.items()}
    losses = {
        "positive": Mean.weighted((0.5, means.pop("background")), (0.5, means.pop("foreground"))),
        "negative": means.pop("between"),
        **means,
    }
    return {**losses, "loss": Mean.weighted(*((0.5, loss) for loss in losses.values()))}
