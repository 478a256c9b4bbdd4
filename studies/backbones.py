"""Which timm networks can be the backbone; writes the table of docs/backbones.md.

    python studies/backbones.py

Each network, from random weights, goes through the stages classify, expand, shrink, cams, seeds and
refine on a few drawn photos, two steps each: frozen with cached features, and learning as a whole.
What came of it is looked at, not only that nothing was raised. No score is measured here.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

import esol
from esol.data.synthetic import write_synthetic
from esol.errors import InputError
from esol.maps.files import load_maps
from esol.method.classifier import Classifier
from esol.networks.backbone import Backbone
from esol.networks.pretrained import classifier_prefixes
from esol.runs.folder import RunFolder
from esol.settings import BackboneSettings

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->"

NAMES = (
    *("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "mobilenetv2_100"),
    *("mobilenetv3_large_100", "efficientnet_b0", "regnety_008", "densenet121", "convnext_tiny"),
    *("vgg16", "hrnet_w18", "inception_v3"),
    *("vit_small_patch16_224", "swin_tiny_patch4_window7_224"),
)
STRIDES = (16, 8)
SIDE, PHOTOS = 64, 8

WAYS = {
    "frozen, cached": (
        *("--backbone.learn=[]", "--backbone.norm=frozen", "--backbone.cache=true"),
    ),
    "learning": (*('--backbone.learn=["*"]', "--backbone.norm=learned"),),
}
FEW = (
    *(f"--input.size={SIDE}", "--head.width=16", "--backbone.weights=none"),
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


def rows(names: tuple[str, ...], folder: Path) -> Iterator[str]:
    """Lines of the table; notes, which are messages of the program, below it."""
    heads = ["backbone", "C", "parameters", *(f"{w}, {s}" for s in STRIDES for w in WAYS)]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    notes: dict[str, int] = {}
    for name in names:
        told = [
            attempt(name, stride, way, folder / f"{name}-{stride}-{number}")
            for stride in STRIDES
            for number, way in enumerate(WAYS)
        ]
        marks = [
            "yes" if line == "yes" else f"no ({notes.setdefault(line, len(notes) + 1)})"
            for line in told
        ]
        row = f"| `{name}` | {' | '.join([*size(name), *marks])} |"
        print(row, flush=True)
        yield row
    yield ""
    yield from (f"{number}. `{line}`" for line, number in notes.items())


def size(name: str) -> tuple[str, str]:
    """Channels of the features, and parameters without the classifier; dashes if it is refused."""
    try:
        backbone = Backbone(
            BackboneSettings(name=name, weights="none", stride=32, learn=(), norm="frozen")
        )
    except InputError:
        return "-", "-"
    kept = {
        key: p.numel()
        for key, p in backbone.network.named_parameters()
        if not key.startswith(classifier_prefixes(name))
    }
    return str(backbone.channels), f"{sum(kept.values()) / 1e6:.1f} M"


def attempt(name: str, stride: int, way: str, run: Path) -> str:
    """Run and look; "yes", or the one line with which the program refuses, before any work."""
    settings = esol.load_settings(
        "demo", f"--backbone.name={name}", f"--backbone.stride={stride}", *FEW, *WAYS[way]
    )
    try:
        esol.run(settings, run.parent / "photos", run, last="refine")
    except InputError as error:
        if run.exists():
            raise
        return str(error)
    examine(settings, run)
    return "yes"


def examine(settings: esol.Settings, run: Path) -> None:
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
        assert states[-1]["sampler.predict.weight"].any(), f"{stage}: the sampler did not learn"
    assert all(finite(state) for state in states), "weights are not finite"
    for kind in ("cam", "expansion", "shrinkage"):
        maps = [load_maps(p).maps for p in (RunFolder(run).stage("cams") / kind).rglob("*.npz")]
        assert len(maps) == PHOTOS, f"{len(maps)} maps"
        assert all(np.isfinite(m).all() for m in maps), f"{kind}: maps are not finite"
        assert any(np.ptp(m) > 0 for m in maps), f"{kind}: no map has a place"
    cells = SIDE // settings.backbone.stride
    cached = list(run.glob("cache/*/*.npy")) if settings.backbone.frozen else []
    for path in cached:
        features = np.load(path)
        assert features.shape[2:] == (cells, cells), features.shape
        assert np.isfinite(features).all(), "features do not fit into float16"
    assert len(cached) == (PHOTOS if settings.backbone.frozen else 0), "cache"


def finite(state: dict[str, Tensor]) -> bool:
    """Whether no number is infinite or missing."""
    return all(bool(torch.isfinite(value).all()) for value in state.values())


if __name__ == "__main__":
    main()
