"""Prepare: from the official archives on disk to a data folder that ``esol run`` reads."""

from esol.prepare.coco14 import prepare_coco14
from esol.prepare.state import Prepared
from esol.prepare.voc12 import prepare_voc12

__all__ = ["DATA_SETS", "Prepared", "prepare_coco14", "prepare_voc12"]

DATA_SETS = {"voc12": prepare_voc12, "coco14": prepare_coco14}
"""Name on the command line -> the function."""
