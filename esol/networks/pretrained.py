"""What is known of a network's weights without loading them: normalisation, licence, classifier."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import timm

from esol.data.transforms import IMAGENET, Normalisation
from esol.networks.weights import weights_digest
from esol.settings import BackboneSettings, Segment, Settings

_HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_DPN = Normalisation((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
_LIBRARY = {"dpn": _DPN, "inception": _HALF, "xception": _HALF}
"""Beginning of a name of segmentation_models_pytorch's own encoders -> normalisation, where it is
not ImageNet's. The library downloads these numbers, but a finished run must be readable offline."""

_NUMBERS = ("mean", "std")


def pretrained_config(name: str) -> dict[str, Any]:
    """Timm's description of a network's weights: mean, std, license ..; {} if it has none.

    ``name`` is one of timm's; without a tag it means timm's default weights.
    """
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError:  # no such tag, which making the network refuses
        return {}
    return config.to_dict() if config else {}


def normalisation_of(settings: BackboneSettings | Segment) -> Normalisation:
    """How photos are normalised for a network: as the settings say, or as its weights want it.

    Random weights want nothing, and get ImageNet's mean and deviation.
    """
    own = IMAGENET if settings.weights == "none" else own_normalisation(settings)
    return Normalisation(
        own.mean if settings.mean == "auto" else settings.mean,
        own.std if settings.std == "auto" else settings.std,
    )


def own_normalisation(settings: BackboneSettings | Segment) -> Normalisation:
    """What a network's pre-trained weights were learned with."""
    name = timm_name(settings)
    if name is None:
        assert isinstance(settings, Segment)
        near = (
            numbers for start, numbers in _LIBRARY.items() if settings.encoder.startswith(start)
        )
        return next(near, IMAGENET)
    config = pretrained_config(name)
    parts = (config.get(key, getattr(IMAGENET, key)) for key in ("mean", "std"))
    return Normalisation(*(tuple(float(number) for number in part) for part in parts))


def notes(settings: Settings) -> list[str]:
    """What a user should know of the networks' weights, a line each."""
    groups: list[tuple[str, BackboneSettings | Segment]] = [("backbone", settings.backbone)]
    if settings.segment.network != "none":
        groups.append(("segment", settings.segment))
    return [line for key, group in groups for line in _notes(group, key)]


def _notes(settings: BackboneSettings | Segment, key: str) -> Iterator[str]:
    name = settings.name if isinstance(settings, BackboneSettings) else settings.encoder
    used, own = normalisation_of(settings), own_normalisation(settings)
    line = f"{key}: photos are normalised for {name} by {_shown(used)}"
    if settings.weights != "none" and used != own:
        yield f"{line}, though its weights were learned with {_shown(own)}"
    elif used != IMAGENET:
        yield f"{line}, as its weights want it, not by ImageNet's"


def _shown(numbers: Normalisation) -> str:
    if numbers == IMAGENET:
        return "ImageNet's mean and deviation"
    mean, std = (" ".join(f"{n:.4g}" for n in part) for part in (numbers.mean, numbers.std))
    return f"mean {mean}, deviation {std}"


def timm_name(settings: BackboneSettings | Segment) -> str | None:
    """Timm's name of a backbone or an encoder; None for an encoder that timm does not make."""
    if isinstance(settings, BackboneSettings):
        return settings.name
    of_timm = settings.network == "DeepLabV2" or settings.encoder.startswith("tu-")
    return settings.encoder.removeprefix("tu-") if of_timm else None


def network_identity(settings: BackboneSettings | Segment, key: str) -> dict[str, Any]:
    """A group of settings as identities have it: what its results depend on.

    A file of weights is its digest. The normalisation is left out where it is ImageNet's, as in the
    identities of earlier versions, which knew no other.

    Args:
        settings: the group.
        key: its name, "backbone" or "segment".

    Raises:
        InputError: no such file of weights.
    """
    content = {name: value for name, value in asdict(settings).items() if name not in _NUMBERS}
    content["weights"] = weights_digest(settings.weights, f"{key}.weights")
    used = normalisation_of(settings)
    return content if used == IMAGENET else {**content, **asdict(used)}


def classifier_prefixes(name: str) -> tuple[str, ...]:
    """Prefixes of the classifier's parameters in timm's network ``name``."""
    layers = pretrained_config(name).get("classifier") or "classifier"
    return tuple(f"{layer}." for layer in ((layers,) if isinstance(layers, str) else layers))
