"""Stage 5, `esol seeds`: seed masks from maps."""

from esol.data.images import save_mask
from esol.maps.files import load_maps
from esol.masks.seeds import seed
from esol.runs.folder import stage_path
from esol.stages.job import Job
from esol.stages.photo_maps import map_path
from esol.system.distributed import gather, share
from esol.system.progress import log, track


def seeds(job: Job) -> None:
    """Stage 5: seed masks from the chosen maps; writes NAME.png."""
    chosen, lists = job.settings.seeds, job.lists()
    with job.enter("seeds", "seeds", after=("cams",), lists=lists) as stage:
        if stage is None:
            return
        samples = job.data.samples(*lists)
        mine, empty = share(samples), 0
        for sample in track(mine, "seeds", total=len(mine), unit="photos"):
            path = stage.path / f"{sample.name}.png"
            maps = load_maps(
                map_path(stage_path(job.run, "cams"), job.settings.seed_kind, sample.name)
            )
            empty += not (maps.maps > chosen.threshold).any()
            if not path.exists():
                save_mask(seed(maps.full(), maps.classes, chosen.threshold), path)
        empty = sum(gather(empty))
        if empty:
            log.warning(
                "seeds: %d of %d photos are all background; train longer, or lower seeds.threshold",
                empty,
                len(samples),
            )
        stage.results |= {
            "photos": len(samples),
            "all_background": empty,
            "kind": job.settings.seed_kind,
            "threshold": chosen.threshold,
        }
