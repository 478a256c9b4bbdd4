"""Advice on the report: each rule speaks where it should, and is silent on a good run."""

from dataclasses import replace
from typing import Any

import pytest

from esol.masks.background import Background
from esol.report.advice import MOST, RULES, Advice, advice, main_list
from esol.report.answer import answer, products, rows
from esol.report.known import Known, Masks, Network, Threshold
from esol.runs.folder import RunFolder
from esol.settings import Fit

CLASSES = ("cat", "dog")


def kind(miou: float, best: float | None = None, at: float = 0.3) -> dict[str, Any]:
    """An entry of metrics.json; with ``best``, at 0.5, one of maps."""
    per_class = {name: {"iou": miou} for name in ("background", *CLASSES)}
    fixed = {"fixed": {"miou": miou, "per_class": per_class}}
    if best is None:
        return fixed
    return fixed | {
        "threshold": at,
        "best_on_ground_truth": {"threshold": 0.5, "miou": best},
        "curves": {"threshold": [0.3, 0.4, 0.5], "miou": [miou, (miou + best) / 2, best]},
    }


MASKS = Masks(
    source="crf",
    kind="shrinkage",
    threshold=Threshold(0.4, "chosen by rule"),
    wanted=None,
    saliency=False,
    photos=40,
    background=0.6,
    estimate=Background(0.7, 1.0),
    empty=0,
    found={"cat": (20, 20), "dog": (20, 19)},
    shares={"cat": 0.2, "dog": 0.2},
)
GOOD = Known(
    lists={"train": 40, "val": 10},
    train="train",
    classes=CLASSES,
    tags=[{0}, {1}] * 18 + [{0, 1}] * 2 + [set()] * 2,
    kinds=("cam", "expansion", "shrinkage"),
    seed_kind="shrinkage",
    walk_kind="shrinkage",
    distilled_kind="shrinkage",
    thresholds={
        "cam": Threshold(0.3, "given"),
        "expansion": Threshold(0.3, "given"),
        "shrinkage": Threshold(0.4, "chosen by rule"),
    },
    masks=MASKS,
    corrected=0,
    network=Network("DeepLabV3Plus", "imagenet", False, Fit(epochs=4)),
    measured={
        "val": {"photos": 10, "masks": kind(0.1), "segmentation": kind(0.1)},
        "train": {
            "photos": 40,
            "cam": kind(0.40, 0.42),
            "expansion": kind(0.41, 0.43),
            "shrinkage": kind(0.45, 0.47),
            "masks": kind(0.50),
            "segmentation": kind(0.45),
        },
    },
    seconds={"classify": 3600.0, "masks": 65.4},
)


def measured(**kinds: dict[str, Any]) -> Known:
    return replace(GOOD, measured={"train": {**GOOD.measured["train"], **kinds}})


def masked(**fields: Any) -> Known:
    return replace(GOOD, masks=replace(MASKS, **fields))


def test_a_good_run_gets_no_advice() -> None:
    assert advice(GOOD) == ()
    assert advice(replace(GOOD, measured={}, network=None)) == ()


def test_a_run_of_an_earlier_version_gets_none_of_what_it_does_not_know() -> None:
    assert advice(masked(background=None, estimate=None)) == ()


