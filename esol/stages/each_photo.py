"""What stages do photo by photo: several at once, with a bar."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from esol.data.at_once import in_order, photos_at_once
from esol.data.sample import Sample
from esol.stages.job import Job
from esol.system.distributed import device_of
from esol.system.progress import track

R = TypeVar("R")


def each_photo(
    job: Job, work: Callable[[Sample], R], samples: Sequence[Sample], label: str
) -> list[R]:
    """Results of ``work`` on these photos, in order; see :func:`esol.data.at_once.in_order`."""
    results = in_order(work, samples, workers_of(job, samples))
    return [*track(results, label, total=len(samples), unit="photos")]


def workers_of(job: Job, samples: Sequence[Sample]) -> int:
    """How many of the photos are worked on at once."""
    device = device_of(job.settings.machine.device)
    return photos_at_once([sample.image for sample in samples], device)
