"""Segmentation networks by name, with initial weights by name or from a file."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esol.data.batch import Batch, Losses, Mean
from esol.data.sample import IGNORE
from esol.errors import InputError, is_shortage, one_line
from esol.networks.backbone import Backbone, Keys, StrideError, features_of
from esol.networks.checkpoints import Wanted, read_checkpoint
from esol.networks.deeplab2 import DeepLabV2
from esol.networks.downloads import announce, announce_timm, refuse
from esol.networks.feature_head import FeatureHead
from esol.networks.folding import hold_batch_norm
from esol.networks.initial import NAMED
from esol.networks.pretrained import classifier_prefixes, normalisation_of
from esol.ops.depthwise import use_fast_gradients
from esol.ops.grids import padded
from esol.settings import AUTO_STRIDE, HEAD, BackboneSettings, Segment, requested_stride
from esol.system.precision import single

NETWORKS = (
    "DPT",
    "DeepLabV2",
    "DeepLabV3",
    "DeepLabV3Plus",
    "FPN",
    "Linknet",
    "MAnet",
    "PAN",
    "PSPNet",
    "Segformer",
    "UPerNet",
    "Unet",
    "UnetPlusPlus",
    HEAD,
)
"""DeepLabV2 and head are ours, the others are those of segmentation_models_pytorch."""

MOST_WEIGHT = 10.0
"""Of a label in the loss; what a few photos show of a class is noise."""

_FURTHER_STRIDE = {"PAN": 8, "DPT": 2}
"""Stride of these networks on the encoder's last features."""

_PLAIN_HEADS = ("fc.", "_fc.", "classifier.", "last_linear.", "linear.", "head.")
"""Prefixes of the classifier in segmentation_models_pytorch's own encoders."""


class Segmenter(nn.Module):
    """A network that gives every pixel a logit per label.

    Where the encoder's stride can be chosen (DeepLabV2, DeepLabV3, DeepLabV3Plus, PAN), "auto" is
    8, and a stride that the network cannot have is refused; with DeepLabV2 "auto" is then what it
    is for a backbone. The other networks have a fixed stride
    and accept only that one, "auto", and 8, which has no effect: settings of earlier versions say 8
    where nobody chose a stride.

    Args:
        settings: network (one of ``NETWORKS``, case-exact), encoder (a name of
            segmentation_models_pytorch, or tu-NAME for timm's NAME; for DeepLabV2 a name of timm),
            initial weights (a file uses timm's names for tu- encoders), stride, batch norm.
        labels: L = K + 1, the background (0) included.
        backbone: that on which the network "head" is, with nothing that learns.

    Attributes:
        network, encoder, norm, labels: the arguments.
        stride: that of the settings; what "auto" stands for.
        normalisation: that of the photos it is given.
        multiple: ``body`` takes images whose sides are multiples of this, pixels.

    Raises:
        InputError: unknown name, impossible combination, weights not available or not fitting.
    """

    def __init__(self, settings: Segment, labels: int, backbone: Backbone | None = None) -> None:
        super().__init__()
        network = settings.network
        if network not in NETWORKS:
            known = ", ".join(NETWORKS)
            raise InputError(
                f"segment.network = {network!r}: no such network; there are: {known}, none"
            )
        if ":" in settings.encoder:  # a stranger's model file must not name what is then read
            raise InputError(
                f"segment.encoder = {settings.encoder!r}: no such encoder; hf-hub: and local-dir:"
                " are for backbone.name; name one of timm's, and give segment.weights a file"
            )
        self.network, self.encoder, self.norm = network, settings.encoder, settings.norm
        self.stride, self.labels, self.multiple = requested_stride(settings), labels, 1
        self.normalisation = backbone.normalisation if backbone else normalisation_of(settings)
        self.body: Any
        if network == "DeepLabV2":
            encoder = _backbone(settings)
            self.stride = encoder.stride
            self.body = DeepLabV2(encoder, self.stride, labels)
        elif network == HEAD:
            assert backbone is not None
            self.stride = backbone.stride
            self.body = FeatureHead(backbone, labels)
        else:
            self.body = _library_network(settings, labels)
            use_fast_gradients(self.body)
            self.multiple = int(self.body.encoder.output_stride) * _FURTHER_STRIDE.get(network, 1)
        self.train(self.training)

    @property
    def actual_stride(self) -> int:
        """Input pixels per feature cell of the encoder, whatever was requested."""
        return int(self.body.encoder.output_stride) if self.of_library else self.stride

    @property
    def of_library(self) -> bool:
        """Whether ``body`` is a network of segmentation_models_pytorch as that makes it."""
        return not isinstance(self.body, DeepLabV2 | FeatureHead)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images, H and W at least 32 -> (N, L, H, W) logits."""
        if not self.of_library:
            return single(self.body.forward(images))
        height, width = images.shape[-2:]
        return single(self.body(padded(images, self.multiple))[..., :height, :width])

    def all_logits(self, batch: Batch) -> list[Tensor]:
        """Outputs whose cross-entropies training averages, each at its own resolution.

        DeepLabV2: four (N, L, ~s H / stride, ~s W / stride) tensors, for s = 1, 3/4, 1/2 and their
        maximum (s = 1). head: (N, L, 4 h, 4 w) for (h, w) features, which the batch may have. All
        others: the (N, L, H, W) result of ``forward``.
        """
        if isinstance(self.body, DeepLabV2):
            return [single(logits) for logits in self.body.all_logits(batch.inputs)]
        if isinstance(self.body, FeatureHead):
            return [single(self.body.logits(features_of(self.body.encoder, batch)))]
        return [self(batch.inputs)]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters that start from ``weights``."""
        return list(self.body.encoder.parameters())

    def head_parameters(self) -> list[nn.Parameter]:
        """All other parameters."""
        encoder = {id(parameter) for parameter in self.encoder_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in encoder]

    def train(self, mode: bool = True) -> "Segmenter":
        """Training mode; frozen batch norms stay at their running statistics."""
        super().train(mode)
        if self.norm == "frozen":
            hold_batch_norm(self.body.encoder)
        return self


