"""What to try next: rules over what a run knows. Each returns its advice, or none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esol.data.balance import tag_findings
from esol.masks.background import background_finding
from esol.report.known import Known
from esol.report.titles import named
from esol.settings import HEAD, REFINED_MAPS, source_parts

MOST = 2
"""Pieces of advice on the page."""

_EMPTY = 0.1
"""Share of the photos with a tag whose masks are empty that is worth a word."""

_FAR = 0.1
"""Difference of two shares of objects, or of two mIoU, that is far; with ``_TIMES``."""

_TIMES = 1.5
"""So many times the share that was asked for is far."""

_SELDOM = 0.5
"""Share of a class's photos in whose masks it should be found."""

_LOSS, _GAIN = 0.02, 0.05
"""mIoU that a step may lose, and that another threshold must gain."""

_UNLEARNED = 0.05
"""IoU of a class below which the masks are as good as without it."""

_NAMED = 3


@dataclass(frozen=True)
class Advice:
    """One thing to try.

    Attributes:
        do: the setting or the action.
        why: what the run shows.
    """

    do: str
    why: str


def advice(known: Known, most: int = MOST) -> tuple[Advice, ...]:
    """The first things to try, the most promising rules first; () if nothing stands out."""
    found = (one for rule in RULES for one in rule(known))
    return tuple(one for one, _ in zip(found, range(most), strict=False))


def wrong_share(known: Known) -> Iterator[Advice]:
    """Objects fill far more or less of the masks than was asked for, or than a CRF suggests."""
    masks = known.masks
    if masks is None or masks.background is None:
        return
    filled, wanted = 1 - masks.background, masks.wanted
    if wanted is None:
        if masks.estimate and (finding := background_finding(masks.background, masks.estimate)):
            yield _advice(*finding)
        return
    apart = max(filled, wanted) > _TIMES * min(filled, wanted)
    if apart and abs(filled - wanted) > _FAR / 2:
        why = f"objects fill {100 * filled:.0f} % of the masks, not {100 * wanted:g} % as asked for"
        if masks.crf:
            simpler, _ = source_parts(masks.source)
            yield Advice(f"Leave the CRF out: masks.source {simpler}", f"{why}: the CRF moved them")
        else:
            yield Advice("Give a threshold: masks.threshold 0.5, or another", why)


def empty_masks(known: Known) -> Iterator[Advice]:
    """Many photos with a tag have a mask without any object."""
    masks, tagged = known.masks, sum(bool(tags) for tags in known.tags)
    if masks and tagged and masks.empty >= max(2, _EMPTY * tagged):
        yield Advice(
            f"Lower masks.threshold ({masks.threshold.value:.2f} now), or train longer"
            " (classify.fit)",
            f"{masks.empty} photos with a tag have a mask without any object",
        )


def refinement_loses(known: Known) -> Iterator[Advice]:
    """Simpler masks are better on ground truth than those that the run made."""
    masks, (name, measured) = known.masks, main_list(known)
    if masks is None or "masks" not in measured:
        return
    made = _miou(measured, "masks")
    simpler = {"crf": "crf"} | ({known.seed_kind: "seeds"} if known.seed_kind else {})
    if masks.crf and masks.kind in REFINED_MAPS:
        simpler |= {masks.kind: masks.kind}
    if masks.kind == "distil" and known.distilled_kind in REFINED_MAPS:
        simpler |= {known.distilled_kind: known.distilled_kind}
    found = [
        (_miou(measured, kind), kind, source)
        for kind, source in simpler.items()
        if kind in measured and source != masks.source
    ]
    best, kind, source = max(found, default=(0.0, "", ""))
    if best - made > _LOSS:
        at = _threshold(measured, kind if kind in REFINED_MAPS else known.seed_kind)
        yield Advice(
            f"Make the masks in a simpler way: masks.source {source}, masks.threshold {at:g}",
            f"on {name} the masks have mIoU {100 * made:.1f}, but {named(kind)} had"
            f" {100 * best:.1f} before them",
        )


def better_threshold(known: Known) -> Iterator[Advice]:
    """On ground truth another threshold is far better for the maps that became masks."""
    masks, (name, measured) = known.masks, main_list(known)
    if masks is None or "curves" not in measured.get(masks.kind, ()):
        return
    curves, best = measured[masks.kind]["curves"], measured[masks.kind]["best_on_ground_truth"]
    at = dict(zip(curves["threshold"], curves["miou"], strict=True))
    now = at.get(masks.threshold.value)
    if now is not None and best["miou"] - now > _GAIN:
        yield Advice(
            f"masks.threshold {best['threshold']:g}",
            f"on {name} this is best on ground truth: {named(masks.kind)} maps have mIoU"
            f" {100 * best['miou']:.1f} there, {100 * now:.1f} at {masks.threshold.value:g}."
            " Measure the result on other photos",
        )


