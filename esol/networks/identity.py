"""What identities say of a network: what its results depend on, told in one way."""

import functools
from dataclasses import asdict
from typing import Any

from esol.data.normalisation import IMAGENET
from esol.networks.initial import weights_digest
from esol.networks.pretrained import normalisation_of
from esol.networks.published import CONFIG, published, unreadable
from esol.settings import BackboneSettings, Segment

_NUMBERS = ("mean", "std")
_LATER = {"final_norm": "auto", "power": 1.0, "balance": False}
"""Settings that versions up to 0.1.0 did not have: identities are as before where they are this."""


def network_identity(
    settings: BackboneSettings | Segment, key: str, side: int = 0
) -> dict[str, Any]:
    """A group of settings as identities have it: what its results depend on.

    A file of weights is its digest, and a backbone's stride "auto" the number that it stands for.
    A network of the Hub has the commit in its name; one of a folder is the digests of its
    description and of the file that is loaded. The normalisation is left out where it is
    ImageNet's, as in the identities of earlier versions, which knew no other.

    Args:
        settings: the group.
        key: its name, "backbone" or "segment".
        side: of a backbone's square inputs, if all have one size, pixels; else 0.

    Raises:
        InputError: no such file of weights, or "auto" of a network that cannot be built, or a
            published network that cannot be had.
    """
    content = {
        name: value
        for name, value in asdict(settings).items()
        if name not in _NUMBERS and (name not in _LATER or value != _LATER[name])
    }
    content["weights"] = weights_digest(settings.weights, f"{key}.weights")
    if isinstance(settings, BackboneSettings) and settings.stride == "auto":
        content["stride"] = _own_stride(settings, side)
    if isinstance(settings, BackboneSettings) and ":" in settings.name:
        content |= _of_published(settings, f"{key}.name")
    used = normalisation_of(settings)
    return content if used == IMAGENET else {**content, **asdict(used)}


def _of_published(settings: BackboneSettings, key: str) -> dict[str, str]:
    """What a published network is: the same wherever its files lie."""
    try:
        found = published(settings.name, weights=False)
        assert found is not None
        if found.source == "hf-hub":
            repository = found.place.partition("@")[0]
            return {"name": f"{found.source}:{repository}@{found.folder.name}"}
        content = {"name": found.source, CONFIG: weights_digest(str(found.folder / CONFIG))}
        if settings.weights == "imagenet":
            content["weights"] = weights_digest(str(found.weights()))
    except (OSError, ValueError) as error:
        raise unreadable(settings.name, key, error) from error
    return content


@functools.cache
def _own_stride(settings: BackboneSettings, side: int) -> int:
    """What "auto" is, found by building the network; no random number is taken from others."""
    import torch

    from esol.networks.backbone import Backbone

    with torch.random.fork_rng(devices=[]):
        return Backbone.fixed(settings, side).stride
