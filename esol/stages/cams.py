"""Stage 4, ``esol cams``: from trained networks to localization maps."""

from esol.stages.fitting import trained_networks
from esol.stages.job import Job
from esol.stages.photo_maps import map_photos


def cams(job: Job) -> None:
    """Make maps of every kind that the method has; writes KIND/NAME.npz."""
    settings, lists = job.settings, job.lists()
    reads = job.longest_side(settings.input, job.samples())
    with job.enter("cams", after=settings.learns, lists=lists, reads=reads) as stage:
        if stage is None:
            return
        samples, of_classifier = job.samples(), settings.method in ("esol", "cam")
        networks, kinds = trained_networks(job), settings.map_kinds
        map_photos(job, networks, samples, stage.path, kinds, of_classifier=of_classifier)
        stage.results |= {"photos": len(samples)}
