"""Maps of photos as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from esol.data.images import image_size
from esol.data.memory import enough_memory
from esol.data.sample import Sample
from esol.maps.files import grid, save_maps
from esol.maps.localize import Network, SizedSample, batches_of_one_size, localize
from esol.networks.backbone import Backbone
from esol.settings import Settings
from esol.stages.job import Job
from esol.system.distributed import all_wait, my_share
from esol.system.progress import track
from esol.training.features import FeatureCache, compute_features


def map_photos(
    job: Job,
    networks: Sequence[Network],
    samples: tuple[Sample, ...],
    folder: Path,
    kinds: Sequence[str],
    *,
    of_classifier: bool,
) -> None:
    """Write FOLDER/KIND/NAME.npz of the photos, of those that are not there yet.

    Photos of background have no maps: their files say so, and no network sees them. Several
    processes share the batches; on return all files are there.

    Args:
        job: settings and data.
        networks: what makes the maps, in evaluation mode.
        samples: the photos.
        folder: where the files go.
        kinds: of maps.
        of_classifier: the networks' backbone is the trained classifier's.
    """
    settings, tagged = job.settings, tuple(sample for sample in samples if sample.tags)
    for sample in my_share([sample for sample in samples if not sample.tags]):
        _save_none(sample, folder, kinds)
    # At other scales they are of no use.
    cached = 1.0 in settings.cams.scales
    backbone = networks[0].backbone
    cache = feature_cache(job, backbone, tagged, of_classifier=of_classifier) if cached else None
    batches = my_share(batches_of_one_size(tagged, same=settings.input.resize == "squash"))
    # A batch is done again as a whole: a photo's last bit may depend on its companions.
    todo = [batch for batch in batches if not _mapped(folder, batch, kinds)]
    start = len(batches) - len(todo)
    for batch in track(todo, "cams", total=len(batches), start=start, unit="batches"):
        with enough_memory(
            [photo.sample.image for photo in batch], "cams.scales", lighter(settings)
        ):
            precision = settings.machine.precision
            located = localize(networks, batch, settings.cams, settings.input, cache, precision)
            for sample, size, maps in located:
                tags = np.asarray(sample.tags, np.int64)
                for kind in kinds:
                    save_maps(folder / kind / f"{sample.name}.npz", maps[kind], tags, size)
    all_wait()


def _save_none(sample: Sample, folder: Path, kinds: Sequence[str]) -> None:
    """Write the files of a photo of background."""
    size = image_size(sample.image)
    maps = np.zeros((0, *grid(size)), np.float32)
    for path in (folder / kind / f"{sample.name}.npz" for kind in kinds):
        if not path.exists():
            save_maps(path, maps, np.zeros(0, np.int64), size)


def lighter(settings: Settings) -> str:
    """The setting that makes what trained networks see of a photo smaller."""
    return "input.longest" if settings.input.resize == "crop" else "input.size"


def feature_cache(
    job: Job, backbone: Backbone, samples: tuple[Sample, ...], *, of_classifier: bool
) -> FeatureCache | None:
    """Cached features at scale 1, where the settings say so; ``of_classifier``: see map_photos."""
    key = job.cache_key(of_classifier=of_classifier)
    if key is None:
        return None
    return compute_features(backbone, samples, job.settings, job.run.path, key)


def _mapped(folder: Path, batch: list[SizedSample], kinds: Sequence[str]) -> bool:
    """Whether every map of the batch is there."""
    return all(
        (folder / kind / f"{photo.sample.name}.npz").exists() for photo in batch for kind in kinds
    )
