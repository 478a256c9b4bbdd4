"""What a backbone knows of which cells of a photo belong together, without training."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from esol.errors import InputError, is_shortage
from esol.networks.backbone import Backbone
from esol.ops.affinity import attention_affinity, feature_affinity, nearness
from esol.ops.cells import cells
from esol.ops.grids import resize
from esol.settings import Similarity

_LAYERS = 8
"""Last layers whose attention is averaged, if the settings do not say; CLIP-ES's."""


class CellSimilarity:
    """Affinities of the cells of one photo.

    Args:
        backbone: on its device, in evaluation mode.
        settings: what is read, and how.

    Attributes:
        of_attention: whether attention is read; otherwise features.
        levels: the last so many layers or levels are read.

    Raises:
        InputError: the backbone has no such attention, or not so many levels.
    """

    def __init__(self, backbone: Backbone, settings: Similarity) -> None:
        self.backbone, self.settings = backbone.requires_grad_(False).eval(), settings
        self.of_attention = settings.source == "attention"
        depth = _depth(backbone) if self.of_attention else 0
        if self.of_attention and not depth:
            raise InputError(
                f"refine.similarity.source = 'attention': {backbone.name} has no attention among"
                " all cells of a photo (plain transformers have: ViT, DeiT, DINO, CLIP, EVA); set"
                " it to features"
            )
        self.levels = settings.levels or (min(_LAYERS, depth) if depth else 1)
        there = depth or (1 if self.levels == 1 else _levels(backbone))
        if self.levels > there:
            what = "layers with attention" if depth else "levels of features"
            raise InputError(
                f"refine.similarity.levels = {self.levels}: {backbone.name} has {there} {what};"
                f" set {there} or less"
            )

    @property
    def reads_features(self) -> bool:
        """Whether the backbone's own features are enough, which may be cached."""
        return not self.of_attention and self.levels == 1

    @torch.no_grad()
    def of_photo(self, photo: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Affinity of a normalised photo (3, H, W): (n, n), and its grid (h, w) of n cells."""
        images = photo[None].to(next(self.backbone.parameters()).device)
        if not self.of_attention:
            earlier = self.backbone.stages(images)[-self.levels : -1] if self.levels > 1 else []
            return self.of_features([x[0] for x in (*earlier, self.backbone(images))])
        size = cells((photo.shape[-2], photo.shape[-1]), self.backbone.stride)
        # Whole cells: at the size of the photo, the last ones would look beyond its edge.
        whole = resize(images, tuple(n * self.backbone.stride for n in size))
        return self._near(attention_affinity(_attention(self.backbone, whole, self.levels)), size)

    @torch.no_grad()
    def of_features(self, levels: Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
        """The same of features (C, h, w) of its levels, on the grid of the last one."""
        settings, size = self.settings, (levels[-1].shape[-2], levels[-1].shape[-1])
        return self._near(feature_affinity(levels, size, settings.beta, settings.common), size)

    def _near(self, affinity: Tensor, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        reach = self.settings.reach
        return (affinity * nearness(size, reach, affinity.device) if reach else affinity), size


def _layers(backbone: Backbone) -> list[Any]:
    """The attention of each block of a plain transformer, as far as it can be listened to."""
    network: Any = backbone.network
    blocks = getattr(network, "blocks", ())
    layers = [getattr(block, "attn", None) for block in blocks]
    known = all(hasattr(layer, "fused_attn") and hasattr(layer, "attn_drop") for layer in layers)
    return layers if known else []


def _depth(backbone: Backbone) -> int:
    """Layers with attention among all cells of a photo, tried with a blank one; 0: none."""
    layers = _layers(backbone)
    if not layers:
        return 0
    size = (
        (backbone.side, backbone.side)
        if backbone.side
        else (2 * backbone.stride, 3 * backbone.stride)
    )
    blank = next(backbone.parameters()).new_zeros(1, 3, *size)
    try:
        shape = _attention(backbone, blank, len(layers)).shape
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        if is_shortage(error):
            raise
        return 0
    rows, columns = cells(size, backbone.stride)
    return len(layers) if shape == (len(layers), rows * columns, rows * columns) else 0


@torch.no_grad()
def _attention(backbone: Backbone, images: Tensor, layers: int) -> Tensor:
    """Of one photo (1, 3, H, W): attention of the last layers among its cells, (L, n, n) means
    over the heads.
    """
    network: Any = backbone.network
    first = int(getattr(network, "num_prefix_tokens", 0))
    found: list[Tensor] = []

    def listen(module: Any, inputs: Any, attention: Tensor) -> None:
        found.append(attention[0, :, first:, first:].mean(0))

    with ExitStack() as after:
        for layer in _layers(backbone)[-layers:]:
            # Fused attention never holds the numbers; the other way gives them to attn_drop.
            after.callback(setattr, layer, "fused_attn", layer.fused_attn)
            layer.fused_attn = False
            after.callback(layer.attn_drop.register_forward_hook(listen).remove)
        backbone(images)
    return torch.stack(found)


def _levels(backbone: Backbone) -> int:
    """Levels whose features timm gives."""
    side = backbone.side or 4 * backbone.stride
    blank = next(backbone.parameters()).new_zeros(1, 3, side, side)
    try:
        return len(backbone.stages(blank))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        if is_shortage(error):
            raise
        raise InputError(
            f"backbone.name = {backbone.name!r}: timm gives features of the last level alone; set"
            " refine.similarity.levels: 1"
        ) from error
