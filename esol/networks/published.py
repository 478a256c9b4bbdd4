"""Networks that somebody published, hf-hub:OWNER/NAME and local-dir:FOLDER: their files."""

from pathlib import Path
from typing import NamedTuple

from esol.errors import InputError, one_line
from esol.networks.initial import OLD_WEIGHTS, WEIGHTS

CONFIG = "config.json"
"""File that describes a network: its architecture, normalisation, licence."""

_CHOICES = ((WEIGHTS,), ("*.safetensors",), (OLD_WEIGHTS,), ("*.bin", "*.pth", "*.pth.tar", "*.pt"))
"""Names of files of weights, the first wanted most."""


class Published(NamedTuple):
    """Where the files of a published network lie."""

    source: str
    """hf-hub or local-dir."""

    place: str
    """OWNER/NAME, maybe with @REVISION, or FOLDER."""

    folder: Path
    """On this machine; of the Hub's networks its name is the commit."""

    def weights(self) -> Path:
        """The file that is loaded.

        Raises:
            OSError: there is none, or it is not clear which.
        """
        for patterns in _CHOICES:
            paths = [path for pattern in patterns for path in self.folder.glob(pattern)]
            if found := sorted(path.name for path in paths if path.is_file()):
                if len(found) > 1:
                    raise OSError(f"{' and '.join(found[:2])} lie there; leave one of them")
                return self.folder / found[0]
        raise OSError(f"no weights lie in {self.folder}, such as {WEIGHTS}")


def source_of(name: str) -> tuple[str, str] | None:
    """Source and place in a published network's name; None for timm's own, without a colon.

    Raises:
        ValueError: timm knows no such source.
    """
    source, colon, place = name.partition(":")
    if not colon:
        return None
    source = source.lower().replace("_", "-")
    if source not in ("hf-hub", "local-dir"):
        raise ValueError(f"no such source of networks: {source}")
    return source, place


def published(name: str, *, weights: bool) -> Published | None:
    """A published network; None for the name of one of timm's own.

    Args:
        name: of the network.
        weights: whether the Hub must give its weights too; else its description is enough.

    Raises:
        OSError, ValueError: there is none.
    """
    if (found := source_of(name)) is None:
        return None
    source, place = found
    if source == "hf-hub":
        # Not above: its client takes a fifth of a second, and few networks come from there.
        from esol.networks.downloads import hub_folder

        folder = hub_folder(place, weights=weights)
    else:
        folder = Path(place)
    if not (folder / CONFIG).is_file():
        raise OSError(f"no {CONFIG} lies in {folder}")
    return Published(source, place, folder)


def unreadable(name: str, key: str, error: Exception) -> InputError:
    """For a published network; ``key`` is the setting that names it."""
    return InputError(
        f"{key} = {name!r}: cannot be read ({one_line(error, lines=1, length=200)}); give"
        " hf-hub:OWNER/NAME, or local-dir:FOLDER of what timm's push_to_hf_hub or save_for_hf wrote"
    )
