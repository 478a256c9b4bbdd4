"""What a run says of itself, as far as it got: read once, for the page's first screen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esol.data import Dataset
from esol.errors import InputError
from esol.masks.background import Background
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings import REFINED_MAPS, Fit, Settings, source_parts
from esol.settings.checks import percent
from esol.system.read import read_json

Measured = Mapping[str, Mapping[str, Any]]
"""List -> kind of maps or masks -> its entry in metrics.json; of a list also ``photos``."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and who chose it.

    Attributes:
        value: 0 .. 1.
        origin: "given", "chosen by rule" or "chosen so that objects fill 5 %".
    """

    value: float
    origin: str


@dataclass(frozen=True)
class Masks:
    """The finished pseudo masks.

    Attributes:
        source: as masks.source says.
        kind: of the maps that were cut.
        threshold: at which.
        wanted: share of a photo that objects should fill, 0 .. 1, if that was given.
        saliency: whether saliency maps took part.
        photos: their number.
        background: share of the pixels of photos with a tag; None in runs of earlier versions.
        estimate: of the same, by a CRF.
        empty: photos with a tag whose mask is all background.
        found: class -> photos with its tag, and those of them whose mask shows it.
        shares: class -> share of all pixels.
    """

    source: str
    kind: str
    threshold: Threshold
    wanted: float | None
    saliency: bool
    photos: int
    background: float | None
    estimate: Background | None
    empty: int
    found: Mapping[str, tuple[int, int]]
    shares: Mapping[str, float]

    @property
    def crf(self) -> bool:
        """Whether a CRF refined what was cut."""
        return source_parts(self.source)[1]


@dataclass(frozen=True)
class Network:
    """The finished segmentation network.

    Attributes:
        name: of its class.
        weights: initial ones, "none" for random.
        of_truth: whether it learned from the ground truth.
        fit: its optimisation.
    """

    name: str
    weights: str
    of_truth: bool
    fit: Fit


@dataclass(frozen=True)
class Known:
    """What a run knows.

    Attributes:
        lists: name -> number of photos.
        train: name of the training list.
        classes: K names.
        tags: class indices of every training photo.
        kinds: of maps that are there, in the order in which they are made.
        seed_kind: of the maps that become seeds.
        walk_kind: of those that IRN's walk starts from.
        distilled_kind: of those that distil's head learns.
        thresholds: kind of maps -> where the run cuts them.
        masks: None before the stage masks.
        corrected: photos with a corrected mask.
        network: None without one.
        measured: empty without ground truth, or before the stage evaluate.
        seconds: stage -> its time.
    """

    lists: Mapping[str, int]
    train: str
    classes: Sequence[str]
    tags: Sequence[Collection[int]]
    kinds: Sequence[str]
    seed_kind: str
    walk_kind: str
    distilled_kind: str
    thresholds: Mapping[str, Threshold]
    masks: Masks | None
    corrected: int
    network: Network | None
    measured: Measured
    seconds: Mapping[str, float]


def read_known(run: RunFolder, data: Dataset, settings: Settings, measured: Measured) -> Known:
    """Read what the finished stages recorded.

    Raises:
        InputError: a manifest or a file of statistics is damaged.
    """
    kinds = tuple(run.map_folders(settings)) if run.is_current("cams") else ()
    masks = _masks(run, settings) if run.is_current("masks") else None
    thresholds = {kind: _cut(kind, settings, masks) for kind in kinds}
    network = "segmentation" in run.mask_folders(settings)
    return Known(
        lists={name: len(members) for name, members in data.splits.items()},
        train=settings.data.train,
        classes=data.classes,
        tags=[sample.tags for sample in data.samples(settings.data.train)],
        kinds=kinds,
        seed_kind=settings.seed_kind,
        walk_kind=settings.walk_kind,
        distilled_kind=settings.distilled_kind,
        thresholds=thresholds,
        masks=masks,
        corrected=len(run.corrections.photos),
        network=_network(run, settings) if network else None,
        measured=measured,
        seconds={
            name: float(run.manifest(name)["record"].get("seconds", 0))
            for name in STAGES
            if run.is_finished(name)
        },
    )


def _cut(kind: str, settings: Settings, masks: Masks | None) -> Threshold:
    """Where the run cuts maps of a kind: those of the masks where the masks are cut."""
    if masks and masks.kind == kind:
        return masks.threshold
    if kind in REFINED_MAPS:
        return Threshold(settings.refine.threshold, "given")
    return Threshold(settings.seeds.threshold, "given")


def _masks(run: RunFolder, settings: Settings) -> Masks:
    manifest: Any = run.manifest("masks")
    counted: Any = read_json(run.stage("masks") / "statistics.json")
    try:
        group, results = manifest["identity"]["masks"], manifest["results"]
        source, wanted = group["source"], percent(str(group["threshold"]))
        made = manifest["identity"].get("kind", settings.seed_kind)
        maps, _ = source_parts(source)
        share, estimate = results.get("tagged_background"), results.get("estimated_background")
        classes = counted["per_class"]
        return Masks(
            source=source,
            kind=made if maps == "seeds" else maps,
            threshold=Threshold(results["threshold"], _origin(group["threshold"])),
            wanted=wanted,
            saliency=bool(group["saliency"]),
            photos=counted["photos"],
            background=share,
            estimate=Background(estimate["share"], estimate["certainty"]) if estimate else None,
            empty=counted["empty"],
            found={name: (c["tagged"], c["tagged"] - c["missing"]) for name, c in classes.items()},
            shares={name: c["share"] for name, c in classes.items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise run.damaged("masks") from error


def _origin(asked: str | float) -> str:
    """Who chose a threshold, by the setting."""
    if share := percent(str(asked)):
        return f"chosen so that objects fill {100 * share:g} %"
    return "chosen by rule" if asked == "auto" else "given"


def _network(run: RunFolder, settings: Settings) -> Network:
    match run.manifest("segment")["results"]:
        case {"network": str(name), "initial_weights": str(weights), "learned_from": str(masks)}:
            return Network(name, weights, masks == "ground truth", settings.segment.fit)
    raise run.damaged("segment")


def data_of(run: RunFolder, settings: Settings) -> tuple[str, tuple[str, ...]]:
    """The last stage that says which photos it read, and the lists that have maps; ("", ()) before.

    Raises:
        InputError: a manifest is damaged.
    """
    evaluated = settings.data.evaluate or (settings.data.train,)
    if run.is_finished("evaluate") and settings.data.evaluate:
        return "evaluate", evaluated
    if not run.is_current("cams"):
        return "", ()
    recorded = run.manifest("cams")["identity"].get("data")
    if not isinstance(recorded, dict):
        raise run.damaged("cams")
    made = tuple(name for name in recorded if name != "classes")
    return "cams", tuple(name for name in evaluated if name in made) or made


def refuse_changed(run: RunFolder, data: Dataset, stage: str) -> None:
    """Refuse a run whose photos or tags are no longer those that a stage read.

    Raises:
        InputError: they are not.
    """
    recorded = run.manifest(stage)["identity"].get("data", {})
    lists = [name for name in recorded if name in data.splits]
    now: dict[str, Any] = {"classes": list(data.classes)}
    now |= {name: data.fingerprint(name)[name] for name in lists}
    if recorded != now:
        what = "they were measured" if stage == "evaluate" else "maps were made of them"
        raise InputError(f"{data.root}: photos or tags changed since {what}; run again")
