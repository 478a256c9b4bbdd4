"""What is known of a network's weights without loading them: normalisation, licence, classifier."""

import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from esol.data.normalisation import IMAGENET, Normalisation
from esol.errors import InputError, is_shortage
from esol.networks.published import CONFIG, published
from esol.settings import HEAD, BackboneSettings, Segment, Settings
from esol.settings.checks import DEVIATION, MEAN, Rule

_HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_DPN = Normalisation((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
_LIBRARY = {"dpn": _DPN, "inception": _HALF, "xception": _HALF}
"""Beginning of a name of segmentation_models_pytorch's own encoders -> normalisation, where it is
not ImageNet's. The library downloads these numbers, but a finished run must be readable offline."""

_FREE = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0")
_RESEARCH = ("-nc", "noncommercial", "apple-amlr", "seer")
"""Parts of the names of licences that forbid commercial use."""

_GATED = ("dinov3", "gemma")
"""Of those whose terms must be accepted at the source."""


def pretrained_config(name: str) -> dict[str, Any]:
    """Timm's description of a network's weights: mean, std, license ..; {} if it has none.

    ``name`` is one of timm's; without a tag it means timm's default weights. Of hf-hub:NAME and
    local-dir:FOLDER it is the file config.json there.
    """
    # Not above: a finished run with random weights, or with a mean of its own, needs no timm.
    import timm

    try:
        if (found := published(name, weights=False)) is not None:
            return dict(timm.models._hub.load_model_config_from_path(found.folder)[0])
        config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    # Making the network refuses what there is not: a tag, a folder, a repository, a description.
    except Exception as error:
        if is_shortage(error):
            raise
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


def without_weights(settings: BackboneSettings) -> BackboneSettings:
    """For a network that trained weights are loaded into: no others, and the same normalisation."""
    return replace(settings, weights="none", **asdict(normalisation_of(settings)))


def own_normalisation(settings: BackboneSettings | Segment) -> Normalisation:
    """What a network's pre-trained weights were learned with.

    Raises:
        InputError: a published network's description says what no normalisation can be.
    """
    name = timm_name(settings)
    if name is None:
        assert isinstance(settings, Segment)
        near = (
            numbers for start, numbers in _LIBRARY.items() if settings.encoder.startswith(start)
        )
        return next(near, IMAGENET)
    if name in _told:
        return _told[name]
    numbers = _described(pretrained_config(name), name)
    # A published network's files may change.
    if ":" not in name:
        _told[name] = numbers
    return numbers


_told: dict[str, Normalisation] = {}
"""Normalisation by the name of one of timm's networks, as far as this process or a run asked."""


def told(settings: Settings) -> dict[str, Any]:
    """What timm said of a run's networks, and its version: for :func:`recall`.

    Of random weights nothing, which want nothing: a run says the same whatever else was asked.
    """
    groups = (settings.backbone, settings.segment)
    names = {timm_name(group) for group in groups if group.weights != "none"}
    said = {name: asdict(numbers) for name, numbers in _told.items() if name in names}
    return {"timm": importlib.metadata.version("timm"), "normalisation": said} if said else {}


def recall(content: Mapping[str, Any]) -> None:
    """Take what ``told`` returned, if this is the same timm: importing it, to ask, takes 4 s.

    Anything else in its place is passed over.
    """
    said = content.get("normalisation")
    if not isinstance(said, dict) or content.get("timm") != importlib.metadata.version("timm"):
        return
    for name, one in said.items():
        match one:
            case {"mean": [*_], "std": [*_]}:
                with suppress(InputError):
                    _told[name] = _described(one, name)


def _described(config: Mapping[str, Any], name: str) -> Normalisation:
    mean, std = _numbers(config, "mean", MEAN, name), _numbers(config, "std", DEVIATION, name)
    return Normalisation(mean, std)


def _numbers(config: Mapping[str, Any], key: str, rule: Rule, name: str) -> tuple[float, ...]:
    """The mean or the deviation in a description, ImageNet's where it says nothing."""
    said = config.get(key)
    if said is None:
        said = getattr(IMAGENET, key)
    with suppress(TypeError, ValueError, OverflowError):
        numbers = tuple(float(number) for number in said)
        if rule.test(numbers):
            return numbers
    wanted = rule.text.removeprefix("auto, or ")
    raise InputError(
        f"backbone.name = {name!r}: {key} in its {CONFIG} is {str(said)[:80]}, but must be"
        f" {wanted}; correct it there, or take another network"
    )


def notes(settings: Settings) -> list[str]:
    """What a user should know of the networks' weights, a line each."""
    groups: list[tuple[str, BackboneSettings | Segment]] = [("backbone", settings.backbone)]
    if settings.segment.network not in ("none", HEAD):
        groups.append(("segment", settings.segment))
    return [line for key, group in groups for line in _notes(group, key)]


def licence_of(settings: BackboneSettings | Segment) -> str:
    """The licence of a network's pre-trained weights, and what to mind; "" for random ones.

    It is that of the named weights, also where they come from a file.
    """
    if settings.weights == "none":
        return ""
    name = timm_name(settings)
    licence = str((name and pretrained_config(name).get("license")) or "unknown")
    if licence in _FREE:
        return licence
    if licence == "unknown":
        return "licence not stated"
    if any(part in licence for part in _RESEARCH):
        return f"{licence}, NON-COMMERCIAL use only"
    gated = ", to be accepted at the source (gated)" if licence.startswith(_GATED) else ""
    return f"{licence}, its maker's own terms{gated}"


def licensed(settings: BackboneSettings | Segment) -> dict[str, str]:
    """What a stage's manifest and a model file say of ``licence_of``; nothing of random weights."""
    licence = licence_of(settings)
    if licence and settings.weights != "imagenet":
        licence = f"{licence}, if they are {_named(settings)}'s"
    return {"licence": licence} if licence else {}


def _named(settings: BackboneSettings | Segment) -> str:
    return settings.name if isinstance(settings, BackboneSettings) else settings.encoder


def _notes(settings: BackboneSettings | Segment, key: str) -> Iterator[str]:
    name = _named(settings)
    used = normalisation_of(settings)
    line = f"{key}: photos are normalised for {name} by {_shown(used)}"
    if settings.weights != "none" and used != (own := own_normalisation(settings)):
        yield f"{line}, though its weights were learned with {_shown(own)}"
    elif used != IMAGENET:
        yield f"{line}, as its weights want it, not by ImageNet's"
    if licence := licence_of(settings):
        whose = f"the weights of {name}"
        if settings.weights != "imagenet":
            whose = f"{Path(settings.weights).name}, if it holds {whose}"
        yield f"{key}: licence of {whose}: {licence}"


def _shown(numbers: Normalisation) -> str:
    if numbers == IMAGENET:
        return "ImageNet's mean and deviation"
    mean, std = (" ".join(f"{n:.4g}" for n in part) for part in (numbers.mean, numbers.std))
    return f"mean {mean}, deviation {std}"


def timm_name(settings: BackboneSettings | Segment) -> str | None:
    """Timm's name of a backbone or an encoder; None for an encoder that timm does not make."""
    if isinstance(settings, BackboneSettings):
        return settings.name
    of_timm = settings.network in ("DeepLabV2", HEAD) or settings.encoder.startswith("tu-")
    return settings.encoder.removeprefix("tu-") if of_timm else None


def classifier_prefixes(name: str) -> tuple[str, ...]:
    """Prefixes of the classifier's parameters in timm's network ``name``."""
    layers = pretrained_config(name).get("classifier") or "classifier"
    names = layers if isinstance(layers, list | tuple) else (layers,)
    return tuple(f"{layer}." for layer in names)
