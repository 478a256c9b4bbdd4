"""Stage 5, ``esol seeds``: seed masks from maps at one threshold."""

from esol.data.images import save_mask
from esol.data.memory import enough_memory
from esol.maps.files import load_maps
from esol.masks.seeds import photo_seed
from esol.runs.work import OpenStage
from esol.stages.job import Job
from esol.system.distributed import all_gather, my_share
from esol.system.progress import log, track


def seeds(job: Job, stage: OpenStage) -> None:
    """Cut the maps of seeds.kind at seeds.threshold; writes NAME.png."""
    threshold, kind = job.settings.seeds.threshold, job.settings.seed_kind
    samples = job.samples()
    mine, empty = my_share(samples), 0
    for sample in track(mine, "seeds", total=len(mine), unit="photos"):
        path = stage.path / f"{sample.name}.png"
        with enough_memory([sample.image]):
            maps = load_maps(job.run.maps(kind) / f"{sample.name}.npz")
            empty += bool(sample.tags) and not (maps.maps > threshold).any()
            if not path.exists():
                save_mask(photo_seed(maps, threshold), path)
    empty = sum(all_gather(empty))
    if empty:
        log.warning(
            "seeds: %d of %d photos are all background; train longer, or lower seeds.threshold",
            empty,
            sum(bool(sample.tags) for sample in samples),
        )
    stage.results |= {
        "photos": len(samples),
        "all_background": empty,
        "kind": kind,
        "threshold": threshold,
    }
