"""Stages 4 and 5: from trained networks to maps and seeds."""

from esol.maps.localize import Network
from esol.networks.backbone import Backbone
from esol.stages.job import Job
from esol.stages.peer import peer_networks
from esol.stages.photo_maps import map_photos
from esol.stages.trained import localizer, plain_classifier


def cams(job: Job) -> None:
    """Stage 4: localization maps of every kind that the method makes; writes KIND/NAME.npz."""
    settings, lists = job.settings, job.lists()
    groups = ["input", "backbone", "head", "cams"]
    groups += ("expand", "shrink") if settings.method == "esol" else ("method",)
    after = settings.learns
    with job.enter("cams", *groups, after=after, lists=lists) as stage:
        if stage is None:
            return
        samples = job.data.samples(*lists)
        networks, plain = trained_networks(job), settings.method in ("esol", "cam")
        map_photos(job, networks, samples, stage.path, settings.map_kinds, plain=plain)
        stage.results |= {"photos": len(samples)}


def trained_networks(job: Job) -> tuple[Network, ...]:
    """What makes the method's maps, as the stages before left it, in evaluation mode."""
    if job.settings.method == "esol":
        return (localizer(job, "expand", "shrink").eval(),)
    if job.settings.method == "cam":
        return (plain_classifier(job),)
    return peer_networks(job)


def backbone_stage(job: Job) -> str:
    """The stage whose backbone IRNet reads: the classifier's, where the method has a plain one."""
    return job.settings.learns[0]


def trained_backbone(job: Job) -> Backbone:
    """The backbone that IRNet reads."""
    if backbone_stage(job) == "classify":
        return plain_classifier(job).backbone
    # The last: that of drs' first network holds suppressions.
    return peer_networks(job)[-1].backbone
