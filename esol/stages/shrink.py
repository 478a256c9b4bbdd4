"""Stage 3, `esol shrink`: learn the shrinkage sampler."""

from functools import partial

from esol.method.losses import shrink_losses
from esol.stages.fitting import finish, fit_sampler
from esol.stages.job import Job
from esol.stages.trained import SHRINKAGE, localizer


def shrink(job: Job) -> None:
    """Stage 3: learn the shrinkage sampler; writes shrinkage.safetensors."""
    chosen = job.settings.shrink
    groups = ("seed", "input", "backbone", "head", "expand", "shrink")
    with job.enter(
        "shrink", *groups, after=("classify", "expand"), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = localizer(job, "expand")
        model.expansion.requires_grad_(False)
        losses = partial(shrink_losses, area=chosen.area)
        if chosen.learn != "nothing":
            stage.results |= fit_sampler(job, stage, model, losses, model.shrinkage, chosen.fit)
        finish(model.shrinkage, stage.path / SHRINKAGE)