def _backbone(settings: Segment) -> Backbone:
    name, stride = settings.encoder.removeprefix("tu-"), requested_stride(settings)
    backbone = BackboneSettings(
        name=name, weights=settings.weights, stride=stride, learn=("*",), norm=settings.norm
    )
    keys = Keys("segment.encoder", "segment.weights", "segment.stride")
    try:
        return Backbone(backbone, keys)
    except StrideError:
        if settings.stride != "auto":
            raise
    return Backbone(replace(backbone, stride="auto"), keys)


def _library_network(settings: Segment, labels: int) -> Any:
    """A network of segmentation_models_pytorch with the encoder's weights in place."""
    network, encoder, weights = settings.network, settings.encoder, settings.weights
    _check_encoder(encoder)
    maker = getattr(smp, network)
    options: dict[str, Any] = {"encoder_name": encoder, "in_channels": 3, "classes": labels}
    selectable = "encoder_output_stride" in inspect.signature(maker.__init__).parameters
    if selectable:
        options["encoder_output_stride"] = requested_stride(settings)
    if network == "DPT":
        # Vision transformers otherwise accept inputs of one size only.
        options["dynamic_img_size"] = True
    if weights == "imagenet":
        _announce(encoder)
    body, failure = _attempt(maker, options, "imagenet" if weights == "imagenet" else None)
    if failure:
        if weights == "imagenet" and not _attempt(maker, options, None)[1]:
            refuse(encoder, "segment.weights", failure)
        reason = one_line(failure, lines=1, length=200)
        parts = f"segment.network = {network!r}, segment.encoder = {encoder!r}"
        if selectable:
            parts += f", segment.stride = {requested_stride(settings)}"
        if network == "DPT":
            reason = "it needs a vision transformer, tu-vit_..."
        raise InputError(f"{parts}: cannot be combined ({reason})") from failure
    if not selectable:
        _check_fixed_stride(settings, int(body.encoder.output_stride))
    if weights not in NAMED:
        _load(body.encoder, encoder, Path(weights))
    return body


def _announce(encoder: str) -> None:
    """Announce the download of an encoder's weights."""
    if encoder.startswith("tu-"):
        announce_timm(encoder.removeprefix("tu-"), "segment.weights")
        return
    sources = smp.encoders.encoders[encoder]["pretrained_settings"]
    if source := sources.get("imagenet"):
        announce(encoder, "segment.weights", source["repo_id"], revision=source["revision"])


def _check_fixed_stride(settings: Segment, fixed: int) -> None:
    """Refuse another stride than the network's fixed one, except 8."""
    if settings.stride not in ("auto", fixed, AUTO_STRIDE):
        raise InputError(
            f"segment.stride = {settings.stride}: {settings.network} with {settings.encoder} has"
            f" stride {fixed}, which cannot be chosen; set segment.stride: auto"
        )


