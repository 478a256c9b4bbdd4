"""Titles of the kinds of maps and masks."""

TITLES = {
    "cam": "CAM",
    "expansion": "Expansion",
    "shrinkage": "Shrinkage",
    "sccam": "SC-CAM",
    "drs": "DRS, classifier",
    "drs_refined": "DRS",
    "eps": "EPS",
    "lpcam": "LPCAM",
    "crf": "+ CRF",
    "irn": "+ IRN",
    "affinity": "+ affinity",
    "distil": "+ distil",
    "masks": "pseudo masks",
    "corrected": "pseudo masks, corrected",
    "segmentation": "segmentation",
}
"""Kind of maps or masks -> title, in the order in which they are made."""

MEANINGS = {
    "cam": "what a classifier alone finds",
    "expansion": "more of the objects, some ground too",
    "shrinkage": "ground taken back",
    "sccam": "a classifier with sub-categories",
    "drs": "its first network",
    "drs_refined": "its second network, on these maps",
    "eps": "learned from tags and saliency",
    "lpcam": "what is like parts of the class",
    "crf": "seeds, moved to where colours change",
    "irn": "maps, spread up to learned edges",
    "affinity": "maps, spread to cells alike",
    "distil": "maps, corrected by a head that learned all masks",
    "masks": "final masks, made with the tags",
    "corrected": "with your corrections",
    "segmentation": "the network, without any tags",
}
"""Kind of maps or masks -> what its numbers are of, a few words."""


def named(kind: str) -> str:
    """A kind's title in a sentence: "CRF"."""
    return TITLES[kind].removeprefix("+ ")