CASES = [
    (
        masked(estimate=Background(0.1, 1.0)),
        "Look at the masks, and say how much of a photo the objects fill: masks.threshold 90%,",
        "background fills 60 % of the masks, but a CRF",
    ),
    (masked(wanted=0.05), "masks.source seeds", "fill 40 % of the masks, not 5 % as asked for"),
    (masked(wanted=0.9, source="seeds"), "masks.threshold 0.5", "fill 40 % of the masks, not 90 %"),
    (masked(empty=5), "Lower masks.threshold (0.40 now), or train longer", "5 photos with a tag"),
    (
        measured(masks=kind(0.42)),
        "masks.source seeds, masks.threshold 0.3",
        "on train the masks have mIoU 42.0, but Shrinkage had 45.0",
    ),
    (
        replace(
            measured(masks=kind(0.42), crf=kind(0.48)),
            masks=replace(MASKS, source="irn", kind="irn"),
        ),
        "masks.source crf, masks.threshold 0.3",
        "but CRF had 48.0",
    ),
    (
        measured(shrinkage=kind(0.3, 0.6), masks=kind(0.58), segmentation=kind(0.55)),
        "masks.threshold 0.5",
        "best on ground truth: Shrinkage maps have mIoU 60.0 there, 45.0 at 0.4",
    ),
    (
        measured(cam=kind(0.40, 0.50)),
        "seeds.kind cam",
        "CAM maps are better than Shrinkage maps: mIoU 50.0, not 47.0",
    ),
    (measured(masks=kind(0.50) | {"fixed": {"miou": 0.5, "per_class": {
        "background": {"iou": 0.9}, "cat": {"iou": None}, "dog": {"iou": 0.01}}}}),
        "Look at the photos of dog", "IoU of the masks on train: dog 1.0"),
    (
        measured(segmentation=kind(0.30)),
        "Train the network longer: segment.fit.epochs 8",
        "it has mIoU 30.0, the masks that it learned from 50.0",
    ),
    (replace(GOOD, tags=[{0}, {0, 1}] * 20), "Add photos that do not show it", "is in all 40"),
    (replace(GOOD, tags=[{0, 1}] * 20 + [set()] * 20), "Add photos with one of them", "together"),
    (replace(GOOD, tags=[{0}] * 20 + [{1}] * 3), "Add photos, 10 or more of each", "dog (3)"),
    (
        masked(found={"cat": (20, 4), "dog": (20, 8)}),
        "Look at the photos of cat in the gallery, and check their tags",
        "the masks show cat in 4 of 20, dog in 8 of 20 photos",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("known", "do", "why"), CASES)
def test_each_rule_names_the_action_and_why(known: Known, do: str, why: str) -> None:
    given = advice(known, most=20)
    assert len(given) == 1, given
    assert do in given[0].do
    assert why in given[0].why


def test_every_rule_has_a_case() -> None:
    spoke = {rule for known, _, _ in CASES for rule in RULES if list(rule(known))}
    assert spoke == set(RULES)


def test_small_differences_are_no_reason() -> None:
    for known in (
        masked(estimate=Background(0.1, 0.9)),
        masked(wanted=0.3),
        masked(empty=1),
        measured(masks=kind(0.44)),
        measured(shrinkage=kind(0.44, 0.51)),
        measured(cam=kind(0.40, 0.48)),
        measured(segmentation=kind(0.41)),
        masked(found={"cat": (1, 0), "dog": (20, 10)}),
    ):
        assert advice(known) == (), known


def test_the_network_is_told_from_which_weights_to_start_and_in_which_unit() -> None:
    weak = measured(segmentation=kind(0.30))
    (given,) = advice(replace(weak, network=Network("FPN", "none", False, Fit(steps=100))))
    assert "segment.fit.steps 200 and start from pretrained weights: segment.weights" in given.do
    assert advice(replace(weak, network=Network("FPN", "none", True, Fit()))) == ()


def test_only_the_first_few_are_given() -> None:
    many = replace(masked(estimate=Background(0.1, 1.0), empty=9), tags=[{0}] * 5)
    assert len(advice(many, most=20)) > MOST
    assert list(advice(many)) == list(advice(many, most=20))[:MOST]
    assert all(isinstance(one, Advice) for one in advice(many))


def test_numbers_that_cannot_mean_what_they_say_are_no_reason() -> None:
    bad = measured(segmentation=kind(0.1))
    assert advice(bad)
    train = {**bad.measured["train"], "warnings": ["the ground truth has no background: .."]}
    assert advice(replace(bad, measured={"train": train})) == ()
    val = {**bad.measured["train"], "segmentation": kind(0.2)}
    other = replace(bad, measured={"train": train, "val": val})
    assert main_list(other)[0] == "val"
    assert "on val it has mIoU 20.0" in advice(other)[0].why


def test_the_table_says_what_each_stage_adds_to_what_it_is_made_from() -> None:
    irn = masked(source="irn", kind="irn")
    irn = replace(
        irn,
        kinds=(*GOOD.kinds, "irn"),
        thresholds={**GOOD.thresholds, "irn": Threshold(0.4, "chosen by rule")},
        measured={
            "train": {**GOOD.measured["train"], "crf": kind(0.44), "irn": kind(0.5, 0.5, 0.4)}
        },
    )
    table = {row.title: row for row in rows(irn)}
    assert list(table) == [
        "CAM", "Expansion", "Shrinkage", "+ CRF", "+ IRN", "pseudo masks", "segmentation",
    ]  # fmt: skip
    gains = [row.gain[0] for row in table.values()]
    assert gains[0] is None
    assert gains[1:] == pytest.approx([0.01, 0.04, -0.01, 0.05, 0.0, -0.05])
    assert [row.how for row in table.values()] == [
        "at 0.30 (given)",
        "from CAM at 0.30 (given)",
        "from Expansion at 0.30 (given)",
        "from Shrinkage",
        "from Shrinkage at 0.40 (chosen by rule)",
        "IRN at 0.40 (chosen by rule)",
        "DeepLabV3Plus, from the photo alone",
    ]
    walked = next(row for row in rows(replace(irn, walk_kind="cam")) if row.title == "+ IRN")
    assert walked.how == "from CAM along edges of Shrinkage at 0.40 (chosen by rule)"
    assert walked.gain == pytest.approx([0.1])
    two = rows(GOOD)
    assert [row.miou for row in two if row.title == "CAM"] == [[None, 0.40]]
    assert [row.gain for row in two if row.title == "segmentation"] == [pytest.approx([0.0, -0.05])]
    upper = replace(GOOD, network=Network("FPN", "imagenet", True, Fit()))
    assert rows(upper)[-1].gain == [None, None]
    assert "GROUND TRUTH" in rows(upper)[-1].how


def test_what_the_run_made_is_named_with_its_place(tmp_path) -> None:
    run = RunFolder(tmp_path)
    told = [(one.what, one.path, one.how) for one in products(run, replace(GOOD, corrected=3))]
    assert told == [
        ("Masks of these photos", "07-masks/", "Shrinkage at 0.40 (chosen by rule), then CRF"),
        ("Corrected masks", "corrected/", "3 masks corrected by hand, in place of those above"),
        ("Network for new photos", "08-segment/model.safetensors", "DeepLabV3Plus"),
    ]
    early = replace(GOOD, masks=None, network=None, seconds={"classify": 1.0, "cams": 2.0})
    assert [one.path for one in products(run, early)] == ["04-cams/", ""]
    assert "up to the stage cams" in products(run, early)[-1].how
    first = answer(run, GOOD, 45, [], "mIoU", 0)
    assert (first.time, first.number) == ("1 h 1 min", 45)
    assert [one.name for one in first.seldom] == ["dog"]
    assert first.checked
    assert not answer(run, early, 45, [], "mIoU", 0).checked