def _attempt(
    maker: Any, options: dict[str, Any], weights: str | None
) -> tuple[Any, Exception | None]:
    """The network, or why there is none: constructors raise almost any exception."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encoder does not have prefix tokens")
            # timm's encoders take a flag, and warn of a name.
            is_timm = options["encoder_name"].startswith("tu-")
            weights_option = weights and (True if is_timm else weights)
            return maker(encoder_weights=weights_option, **options), None
    except Exception as error:
        if is_shortage(error):
            raise
        return None, error


def _check_encoder(encoder: str) -> None:
    name = encoder.removeprefix("tu-").split(".")[0]
    if encoder.startswith("tu-"):
        prefix, known = "tu-", timm.list_models()
    else:  # without the timm- ones, deprecated doubles of tu- ones, which warn
        names = smp.encoders.get_encoder_names()
        prefix, known = "", [plain for plain in names if not plain.startswith("timm-")]
    if (name if prefix else encoder) in known:
        return
    near = [prefix + match for match in difflib.get_close_matches(name, known, 4)]
    if not prefix and timm.is_model(name):
        near.insert(0, f"tu-{encoder}")
    raise InputError(
        f"segment.encoder = {encoder!r}: no such encoder (near: {', '.join(near) or 'resnet50'});"
        " names of segmentation_models_pytorch, or tu-NAME for timm's"
    )


def _load(encoder: nn.Module, name: str, path: Path) -> None:
    """Load an encoder's weights; the file may also have those of the layers left out.

    For tu- encoders these are the parameters of timm's whole network that its feature extractor
    lacks (the classifier, the last convolution before it); for the others the classifier.
    """
    target, is_spare, unused = _loading(encoder, name)
    wanted = Wanted(
        name,
        "segment.weights",
        {k: tensor for k, tensor in target.state_dict().items() if not k.startswith(unused)},
        is_spare,
        renamed=partial(_flattened, target=target) if name.startswith("tu-") else str,
    )
    # Of nn.Module: the library's own versions drop or rename entries. All was checked above.
    nn.Module.load_state_dict(target, read_checkpoint(path, wanted), strict=False)


def _loading(
    encoder: nn.Module, name: str
) -> tuple[nn.Module, Callable[[str], bool], tuple[str, ...]]:
    """The module to load into, which other keys a file may have, and prefixes of unused layers."""
    if not name.startswith("tu-"):
        return encoder, lambda key: key.startswith(_PLAIN_HEADS), ()
    target, model = encoder.get_submodule("model"), name.removeprefix("tu-")
    with torch.device("meta"):
        keys = {_flattened(key, target) for key in timm.create_model(model).state_dict()}
    return target, keys.__contains__, classifier_prefixes(model)


def _flattened(key: str, target: nn.Module) -> str:
    """Key of timm's whole network -> that of its feature extractor: stages.0.x -> stages_0.x."""
    key = key.removeprefix("model.")
    first, _, rest = key.partition(".")
    second, _, tail = rest.partition(".")
    stage = f"{first}_{second}"
    return f"{stage}.{tail}" if stage in dict(target.named_children()) else key


def segment_losses(model: Segmenter, batch: Batch, weights: Tensor | None = None) -> Losses:
    """Stage 8: cross-entropy with the masks, ignoring 255, mean over the network's outputs.

    ``weights`` (L,) of the labels; None: all alike.
    """
    means = []
    for logits in model.all_logits(batch):
        labels = batch.labels(logits)
        known, of_label = labels != IGNORE, None if weights is None else weights.to(logits)
        total = F.cross_entropy(logits, labels, of_label, ignore_index=IGNORE, reduction="sum")
        # No selection of pixels, for which a GPU would be waited for.
        count = known if of_label is None else of_label[labels.where(known, 0)] * known
        means.append(Mean.of(total, count.sum()))
    return {"loss": Mean.weighted(*((1 / len(means), mean) for mean in means))}


def label_weights(shares: Sequence[float]) -> Tensor:
    """Weights of the labels in :func:`segment_losses`, the background's first.

    ``shares`` (K,) are the classes' shares of all pixels. The mean of those that occur, over a
    class's own, is its weight, within 1 .. ``MOST_WEIGHT``; the background's is 1.
    """
    known = torch.tensor(shares, dtype=torch.float32)
    mean = known[known > 0].mean() if known.any() else known.new_ones(())
    return torch.cat([known.new_ones(1), (mean / known).clamp(1, MOST_WEIGHT)])
