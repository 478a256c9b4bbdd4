"""Titles of the kinds of maps and masks."""

TITLES = {
    "cam": "CAM",
    "expansion": "Expansion",
    "shrinkage": "Shrinkage",
    "sccam": "SC-CAM",
    "drs": "DRS, classifier",
    "drs_refined": "DRS",
    "eps": "EPS",
    "crf": "+ CRF",
    "irn": "+ IRN",
    "masks": "pseudo masks",
    "corrected": "pseudo masks, corrected",
    "segmentation": "segmentation",
}
"""Kind of maps or masks -> title, in the order in which they are made."""


def named(kind: str) -> str:
    """A kind's title in a sentence: "CRF"."""
    return TITLES[kind].removeprefix("+ ")
