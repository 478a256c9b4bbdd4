"""Stage 2, ``esol expand``: learn where W1 samples, by maximising the classification loss."""

from functools import partial

from esol.method.losses import expand_losses
from esol.runs.work import OpenStage
from esol.stages.fitting import finish, fit_sampler, trained_localizer
from esol.stages.job import Job


def expand(job: Job, stage: OpenStage) -> None:
    """Train Expansion on the frozen classifier; writes expansion.safetensors.

    Photos of background take no part: they have nothing to expand, and raising their loss would
    teach Expansion to find classes where there are none.
    """
    settings = job.settings.expand
    model = trained_localizer(job)
    model.shrinkage.requires_grad_(False)
    losses = partial(expand_losses, alpha=settings.alpha, objective=settings.objective)
    if settings.learn != "nothing":
        stage.results |= fit_sampler(
            job, model, model.expansion, losses, settings.fit, "expand", tagged=True
        )
    finish(model.expansion, job.run.weights("expand"))
