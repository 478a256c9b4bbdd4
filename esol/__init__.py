"""ESOL: from image tags to segmentation masks.

Expansion and Shrinkage of Localization for Weakly-Supervised Semantic Segmentation (NeurIPS 2022),
as a library. The command line does the same: ``esol --help``.

Masks of new photos, from a run or a file of ``esol export``::

    model = esol.load("runs/mine")
    prediction = model.predict("photo.jpg")
    prediction.save("mask.png")

The names, most wanted first:

- load, Model, Prediction: a trained network, and what it finds in photos
- load_settings, dump_settings, Settings: settings of a run, from YAML and flags
- run: all stages on a folder of tagged photos; write_report: the page of a run
- open_dataset, Dataset, Sample, check, write_synthetic: folders of photos and tags
- load_maps, Maps, seed_mask: a run's maps, and masks from them
- evaluate_masks: precision, recall and mIoU of a folder of masks
- deform_conv2d_frozen, dense_crf, random_walk: functions of tensors
- InputError: what every function raises when a file or a value must be changed

``help(esol.load)`` says what one of them takes. Paths may be text or ``Path``.

>>> import esol
>>> settings = esol.load_settings("demo", "--seed=1")
>>> settings.expand.alpha
0.01
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
"""The one place of the version: the build reads it here."""

if TYPE_CHECKING:
    from esol.data import Dataset as Dataset
    from esol.data import Sample as Sample
    from esol.data import open_dataset as open_dataset
    from esol.data.check import check as check
    from esol.data.synthetic import write_synthetic as write_synthetic
    from esol.errors import InputError as InputError
    from esol.maps.files import Maps as Maps
    from esol.maps.files import load_maps as load_maps
    from esol.masks.seeds import seed_mask as seed_mask
    from esol.metrics.folders import evaluate_masks as evaluate_masks
    from esol.ops.crf import dense_crf as dense_crf
    from esol.ops.deform import deform_conv2d_frozen as deform_conv2d_frozen
    from esol.ops.walk import random_walk as random_walk
    from esol.predict.model import Model as Model
    from esol.predict.model import load as load
    from esol.predict.prediction import Prediction as Prediction
    from esol.report.summary import write_report as write_report
    from esol.settings import Settings as Settings
    from esol.settings.load import dump_settings as dump_settings
    from esol.settings.load import load_settings as load_settings
    from esol.stages import run as run

_HOMES = {
    "Dataset": "esol.data",
    "InputError": "esol.errors",
    "Maps": "esol.maps.files",
    "Model": "esol.predict.model",
    "Prediction": "esol.predict.prediction",
    "Sample": "esol.data",
    "Settings": "esol.settings",
    "check": "esol.data.check",
    "deform_conv2d_frozen": "esol.ops.deform",
    "dense_crf": "esol.ops.crf",
    "dump_settings": "esol.settings.load",
    "evaluate_masks": "esol.metrics.folders",
    "load": "esol.predict.model",
    "load_maps": "esol.maps.files",
    "load_settings": "esol.settings.load",
    "open_dataset": "esol.data",
    "random_walk": "esol.ops.walk",
    "run": "esol.stages",
    "seed": "esol.masks.seeds",
    "seed_mask": "esol.masks.seeds",
    "write_report": "esol.report.summary",
    "write_synthetic": "esol.data.synthetic",
}
_RENAMED = {"seed": "seed_mask"}
"""Old public name -> what it is called now."""

__all__ = [name for name in _HOMES if name not in _RENAMED]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``esol --help`` need not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), _RENAMED.get(name, name))
    raise AttributeError(f"module 'esol' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names too, whether or not they have been used: for completion and ``help``."""
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
