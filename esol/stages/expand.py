"""Stage 2, `esol expand`: learn the expansion sampler."""

from functools import partial

from esol.method.losses import expand_losses
from esol.stages.fitting import finish, fit_sampler
from esol.stages.job import Job
from esol.stages.trained import EXPANSION, localizer


def expand(job: Job) -> None:
    """Stage 2: learn the expansion sampler; writes expansion.safetensors."""
    chosen = job.settings.expand
    groups = ("seed", "input", "backbone", "head", "expand")
    with job.enter(
        "expand", *groups, after=("classify",), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = localizer(job)
        model.shrinkage.requires_grad_(False)
        losses = partial(expand_losses, alpha=chosen.alpha, objective=chosen.objective)
        if chosen.learn != "nothing":
            stage.results |= fit_sampler(job, stage, model, losses, model.expansion, chosen.fit)
        finish(model.expansion, stage.path / EXPANSION)
