"""The stages: settings and files in, files out."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from esol.cam import Photo, batches_of_one_size, localize
from esol.config import dump_settings
from esol.data import Dataset, open_dataset
from esol.data.images import image_size, save_mask
from esol.data.inputs import Inputs, photo_inputs
from esol.errors import InputError
from esol.evaluate import curves, summary
from esol.features import FeatureCache, compute_features, weights_digest
from esol.files import write_atomic, write_json
from esol.histogram import Histogram, thresholds
from esol.losses import classify_losses, expand_losses, shrink_losses
from esol.maps import load_maps, save_maps
from esol.models.samplers import Localizer
from esol.networks import (
    device_of,
    frozen_classifier,
    load_weights,
    new_classifier,
    new_localizer,
    save_weights,
)
from esol.progress import log, track
from esol.runfolder import STAGES, Stage, output_of, stage_path, work_on
from esol.seeds import seed
from esol.settings import MAP_KINDS, MapKind, Settings
from esol.summary import write_report
from esol.train import fit, forget_checkpoints


@dataclass(frozen=True)
class Job:
    """What every stage is given.

    Attributes:
        settings: all settings.
        data: the opened data set.
        run: run folder.
        overwrite: replace stages that were made with other settings.
    """

    settings: Settings
    data: Dataset
    run: Path
    overwrite: bool = False

    @property
    def classes(self) -> int:
        """K."""
        return len(self.data.classes)

    def lists(self) -> tuple[str, ...]:
        """Photo lists that get maps and seeds."""
        data = self.settings.data
        return self.settings.cams.lists or tuple(dict.fromkeys((data.train, *data.evaluate)))

    def enter(
        self,
        stage: str,
        *groups: str,
        after: tuple[str, ...],
        lists: tuple[str, ...],
        reads: Mapping[str, Any] | None = None,
    ) -> AbstractContextManager[Stage | None]:
        """The stage's folder, with its identity: all that is read."""
        identity: dict[str, Any] = {group: self.settings.group(group) for group in groups}
        identity |= reads or {}
        if "backbone" in identity:
            identity["backbone"]["weights"] = weights_digest(self.settings)
        identity["after"] = {earlier: output_of(self.run, earlier) for earlier in after}
        identity["data"] = self.data.fingerprint(*lists)
        return work_on(
            self.run,
            stage,
            identity,
            overwrite=self.overwrite,
            settings=dump_settings(self.settings),
        )


def classify(job: Job) -> None:
    """Stage 1: train the classifier on the tags; writes classifier.safetensors."""
    settings = job.settings
    groups = ("seed", "input", "backbone", "head", "classify")
    with job.enter("classify", *groups, after=(), lists=(settings.data.train,)) as stage:
        if stage is None:
            return
        torch.manual_seed(settings.seed)
        model = new_classifier(settings, job.classes).to(device_of(settings.machine))
        chosen = settings.classify
        stage.results |= fit(
            model,
            classify_losses,
            _inputs(job, model.backbone),
            [
                (model.backbone.parameters(), chosen.backbone_lr),
                ([*model.head.w1.parameters(), *model.head.w2.parameters()], 1.0),
                (model.head.v.parameters(), chosen.classifier_lr),
            ],
            fit=chosen.fit,
            machine=settings.machine,
            folder=stage.path,
            seed=settings.seed,
            label="classify",
        )
        _finish(job, stage, model, "classifier.safetensors")


