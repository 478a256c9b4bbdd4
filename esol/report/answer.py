"""The page's first screen: what the run made, how good it is, and what to try next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esol.report.advice import Advice, advice
from esol.report.known import Known, Masks, Threshold
from esol.report.titles import TITLES, named
from esol.runs.folder import RunFolder
from esol.runs.stages import STAGES
from esol.settings import REFINED_MAPS

SELDOM = 6
"""Classes on the first screen, of those found in the smallest part of their photos."""


@dataclass(frozen=True)
class Product:
    """Something that the run made.

    Attributes:
        what: a title ("Masks of these photos").
        path: relative to the run's folder, "" where there is none.
        how: how it was made.
        command: that uses it, "" for none.
    """

    what: str
    path: str
    how: str
    command: str = ""


@dataclass(frozen=True)
class Row:
    """A stage in the table.

    Attributes:
        title: of its maps or masks.
        how: from what and at which threshold.
        miou: one per list, 0 .. 1, None where it was not measured.
        gain: one per list, against what it is made from; None without that.
    """

    title: str
    how: str
    miou: Sequence[float | None]
    gain: Sequence[float | None]


@dataclass(frozen=True)
class Picture:
    """A photo under its mask.

    Attributes:
        name: of the photo.
        rank: "best", "middle" or "worst".
        value: its mIoU or confidence, 0 .. 1.
        jpeg: the picture, base64.
        size: its width and height, pixels.
        classes: (name, colour as "#rrggbb") of the classes in the mask.
    """

    name: str
    rank: str
    value: float
    jpeg: str
    size: tuple[int, int]
    classes: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Found:
    """How often masks show a class: photos with its tag, those that show it, share of pixels."""

    name: str
    tagged: int
    found: int
    share: float

    @property
    def part(self) -> float:
        """Of the photos with the tag, those that show it, 0 .. 1."""
        return self.found / self.tagged if self.tagged else 1.0


@dataclass(frozen=True)
class Answer:
    """The first screen.

    Attributes:
        photos: list -> number of photos.
        number: of all photos, each once.
        classes: their names.
        time: of all stages together ("6 min 40 s"), "" if it is not known.
        products: the masks, the network, or what is there so far.
        lists: measured lists, the columns of the table.
        rows: the table; empty without ground truth.
        background: share of background in masks of photos with a tag, None without masks.
        found: how often the masks show each class, the least first; empty without masks.
        pictures: six at most, the best first.
        measure: what ranks them, "mIoU" or "confidence".
        ranked: number of photos from which they were taken.
        advice: what to try next.
        checked: whether there was anything to base advice on.
    """

    photos: Mapping[str, int]
    number: int
    classes: Sequence[str]
    time: str
    products: Sequence[Product]
    lists: Sequence[str]
    rows: Sequence[Row]
    background: float | None
    found: Sequence[Found]
    pictures: Sequence[Picture]
    measure: str
    ranked: int
    advice: Sequence[Advice]
    checked: bool

    @property
    def seldom(self) -> Sequence[Found]:
        """Classes found in the smallest part of their photos, if not in all."""
        return [one for one in self.found if one.part < 1][:SELDOM]


def answer(
    run: RunFolder,
    known: Known,
    number: int,
    pictures: Sequence[Picture],
    measure: str,
    ranked: int,
) -> Answer:
    """Put the first screen together."""
    masks = known.masks
    found = (
        [Found(n, *counts, masks.shares[n]) for n, counts in masks.found.items()] if masks else []
    )
    return Answer(
        photos=known.lists,
        number=number,
        classes=known.classes,
        time=duration(sum(known.seconds.values())),
        products=products(run, known),
        lists=list(known.measured),
        rows=rows(known),
        background=masks.background if masks else None,
        found=sorted(found, key=lambda one: one.part),
        pictures=pictures,
        measure=measure,
        ranked=ranked,
        advice=advice(known),
        checked=masks is not None,
    )


def products(run: RunFolder, known: Known) -> list[Product]:
    """What the run made, the masks first; before them, what is there and what comes next."""

    def path(file: Path) -> str:
        return file.relative_to(run.path).as_posix()

    made = []
    if known.masks:
        place = path(run.masks("masks")) + "/"
        made.append(Product("Masks of these photos", place, _made_by(known.masks)))
    if known.masks and known.corrected:
        how = f"{known.corrected} masks corrected by hand, in place of those above"
        made.append(Product("Corrected masks", path(run.masks("corrected")) + "/", how))
    if known.network:
        place = path(run.weights("segment"))
        use = "esol predict RUN PHOTOS OUT"
        made.append(Product("Network for new photos", place, known.network.name, use))
    if known.masks:
        return made
    if known.kinds:
        titles = ", ".join(TITLES[kind] for kind in known.kinds)
        made.append(Product("Maps of these photos", path(run.stage("cams")) + "/", titles))
    last = max((list(STAGES).index(name) for name in known.seconds), default=-1)
    done = f"done up to the stage {list(STAGES)[last]}" if last >= 0 else "no stage is done"
    return [*made, Product("No masks yet", "", f"{done}; the same esol run command goes on")]


def rows(known: Known) -> list[Row]:
    """The table of stages, over all measured lists."""
    lists = known.measured.values()
    kinds = [kind for kind in TITLES if any(kind in numbers for numbers in lists)]
    table = []
    for kind in kinds:
        base = _base(kind, kinds, known)
        miou = [_miou(numbers, kind) for numbers in lists]
        before = [_miou(numbers, base) for numbers in lists]
        gain = [
            None if one is None or other is None else one - other
            for one, other in zip(miou, before, strict=True)
        ]
        table.append(Row(TITLES[kind], _how(kind, base, known), miou, gain))
    return table


def _base(kind: str, measured: Sequence[str], known: Known) -> str:
    """The kind that a kind is made from, "" for none."""
    masks, network = known.masks, known.network
    if kind in ("crf", *REFINED_MAPS):
        bases = {"irn": known.walk_kind, "distil": known.distilled_kind}
        base = bases.get(kind, known.seed_kind)
    elif kind == "masks":
        base = masks.kind if masks else ""
    elif kind == "corrected":
        base = "masks"
    elif kind == "segmentation":
        learned = "corrected" if "corrected" in measured else "masks"
        base = "" if network and network.of_truth else learned
    else:
        maps = [one for one in known.kinds if one not in REFINED_MAPS]
        base = maps[maps.index(kind) - 1] if kind in maps[1:] else ""
    return base if base in measured else ""


def _how(kind: str, base: str, known: Known) -> str:
    """From what, and at which threshold, a kind was made and measured."""
    masks, network = known.masks, known.network
    if kind == "masks" and masks:
        return _made_by(masks)
    if kind == "segmentation" and network:
        truth = "trained on the GROUND TRUTH" if network.of_truth else "from the photo alone"
        return f"{network.name}, {truth}"
    parts = [f"from {named(base)}"] if base else []
    if kind == "irn" and known.walk_kind != known.seed_kind:
        parts.append(f"along edges of {named(known.seed_kind)}")
    numbers = next(found[kind] for found in known.measured.values() if kind in found)
    if "threshold" in numbers:
        parts.append(at(origin(kind, numbers["threshold"], known)))
    return " ".join(parts)


def origin(kind: str, value: float, known: Known) -> Threshold:
    """A threshold at which a kind was measured, with who chose it."""
    cut = known.thresholds.get(kind)
    return cut if cut and cut.value == value else Threshold(value, "given")


def at(threshold: Threshold) -> str:
    """A threshold in words: "at 0.52 (chosen by rule)"."""
    return f"at {level(threshold.value)} ({threshold.origin})"


def _made_by(masks: Masks) -> str:
    """How pseudo masks were made: "Shrinkage at 0.44 (chosen by rule), then CRF"."""
    saliency = ", with saliency maps" if masks.saliency else ""
    crf = ", then CRF" if masks.crf else ""
    return f"{named(masks.kind)} {at(masks.threshold)}{crf}{saliency}"


def _miou(numbers: Mapping[str, Any], kind: str) -> float | None:
    return numbers[kind]["fixed"]["miou"] if kind in numbers else None


def level(threshold: float) -> str:
    """A threshold with two decimals, or with more if it needs them."""
    return max(f"{threshold:.2f}", f"{threshold:g}", key=len)


def duration(seconds: float) -> str:
    """A time in words: "42 s", "6 min 40 s", "3 h 5 min"; "" for none."""
    whole = round(seconds)
    if whole < 1:
        return "" if not seconds else "1 s"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
