"""Prepare a data folder that ``esol run`` reads: from official archives, or tags from masks."""

from esol.prepare.coco14 import prepare_coco14
from esol.prepare.state import Prepared
from esol.prepare.tags import TagsOfMasks, tags_from_masks
from esol.prepare.voc12 import prepare_voc12

__all__ = [
    "DATA_SETS",
    "Prepared",
    "TagsOfMasks",
    "prepare_coco14",
    "prepare_voc12",
    "tags_from_masks",
]

DATA_SETS = {"voc12": prepare_voc12, "coco14": prepare_coco14}
"""Name on the command line -> the function."""
