"""Initial weights from the Hugging Face Hub: told before they come, refused at once offline."""

import functools
from pathlib import Path
from typing import NoReturn

from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError

from esol.errors import InputError, is_shortage, one_line
from esol.networks.initial import OLD_WEIGHTS, WEIGHTS
from esol.system.progress import log

PATIENCE = 10.0
"""Seconds that the Hub has to answer."""


def announce_timm(name: str, key: str) -> None:
    """Announce the weights that timm will download for a network; see :func:`announce`."""
    import timm  # not above: networks of the Hub need only its client

    known = timm.is_model(name.split(".")[0])
    settings = timm.get_pretrained_cfg(name, allow_unregistered=False) if known else None
    if settings is not None and settings.hf_hub_id:
        repository, _, revision = str(settings.hf_hub_id).partition("@")
        announce(name, key, repository, settings.hf_hub_filename or WEIGHTS, revision or None)


@functools.cache
def announce(
    name: str, key: str, repository: str, file: str = WEIGHTS, revision: str | None = None
) -> None:
    """Say which file is about to be downloaded, unless it is on this machine.

    Args:
        name: of the network.
        key: setting that messages name.
        repository: on the Hub.
        file: in it.
        revision: of it, None for the newest.

    Raises:
        InputError: the Hub does not answer.
    """
    if isinstance(try_to_load_from_cache(repository, file, revision=revision), str):
        return
    url = hf_hub_url(repository, file, revision=revision)
    try:
        bytes_ = get_hf_file_metadata(url, timeout=PATIENCE).size
    except EntryNotFoundError:
        bytes_ = None  # under another name, which the library looks for
    # What the Hub's client raises where there is no network is not an OSError.
    except Exception as error:
        refuse(name, key, error, url)
    size = "" if bytes_ is None else f", {bytes_ / 1e6:,.0f} MB"
    log.info("%s: downloading %s%s", name, url, size)


def hub_folder(model: str, *, weights: bool) -> Path:
    """Folder, on this machine, of a network that somebody published on the Hub.

    Args:
        model: OWNER/NAME, or OWNER/NAME@REVISION.
        weights: whether its weights must be there too; else its description is enough.

    Raises:
        OSError: it is not on this machine, and cannot be downloaded.
    """
    found = _hub_folder(model, weights)
    if isinstance(found, OSError):
        raise found
    return found


@functools.cache
def _hub_folder(model: str, weights: bool) -> Path | OSError:
    """See ``hub_folder``; a Hub that does not answer is asked once, not at every call."""
    repository, _, revision = model.partition("@")
    try:
        folder = _fetched(repository, "config.json", revision or None).parent
        if weights:
            # The folder's name is its commit: both files are of the same.
            try:
                _fetched(repository, WEIGHTS, folder.name)
            except EntryNotFoundError:
                _fetched(repository, OLD_WEIGHTS, folder.name)
    except Exception as error:
        if is_shortage(error):
            raise
        return OSError(f"{model} could not be had from the Hugging Face Hub: {one_line(error)}")
    return folder


def _fetched(repository: str, file: str, revision: str | None) -> Path:
    """A file of the Hub; raises whatever the Hub's client does."""
    found = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(found, str):
        return Path(found)
    url = hf_hub_url(repository, file, revision=revision)
    # Fails at once where the download would try again for half a minute.
    get_hf_file_metadata(url, timeout=PATIENCE)
    log.info("downloading %s", url)
    return Path(hf_hub_download(repository, file, revision=revision))


def refuse(name: str, key: str, error: Exception, url: str = "") -> NoReturn:
    """Raise the InputError for weights that could not be downloaded; the reason is not cut."""
    reason = f"{url}: {one_line(error)}" if url else one_line(error)
    raise InputError(
        f"{key} = 'imagenet': {name} could not be downloaded ({reason}); give a file of weights,"
        " or 'none' to start from random weights"
    ) from error
