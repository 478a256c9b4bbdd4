"""Stage 3, ``esol shrink``: learn where W2 samples, so that maps cover less."""

from functools import partial

from esol.method.losses import shrink_losses
from esol.runs.work import OpenStage
from esol.stages.fitting import finish, fit_sampler, trained_localizer
from esol.stages.job import Job


def shrink(job: Job, stage: OpenStage) -> None:
    """Train Shrinkage on the frozen classifier and Expansion; writes shrinkage.safetensors.

    Photos of background take part in L_cls, and have no area.
    """
    settings = job.settings.shrink
    model = trained_localizer(job, "expand")
    model.expansion.requires_grad_(False)
    losses = partial(shrink_losses, area=settings.area)
    if settings.learn != "nothing":
        stage.results |= fit_sampler(job, model, model.shrinkage, losses, settings.fit, "shrink")
    finish(model.shrinkage, job.run.weights("shrink"))
