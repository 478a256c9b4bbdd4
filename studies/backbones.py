"""Which timm networks can be the backbone; writes the table of docs/backbones.md.

    python studies/backbones.py

Each network, from random weights, goes through every stage from classify to evaluate but the
segmentation network, on a few drawn photos, two steps each: frozen with cached features, and
learning as a whole. Masks are made of IRN's maps where IRN takes the network, else of the seeds.
What came of it is looked at, not only that nothing was raised. No score is told here.
"""

import argparse
import functools
import json
import shutil
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

import esol
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.method.classifier import Classifier
from esol.networks.affinity import AffinityNet
from esol.networks.backbone import Backbone
from esol.networks.pretrained import classifier_prefixes
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->"

NAMES = (
    *("resnet18", "resnet50", "mobilenetv2_100", "mobilenetv3_large_100", "efficientnet_b0"),
    *("mobilenetv4_conv_small", "tf_efficientnet_lite0", "vit_tiny_patch16_224"),
    *("vit_small_patch14_dinov2", "swin_tiny_patch4_window7_224", "xcit_nano_12_p16_224"),
    *("deit_tiny_distilled_patch16_224", "eva02_tiny_patch14_224", "vit_xsmall_patch16_clip_224"),
    *("vit_small_patch16_dinov3", "hiera_tiny_224", "convnextv2_atto", "efficientvit_b0"),
    *("inception_v3", "hrnet_w18_small", "swinv2_tiny_window8_256", "vit_pe_core_tiny_patch16_384"),
    *("vit_wee_patch16_reg1_gap_256", "convit_tiny", "efficientvit_m0", "mambaout_femto"),
    *("pvt_v2_b0", "levit_128s", "vit_small_patch14_reg4_dinov2", "deit_tiny_patch16_224"),
    *("vit_small_patch8_224.dino", "tiny_vit_5m_224", "repvit_m0_9", "edgenext_xx_small"),
    *("convnext_atto", "regnety_002", "vit_base_patch16_siglip_224", "beit_base_patch16_224"),
    *("fastvit_t8", "cait_xxs24_224", "davit_tiny", "densenet121", "vgg11"),
)
SIDE, PHOTOS = 64, 8
SEEDS = (0, 1, 2)
"""Tried in turn: with some, a random network's maps are empty, and no sampler has a gradient."""


class EmptyMapsError(AssertionError):
    """Nothing can be seen: maps are empty, or a sampler did not learn because they are."""


UNSEEN = "nothing is seen: from random weights, maps are empty or samplers have no gradient"
"""What is said of a network where this happens with each seed."""


WAYS = {
    "frozen, cached": (
        *("--backbone.learn=[]", "--backbone.norm=frozen", "--backbone.cache=true"),
    ),
    "learning": (*('--backbone.learn=["*"]', "--backbone.norm=learned"),),
}
FEW = (
    *(f"--input.size={SIDE}", "--head.width=16", "--backbone.weights=none", "--cams.scales=[1]"),
    *("--backbone.stride=auto", "--segment.network=none"),
    # Else two steps already teach a random classifier that most tags are rare: its maps are empty.
    "--classify.fit.lr=1e-5",
    *(f"--{part}.fit.steps=2" for part in ("classify", "expand", "shrink", "refine.affinity")),
    *(f"--{part}.fit.batch=4" for part in ("classify", "expand", "shrink", "refine.affinity")),
    *(f"--refine.affinity.input.size={SIDE}", "--refine.walk.steps=4", "--machine.device=cpu"),
)


