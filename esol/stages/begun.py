"""Settings as a run was begun with them, where what "auto" means is another now, or here."""

from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from esol.data.normalisation import IMAGENET
from esol.errors import InputError
from esol.networks.pretrained import normalisation_of
from esol.runs.folder import IDENTITY, SETTINGS, RunFolder, read_record
from esol.runs.manifest import UNSAID
from esol.runs.stages import STAGES
from esol.settings import Settings
from esol.stages.job import computes
from esol.system.distributed import device_of
from esol.system.precision import Asked, resolved, slow
from esol.system.progress import log
from esol.system.read import read_yaml

_TRAINED = {"backbone": ("classify", "peer"), "segment": ("segment",)}
"""Group of settings -> the stages that train its network first."""


def as_begun(settings: Settings, run: RunFolder, *, overwrite: bool = False) -> Settings:
    """The settings, with the precision in which the run was begun, and with ImageNet's mean and
    deviation for a network that has learned with these.

    Identities leave these out, and versions up to 0.1.0 knew no others. So a run whose weights want
    others, and whose stages or else settings say nothing, goes on as it was begun.
    """
    machine = replace(settings.machine, precision=_precision(settings, run, overwrite))
    settings = replace(settings, machine=machine)
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


def _precision(settings: Settings, run: RunFolder, overwrite: bool) -> Asked:
    """What machine.precision is: of auto, what the run was begun in; auto for a new one."""
    asked, stage = settings.machine.precision, _first_network(run)
    if stage is None:
        return asked
    path, identity = stage
    begun: Any = (_group(identity, "machine") or UNSAID["machine"]).get("precision")
    if asked == "auto":
        return begun
    said = {_said(place / SETTINGS) for place in (path, run.path)}
    if begun == "no" != asked and asked in said and not overwrite:
        log.warning(
            "%s: goes on in float32: it was begun by a version whose machine.precision = %s was of"
            " training on GPUs alone, and in no identity; a new folder takes it",
            *(run.path, asked),
        )
        return "no"
    return asked


def with_precision(asked: Settings, settings: Settings, run: RunFolder) -> Settings:
    """The settings with what auto is here; says where a run goes on in another precision than a
    new one would have.

    Args:
        asked: settings as the user gave them.
        settings: of :func:`as_begun`.
        run: its folder.

    Raises:
        InputError: the device has no such precision, or there is no such device.
    """
    device = device_of(settings.machine.device)
    used = resolved(settings.machine.precision, device)
    if warning := slow(used, device):
        log.warning("machine.precision = %s: %s", used, warning)
    if asked.machine.precision == "auto" and (here := resolved("auto", device)) != used:
        log.warning(
            "%s: goes on with machine.precision = %s, with which it was begun; auto is %s here",
            *(run.path, used, here),
        )
    return replace(settings, machine=replace(settings.machine, precision=used))


def _first_network(run: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """Folder and identity of the first stage with a network that was begun."""
    for path in map(run.stage, STAGES):
        # A damaged file says nothing here: its reader refuses it.
        with suppress(InputError):
            if (path / IDENTITY).is_file() and computes(identity := read_record(path / IDENTITY)):
                return path, identity
    return None


def _said(settings: Path) -> object:
    """The precision in a settings file."""
    with suppress(InputError):
        return (_group(read_yaml(settings), "machine") or {}).get("precision")
    return None


def _stored(run: RunFolder, stages: tuple[str, ...], group: str) -> dict[str, Any] | None:
    """A group of settings in the identity of a stage that was begun, or else of the last command.

    A damaged file says nothing here: its reader refuses it.
    """
    for stage in stages:
        path = run.stage(stage) / IDENTITY
        with suppress(InputError):
            if path.is_file() and group in (identity := read_record(path)):
                return _group(identity, group)
    path = run.path / SETTINGS
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