def better_maps(known: Known) -> Iterator[Advice]:
    """Maps of an earlier stage are better, each at its threshold that is best on ground truth."""
    name, measured = main_list(known)
    best = {
        kind: float(measured[kind]["best_on_ground_truth"]["miou"])
        for kind in known.kinds
        if kind not in REFINED_MAPS and "best_on_ground_truth" in measured.get(kind, ())
    }
    if known.seed_kind not in best:
        return
    top = max(best, key=lambda kind: best[kind])
    if best[top] - best[known.seed_kind] > _LOSS:
        yield Advice(
            f"seeds.kind {top}",
            f"on {name} {named(top)} maps are better than {named(known.seed_kind)} maps: mIoU"
            f" {100 * best[top]:.1f}, not {100 * best[known.seed_kind]:.1f}, at the thresholds that"
            " are best on ground truth",
        )


def unlearned_classes(known: Known) -> Iterator[Advice]:
    """Classes that the masks hardly ever show where the ground truth does."""
    name, measured = main_list(known)
    rows = measured.get("masks", {}).get("fixed", {}).get("per_class", {})
    ious = [(row["iou"], label) for label, row in rows.items() if row["iou"] is not None]
    missed = sorted(pair for pair in ious if pair[0] < _UNLEARNED)
    if missed:
        shown = ", ".join(f"{n} {100 * iou:.1f}" for iou, n in missed[:_NAMED])
        yield Advice(
            f"Look at the photos of {missed[0][1]} in the gallery, and add more of them",
            f"IoU of the masks on {name}: {shown}",
        )


def weak_network(known: Known) -> Iterator[Advice]:
    """The network is far below the masks that it learned from."""
    network, (name, measured) = known.network, main_list(known)
    if network is None or network.of_truth or not {"masks", "segmentation"} <= measured.keys():
        return
    learned, reached = _miou(measured, "masks"), _miou(measured, "segmentation")
    if learned - reached <= _FAR:
        return
    fit = network.fit
    steps = f"steps {2 * fit.steps}" if fit.steps else f"epochs {2 * fit.epochs}"
    group = "backbone" if network.name == HEAD else "segment"
    start = f" and start from pretrained weights: {group}.weights imagenet"
    yield Advice(
        f"Train the network longer: segment.fit.{steps}{start * (network.weights == 'none')}",
        f"on {name} it has mIoU {100 * reached:.1f}, the masks that it learned from"
        f" {100 * learned:.1f}",
    )


def unlearnable_tags(known: Known) -> Iterator[Advice]:
    """Classes in every photo, always together, or with few photos."""
    for why, do in tag_findings(known.tags, known.classes):
        yield _advice(why, do)


def seldom_found(known: Known) -> Iterator[Advice]:
    """Classes that the masks show in few of the photos with their tag."""
    if known.masks is None:
        return
    found = known.masks.found.items()
    rare = [(n / of, name, n, of) for name, (of, n) in found if of > 1 and n < _SELDOM * of]
    if rare:
        named = [f"{name} in {n} of {of}" for _, name, n, of in sorted(rare)[:_NAMED]]
        yield Advice(
            f"Look at the photos of {sorted(rare)[0][1]} in the gallery, and check their tags",
            f"the masks show {', '.join(named)} photos with the tag",
        )


RULES: Sequence[Callable[[Known], Iterator[Advice]]] = (
    wrong_share,
    empty_masks,
    refinement_loses,
    better_threshold,
    better_maps,
    unlearned_classes,
    weak_network,
    unlearnable_tags,
    seldom_found,
)
"""In the order in which their advice is given."""


def main_list(known: Known) -> tuple[str, Mapping[str, Any]]:
    """The measured list that the rules look at, training before others, and its numbers.

    Lists whose numbers cannot mean what they say are passed over; ("", {}) without any.
    """
    names = sorted(known.measured, key=lambda name: name != known.train)
    sound = (name for name in names if not known.measured[name].get("warnings"))
    name = next(sound, "")
    return name, known.measured.get(name, {})


def _advice(why: str, do: str) -> Advice:
    return Advice(do[0].upper() + do[1:], why)


def _miou(measured: Mapping[str, Any], kind: str) -> float:
    return float(measured[kind]["fixed"]["miou"])


def _threshold(measured: Mapping[str, Any], kind: str) -> float:
    return float(measured[kind]["threshold"])