def expand(job: Job) -> None:
    """Stage 2: learn the expansion sampler; writes expansion.safetensors."""
    chosen = job.settings.expand
    groups = ("seed", "input", "backbone", "head", "expand")
    with job.enter(
        "expand", *groups, after=("classify",), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = _localizer(job)
        losses = partial(expand_losses, alpha=chosen.alpha, objective=chosen.objective)
        if chosen.learn != "nothing":
            stage.results |= _fit_sampler(job, stage, model, losses, model.expansion, chosen.fit)
        _finish(job, stage, model.expansion, "expansion.safetensors")


def shrink(job: Job) -> None:
    """Stage 3: learn the shrinkage sampler; writes shrinkage.safetensors."""
    chosen = job.settings.shrink
    groups = ("seed", "input", "backbone", "head", "expand", "shrink")
    with job.enter(
        "shrink", *groups, after=("classify", "expand"), lists=(job.settings.data.train,)
    ) as stage:
        if stage is None:
            return
        model = _localizer(job, "expand")
        model.expansion.requires_grad_(False)
        losses = partial(shrink_losses, area=chosen.area)
        if chosen.learn != "nothing":
            stage.results |= _fit_sampler(job, stage, model, losses, model.shrinkage, chosen.fit)
        _finish(job, stage, model.shrinkage, "shrinkage.safetensors")


def cams(job: Job) -> None:
    """Stage 4: localization maps of all three phases; writes KIND/NAME.npz."""
    settings, lists = job.settings, job.lists()
    groups = ("input", "backbone", "head", "expand", "shrink", "cams")
    after = ("classify", "expand", "shrink")
    with job.enter("cams", *groups, after=after, lists=lists) as stage:
        if stage is None:
            return
        model = _localizer(job, "expand", "shrink").eval()
        samples = job.data.samples(*lists)
        cache = None
        if settings.backbone.cache and 1.0 in settings.cams.scales:
            cache = compute_features(model.classifier.backbone, samples, settings, job.run)
        batches = batches_of_one_size(samples, same=settings.input.resize == "squash")
        # A batch is done again as a whole: a photo's last bit may depend on its companions.
        todo = [batch for batch in batches if not _mapped(stage.path, batch)]
        start = len(batches) - len(todo)
        for batch in track(todo, "cams", total=len(batches), start=start, unit="batches"):
            for sample, size, maps in localize(model, batch, settings.cams, settings.input, cache):
                tags = np.asarray(sample.tags, np.int64)
                for kind in MAP_KINDS:
                    save_maps(_map_path(stage.path, kind, sample.name), maps[kind], tags, size)
        stage.results |= {"photos": len(samples)}


def seeds(job: Job) -> None:
    """Stage 5: seed masks from the chosen maps; writes NAME.png."""
    chosen, lists = job.settings.seeds, job.lists()
    with job.enter("seeds", "seeds", after=("cams",), lists=lists) as stage:
        if stage is None:
            return
        samples = job.data.samples(*lists)
        empty = 0
        for sample in track(samples, "seeds", total=len(samples), unit="photos"):
            path = stage.path / f"{sample.name}.png"
            maps = load_maps(_map_path(stage_path(job.run, "cams"), chosen.kind, sample.name))
            empty += not (maps.maps > chosen.threshold).any()
            if not path.exists():
                save_mask(seed(maps.full(), maps.classes, chosen.threshold), path)
        if empty:
            log.warning(
                "seeds: %d of %d photos are all background; train longer, or lower seeds.threshold",
                empty,
                len(samples),
            )
        stage.results |= {
            "photos": len(samples),
            "all_background": empty,
            "kind": chosen.kind,
            "threshold": chosen.threshold,
        }


def evaluate(job: Job) -> None:
    """Stage 9: measure all maps at every threshold; writes metrics.json."""
    lists = job.settings.data.evaluate
    reads = {
        "threshold": job.settings.seeds.threshold,
        "truth": {split: job.data.truth_fingerprint(split) for split in lists},
    }
    with job.enter("evaluate", after=("cams",), lists=lists, reads=reads) as stage:
        if stage is None:
            return
        results = {split: _evaluate_list(job, split) for split in lists}
        for split in (split for split, found in results.items() if not found):
            log.warning("evaluate: no masks for %s, so nothing is measured there", split)
        results = {split: found for split, found in results.items() if found}
        write_json(stage.path / "metrics.json", {"mask_set": job.data.mask_set, "lists": results})
        stage.results |= {
            split: {kind: found[kind]["fixed"]["miou"] for kind in MAP_KINDS}
            for split, found in results.items()
        }


def _evaluate_list(job: Job, split: str) -> dict[str, Any]:
    """Kind of map -> metrics, over the list's photos that have a mask; empty if none has."""
    samples = [sample for sample in job.data.samples(split) if sample.mask is not None]
    if not samples or job.data.truth is None:
        return {}
    fixed = job.settings.seeds.threshold
    counts = {kind: Histogram(job.classes, thresholds(fixed)) for kind in MAP_KINDS}
    folder = stage_path(job.run, "cams")
    for sample in track(samples, f"evaluate {split}", total=len(samples), unit="photos"):
        truth = job.data.truth(sample)
        for kind, histogram in counts.items():
            maps = load_maps(_map_path(folder, kind, sample.name))
            histogram.add(maps.full(), maps.classes, truth)
    found: dict[str, Any] = {
        kind: summary(curves(histogram), job.data.classes, fixed)
        for kind, histogram in counts.items()
    }
    return {"photos": len(samples), **found}


def _map_path(folder: Path, kind: MapKind, name: str) -> Path:
    return folder / kind / f"{name}.npz"


def _mapped(folder: Path, batch: list[Photo]) -> bool:
    """Whether every map of the batch is there."""
    return all(
        _map_path(folder, kind, photo.sample.name).exists() for photo in batch for kind in MAP_KINDS
    )


def _inputs(job: Job, backbone: Any) -> Inputs:
    """Training inputs: photos, or cached features."""
    settings = job.settings
    samples = job.data.samples(settings.data.train)
    if not settings.backbone.cache:
        return photo_inputs(samples, job.classes, settings.input)
    cache: FeatureCache = compute_features(backbone.eval(), samples, settings, job.run)
    return cache.inputs(samples, job.classes, flip=settings.input.flip)


def _localizer(job: Job, *trained: str) -> Localizer:
    """The localizer with the weights of the classifier and of the named later stages."""
    weights = stage_path(job.run, "classify") / "classifier.safetensors"
    classifier = frozen_classifier(job.settings, job.classes, weights)
    torch.manual_seed(job.settings.seed)
    model = new_localizer(job.settings, classifier)
    if "expand" in trained:
        load_weights(model.expansion, stage_path(job.run, "expand") / "expansion.safetensors")
    if "shrink" in trained:
        load_weights(model.shrinkage, stage_path(job.run, "shrink") / "shrinkage.safetensors")
    return model.to(device_of(job.settings.machine))


def _fit_sampler(
    job: Job, stage: Stage, model: Localizer, losses: Any, part: torch.nn.Module, settings: Any
) -> dict[str, float]:
    return fit(
        model,
        losses,
        _inputs(job, model.classifier.backbone),
        [(part.parameters(), 1.0)],
        fit=settings,
        machine=job.settings.machine,
        folder=stage.path,
        seed=job.settings.seed,
        label=stage.name,
    )


def _finish(job: Job, stage: Stage, module: torch.nn.Module, name: str) -> None:
    save_weights(module, stage.path / name)
    forget_checkpoints(stage.path)


BY_NAME: dict[str, Callable[[Job], None]] = {
    "classify": classify,
    "expand": expand,
    "shrink": shrink,
    "cams": cams,
    "seeds": seeds,
    "evaluate": evaluate,
}


def run(
    settings: Settings,
    data: Path | str,
    out: Path | str,
    *,
    first: str = STAGES[0],
    last: str = STAGES[-1],
    overwrite: bool = False,
) -> Path:
    """Run the stages from ``first`` to ``last``, skipping those already done.

    Args:
        settings: all settings.
        data: data folder.
        out: run folder.
        first: name of the first stage.
        last: name of the last stage.
        overwrite: replace stages that were made with other settings.

    Returns:
        The run folder.

    Raises:
        InputError: something the user gave is wrong.
    """
    names = STAGES[STAGES.index(first) : STAGES.index(last) + 1]
    if not names:
        raise InputError(f"--from {first} --until {last}: {first} comes after {last}; swap them")
    job = Job(settings, open_dataset(data, settings.data), Path(out), overwrite)
    _check_input(job)
    for note in job.data.notes:
        log.info("%s", note)
    for name in names:
        BY_NAME[name](job)
    # Only now: a command that was refused must not change what the run says of itself.
    write_atomic(job.run / "settings.yaml", dump_settings(settings))
    write_json(job.run / "run.json", {"data": str(Path(data).resolve())})
    if last == "evaluate":
        write_report(job.run)
    return job.run


def _check_input(job: Job) -> None:
    """Refuse what would only fail hours later."""
    if job.run.resolve() == job.data.root.resolve():
        raise InputError(f"{job.run} is the data folder; give another folder for the results")
    unknown = [name for name in job.lists() if name not in job.data.splits]
    if unknown:
        known = ", ".join(job.data.splits)
        raise InputError(
            f"cams.lists = {unknown[0]!r}: must be of data.train, data.evaluate ({known})"
        )
    left_out = [name for name in job.settings.data.evaluate if name not in job.lists()]
    if left_out:
        raise InputError(f"cams.lists: must hold {left_out[0]!r}, which data.evaluate measures")
    for sample in job.data.samples(*job.settings.data.evaluate):
        if sample.mask is not None and sample.mask.is_file():
            mask, photo = image_size(sample.mask), image_size(sample.image)
            if mask != photo:
                raise InputError(
                    f"{sample.mask}: {mask} pixels, its photo {photo}: make them equal"
                )
    train = job.data.samples(job.settings.data.train)
    counts = Counter(tag for sample in train for tag in sample.tags)
    for index, name in enumerate(job.data.classes):
        if counts[index] < 2:
            log.warning("%s: %d photo to learn from, which is not enough", name, counts[index])