def main() -> None:
    """Try, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help="timm's names")
    parser.add_argument("--page", type=Path, default=PAGE, help="file with the two marks")
    options = parser.parse_args()
    before, rest = options.page.read_text(encoding="utf-8").split(BEGIN)
    with tempfile.TemporaryDirectory() as folder:
        write_synthetic(Path(folder) / "photos", photos=PHOTOS, size=SIDE, seed=0)
        table = "\n".join(rows(options.names, Path(folder)))
    text = f"{before}{BEGIN}\n{table}\n\n{END}{rest.split(END)[1]}"
    options.page.write_text(text, encoding="utf-8")


def rows(names: Sequence[str], folder: Path) -> Iterator[str]:
    """Lines of the table; notes, which are messages of the program, below it."""
    heads = ["backbone", "C", "parameters", "stride", *WAYS, "stride 8", "IRN"]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    notes: dict[str, int] = {}
    for name in names:
        backbone = made(name)
        if isinstance(backbone, str):
            cells = ["-", "-", "-", *[backbone] * (len(WAYS) + 2)]
        else:
            irn = refined(backbone)
            tried = [attempt(name, way, folder, backbone, irn=irn == "yes") for way in WAYS]
            finer = made(name, stride=8)
            cells = [*size(backbone, name), *tried, finer if isinstance(finer, str) else "yes", irn]
        told = [cell.replace(repr(name), "NAME") for cell in cells]
        marks = [
            f"no ({notes.setdefault(line, len(notes) + 1)})"
            if line.startswith(("backbone.", UNSEEN))
            else line
            for line in told
        ]
        row = f"| `{name}` | {' | '.join(marks)} |"
        print(row, flush=True)
        yield row
    yield ""
    yield from (f"{number}. `{line}`" for line, number in notes.items())


def made(name: str, stride: int | Literal["auto"] = "auto") -> Backbone | str:
    """The network, or the line with which the program refuses it."""
    settings = BackboneSettings(name=name, weights="none", stride=stride, learn=(), norm="frozen")
    try:
        return Backbone(settings, side=SIDE)
    except InputError as error:
        return str(error)


def refined(backbone: Backbone) -> str:
    """Whether IRN takes the network: "yes", or the line with which the program refuses it."""
    try:
        AffinityNet(backbone, displacement=False)
    except InputError as error:
        return str(error)
    return "yes"


def size(backbone: Backbone, name: str) -> tuple[str, str, str]:
    """Channels of the features, parameters without the classifier, and pixels per cell."""
    kept = {
        key: p.numel()
        for key, p in backbone.network.named_parameters()
        if not key.startswith(classifier_prefixes(name))
    }
    stride = f"{backbone.stride}, one size" if backbone.side else str(backbone.stride)
    return str(backbone.channels), f"{sum(kept.values()) / 1e6:.1f} M", stride


@functools.cache
def settings_of(way: str) -> esol.Settings:
    """Settings of a way, for any network."""
    return esol.load_settings("demo", *FEW, *WAYS[way])


def attempt(name: str, way: str, folder: Path, backbone: Backbone, *, irn: bool) -> str:
    """Run and look; "yes", or the one line with which the program refuses, before any work."""
    settings, run = settings_of(way), folder / "run"
    settings = replace(
        settings,
        backbone=replace(settings.backbone, name=name),
        refine=replace(settings.refine, methods=("irn",) if irn else ()),
        masks=replace(settings.masks, source="irn" if irn else "seeds"),
    )
    for seed in SEEDS:
        settings = replace(settings, seed=seed)
        try:
            esol.run(settings, folder / "photos", run, last="evaluate")
            examine(settings, run, backbone.stride)
            return "yes"
        except EmptyMapsError as error:
            print(f"{name}, seed {seed}: {error}", flush=True)
        except Exception as error:
            if isinstance(error, InputError) and not run.exists():
                return str(error)
            # The hour's other networks are not lost; the page's test finds this cell.
            traceback.print_exc()
            return f"FAILED: {type(error).__name__}"
        finally:
            shutil.rmtree(run, ignore_errors=True)
    return UNSEEN


def examine(settings: esol.Settings, run: Path, stride: int) -> None:
    """Raise an AssertionError unless every stage did what it is for."""
    torch.manual_seed(settings.seed)
    found = load_file(RunFolder(run).stage("classify") / "classifier.safetensors")
    start = Classifier.start(settings, len(found["head.v.weight"])).state_dict()
    moved = [key for key in found if not torch.equal(found[key], start[key])]
    assert any(key.startswith("head.") for key in moved), "the head did not learn"
    learned = any(key.startswith("backbone.") for key in moved)
    assert learned != settings.backbone.frozen, f"backbone moved: {learned}"
    states = [found]
    for stage, file in (("expand", "expansion"), ("shrink", "shrinkage")):
        states.append(load_file(RunFolder(run).stage(stage) / f"{file}.safetensors"))
        if not states[-1]["sampler.predict.weight"].any():
            raise EmptyMapsError(f"{stage}: the sampler did not learn")
    assert all(finite(state) for state in states), "weights are not finite"
    for kind in ("cam", "expansion", "shrinkage"):
        maps = [load_maps(p).maps for p in (RunFolder(run).stage("cams") / kind).rglob("*.npz")]
        assert len(maps) == PHOTOS, f"{len(maps)} maps"
        assert all(np.isfinite(m).all() for m in maps), f"{kind}: maps are not finite"
        if not any(np.ptp(m) > 0 for m in maps):
            raise EmptyMapsError(f"{kind}: no map has a place")
    examine_masks(settings, RunFolder(run))
    cells = -(-SIDE // stride)
    cached = list(run.glob("cache/*/*.npy")) if settings.backbone.frozen else []
    for path in cached:
        features = np.load(path)
        assert features.shape[2:] == (cells, cells), features.shape
        assert np.isfinite(features).all(), "features do not fit into float16"
    assert len(cached) == (PHOTOS if settings.backbone.frozen else 0), "cache"


def examine_masks(settings: esol.Settings, run: RunFolder) -> None:
    """Raise an AssertionError unless every photo has a mask, and every kind of map a number."""
    folders = run.mask_folders(settings)
    assert len(list(folders["masks"].rglob("*.png"))) == PHOTOS, "masks"
    measured = json.loads((run.stage("evaluate") / "metrics.json").read_text())["lists"]["val"]
    kinds = {
        "cam",
        "expansion",
        "shrinkage",
        "masks",
        *(["irn"] if settings.refine.methods else []),
    }
    assert kinds <= set(measured), f"measured: {list(measured)}"
    numbers = [found["fixed"]["miou"] for kind, found in measured.items() if kind in kinds]
    assert all(0 <= number <= 1 for number in numbers), f"mIoU: {numbers}"


def finite(state: dict[str, Tensor]) -> bool:
    """Whether no number is infinite or missing."""
    return all(bool(torch.isfinite(value).all()) for value in state.values())


if __name__ == "__main__":
    main()
