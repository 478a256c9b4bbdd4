"""CPU seconds of the stages of a checkout of the original IRN, for rivals.py; prints JSON.

    python benchmarks/irn_checkout.py CHECKOUT WORK BATCH WALKED

WORK has JPEGImages/, list.txt, labels/ and voc12/cls_labels.npy. The checkout's own modules
run as they are; what they call of CUDA, of processes and of outdated libraries is replaced while
this process lasts. Weights are random, and numbers below 1e-38 count as 0, which are slow.
"""

import functools
import importlib
import importlib.util
import inspect
import json
import os
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import Subset

STAGES = {
    "classifier": "step.train_cam",
    "maps": "step.make_cam",
    "labels": "step.cam_to_ir_label",
    "IRNet": "step.train_irn",
    "walk": "step.make_sem_seg_labels",
}
CRF = "pydensecrf"
INSTALL = "IRN needs: pip install scikit-image imageio opencv-python-headless pydensecrf2"

marks: list[float] = []
"""CPU seconds at the end of every optimizer step."""

spawned: list[float] = []
"""CPU seconds of the work that a stage gives to other processes, here done in this one."""


limits: list[int] = []
"""How many photos of its list a stage sees."""


def main() -> None:
    checkout, work, batch, walked = sys.argv[1:]
    torch.set_flush_denormal(True)
    os.chdir(work)
    sys.path.insert(0, checkout)
    has_crf = importlib.util.find_spec(CRF) is not None
    adapt(has_crf)
    register_optimizer_step_post_hook(lambda *_: marks.append(time.process_time()))
    given = settings(int(batch))
    photos = len(Path("list.txt").read_text().split())
    counts = {"maps": photos, "labels": photos, "walk": int(walked)}
    found: dict[str, float | str] = {}
    for module in STAGES.values():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise SystemExit(f"{checkout}: {error}; {INSTALL}") from error
    for stage, module in STAGES.items():
        if stage == "labels" and not has_crf:
            found[stage] = f"needs {CRF}"
            continue
        if counts.get(stage) == 0:
            found[stage] = "left out"
            continue
        try:
            with redirect_stdout(sys.stderr):
                found[stage] = seconds(module, given, counts.get(stage), int(batch))
        # Whatever the checkout raises: the other stages go on.
        except Exception as error:
            found[stage] = " ".join(f"{type(error).__name__}: {error}".split())
    print(json.dumps(found))


def seconds(module: str, given: Namespace, photos: int | None, batch: int) -> float:
    """Of one stage: a photo, or a view of a training (``photos`` is None)."""
    marks.clear()
    spawned.clear()
    stage = importlib.import_module(module)
    if hasattr(stage, "validate"):
        vars(stage)["validate"] = lambda *_: None
    if module == STAGES["walk"]:
        # A photo's size is two arrays of one number, by which new versions of NumPy do not slice.
        flat = {**vars(np), "asarray": lambda values: np.asarray(values).ravel()}
        vars(stage)["np"] = SimpleNamespace(**flat)
    # In make_cam and make_sem_seg_labels this many processes would read photos ahead. In
    # cam_to_ir_label it divides the photos, and the last part prints by twentieths of them.
    given.num_workers = 2 if module == STAGES["labels"] else 0
    limits[:] = [photos or 0]
    stage.run(given)
    if photos is None:
        return float(statistics.median(np.diff(marks)) / batch)
    return sum(spawned) / photos


def settings(batch: int) -> Namespace:
    """What IRN's run_sample.py has by default, but for places and batches."""
    for folder in ("cam", "labels", "masks"):
        Path(folder).mkdir(exist_ok=True)
    return Namespace(
        **dict.fromkeys(("train_list", "val_list", "infer_list"), "list.txt"),
        **{"voc12_root": ".", "cam_network": "net.resnet50_cam", "irn_network": "net.resnet50_irn"},
        **{"cam_crop_size": 512, "cam_batch_size": batch, "cam_num_epoches": 1},
        **{"cam_learning_rate": 0.01, "cam_weight_decay": 1e-4, "cam_scales": (1.0, 0.5, 1.5, 2.0)},
        **{"conf_fg_thres": 0.30, "conf_bg_thres": 0.05, "sem_seg_bg_thres": 0.25},
        **{"irn_crop_size": 512, "irn_batch_size": batch, "irn_num_epoches": 1},
        **{"irn_learning_rate": 0.01, "irn_weight_decay": 1e-4, "beta": 10, "exp_times": 8},
        **{"cam_weights_name": "cam", "irn_weights_name": "irn", "cam_out_dir": "cam"},
        **{"ir_label_out_dir": "labels", "sem_seg_out_dir": "masks"},
    )


def adapt(has_crf: bool) -> None:
    """Replace what IRN calls and this machine or these versions have not."""
    replace: Callable[[object, str, object], None] = setattr
    for kind in (torch.Tensor, torch.nn.Module):
        replace(kind, "cuda", lambda self, *_, **__: self)
    replace(torch.cuda, "device", lambda _: nullcontext())
    # This is the first of two: the last prints, by twentieths of the photos, which may be fewer.
    replace(torch.cuda, "device_count", lambda: 2)
    replace(torch.multiprocessing, "spawn", spawn)
    zoo = importlib.import_module("torch.utils.model_zoo")
    replace(zoo, "load_url", lambda *_, **__: random_weights())
    if importlib.util.find_spec("skimage"):
        replace(importlib.import_module("skimage.transform"), "rescale", rescale())
    if not has_crf:
        for name in (CRF, f"{CRF}.densecrf", f"{CRF}.utils"):
            sys.modules[name] = ModuleType(name)
        replace(sys.modules[f"{CRF}.utils"], "unary_from_labels", None)


def spawn(work: Callable[..., None], args: tuple[Any, ...], **_: Any) -> None:
    """``torch.multiprocessing.spawn`` in this process, with the first photos in the first part."""
    first = range(limits[0])
    whole = [[Subset(part[0].dataset, first)] if is_split(part) else part for part in args]
    begun = time.process_time()
    work(0, *whole)
    spawned.append(time.process_time() - begun)


def is_split(argument: object) -> bool:
    """Whether these are a data set's parts."""
    return isinstance(argument, list) and isinstance(argument[0], Subset)


def random_weights() -> dict[str, torch.Tensor]:
    """ResNet-50's, under torchvision's names."""
    from torchvision.models import resnet50

    weights: dict[str, torch.Tensor] = resnet50(weights=None).state_dict()
    return weights


def rescale() -> Callable[..., Any]:
    """``skimage.transform.rescale`` that takes ``multichannel`` in new versions too."""
    transform = importlib.import_module("skimage.transform")
    current = transform.rescale
    if "multichannel" in inspect.signature(current).parameters:
        return current  # type: ignore[no-any-return]

    @functools.wraps(current)
    def with_channels(*given: Any, multichannel: bool = False, **named: Any) -> Any:
        return current(*given, channel_axis=-1 if multichannel else None, **named)

    return with_channels


if __name__ == "__main__":
    main()
