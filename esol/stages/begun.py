"""Settings as a run was begun with them, where what "auto" means has changed since."""

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from esol.data.normalisation import IMAGENET
from esol.errors import InputError
from esol.networks.pretrained import normalisation_of
from esol.runs.folder import RunFolder, read_record
from esol.settings import Settings
from esol.system.progress import log
from esol.system.read import read_yaml

_TRAINED = {"backbone": ("classify", "peer"), "segment": ("segment",)}
"""Group of settings -> the stages that train its network first."""


def as_begun(settings: Settings, run: RunFolder) -> Settings:
    """The settings, with ImageNet's mean and deviation for a network that has learned with these.

    Identities leave them out, and versions up to 0.1.0 knew no others. So a run whose weights want
    others, and whose stages or else settings say nothing, goes on as it was begun.
    """
    for group, stages in _TRAINED.items():
        network = getattr(settings, group)
        if (network.mean, network.std) != ("auto", "auto"):
            continue
        stored = _stored(run, stages, group)
        if stored is None or "mean" in stored or not _is_same(stored, asdict(network)):
            continue
        # Asked last, as timm may have to be imported to know it.
        if normalisation_of(network) == IMAGENET:
            continue
        log.warning(
            "%s: goes on with ImageNet's mean and deviation, with which it was begun, though the"
            " weights of its %s want others; a new folder takes theirs",
            *(run.path, group),
        )
        settings = replace(settings, **{group: replace(network, **asdict(IMAGENET))})
    return settings


def _stored(run: RunFolder, stages: tuple[str, ...], group: str) -> dict[str, Any] | None:
    """A group of settings in the identity of a stage that was begun, or else of the last command.

    A damaged file says nothing here: its reader refuses it.
    """
    for stage in stages:
        path = run.stage(stage) / "identity.json"
        with suppress(InputError):
            if path.is_file() and group in (identity := read_record(path)):
                return _group(identity, group)
    path = run.path / "settings.yaml"
    with suppress(InputError):
        return _group(read_yaml(path), group) if path.is_file() else None
    return None


def _group(content: Any, name: str) -> dict[str, Any] | None:
    group = content.get(name) if isinstance(content, dict) else None
    return group if isinstance(group, dict) else None


def _is_same(stored: dict[str, Any], network: dict[str, Any]) -> bool:
    """Whether it is the same network, random in both or in neither."""
    names = ("name", "network", "encoder")
    random = [group.get("weights") == "none" for group in (stored, network)]
    return random[0] == random[1] and all(stored.get(n) == network.get(n) for n in names)
