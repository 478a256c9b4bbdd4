"""Stage 4, ``esol cams``: from trained networks to localization maps."""

from esol.runs.work import OpenStage
from esol.stages.fitting import trained_networks
from esol.stages.job import Job
from esol.stages.photo_maps import map_photos


def cams(job: Job, stage: OpenStage) -> None:
    """Make maps of every kind that the method has; writes KIND/NAME.npz."""
    settings = job.settings
    samples, of_classifier = job.samples(), settings.method in ("esol", "cam", "lpcam")
    networks, kinds = trained_networks(job), settings.map_kinds
    map_photos(job, networks, samples, stage.path, kinds, of_classifier=of_classifier)
    stage.results |= {"photos": len(samples)}
