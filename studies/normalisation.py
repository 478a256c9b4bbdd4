"""What photos normalised by the wrong numbers cost: ImageNet's, where a network wants others.

    OMP_NUM_THREADS=1 python studies/normalisation.py DATA WEIGHTS OUT [--name NAME] [--SETTING=..]

configs/voc-animals-cpu.yaml learns twice from the same photos with the same weights, once with
ImageNet's mean and deviation and once with the network's own, and the maps of `val` are measured.
Nothing is chosen here: all settings are those of the configuration, and a map's best mIoU is that
of the best threshold on the ground truth, for both alike. It writes OUT/normalisation.json and
prints a table. Finished stages are not repeated.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import esol
from esol.data.normalisation import IMAGENET
from esol.errors import InputError
from esol.networks.pretrained import normalisation_of
from esol.report import percent
from esol.report.summary import TITLES
from esol.runs.folder import RunFolder
from esol.runs.manifest import provenance
from esol.system.files import write_json

CONFIG = "voc-animals-cpu"
NAME, PHOTOS, SEED = "tf_efficientnet_lite2", 1000, 0
KINDS = ("cam", "expansion", "shrinkage")
ROWS = {
    "ImageNet's": tuple(
        f"--backbone.{key}={list(value)}" for key, value in asdict(IMAGENET).items()
    ),
    "its own": (),
}


def main() -> None:
    """Learn, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="VOC folder with labels.csv and masks")
    parser.add_argument("weights", type=Path, help="weights of the network, .safetensors")
    parser.add_argument("out", type=Path, help="folder for runs and normalisation.json")
    parser.add_argument("--name", default=NAME, help="timm's name of the network")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="most photos of a list")
    parsed, changes = parser.parse_known_args()
    found: dict[str, Any] = {"record": provenance(), "photos": parsed.photos, "rows": {}}
    print(f"| {parsed.name}, mean and deviation | {' | '.join(TITLES[k] for k in KINDS)} |")
    print("|---|" + "---|" * len(KINDS))
    for row, flags in ROWS.items():
        settings = esol.load_settings(
            CONFIG,
            *(f"--backbone.name={parsed.name}", f"--backbone.weights={parsed.weights}"),
            *(f"--data.limit={parsed.photos}", f"--seed={SEED}"),
            *("--data.evaluate=[val]", "--cams.lists=[val]", *flags, *changes),
        )
        used = normalisation_of(settings.backbone)
        if not flags and used == IMAGENET:
            raise InputError(f"{parsed.name} wants ImageNet's numbers; there is nothing to compare")
        run = esol.run(settings, parsed.data, parsed.out / row.replace("'", "").replace(" ", "-"))
        measured = RunFolder(run).metrics()["lists"]["val"]
        best = {kind: measured[kind]["best_on_ground_truth"]["miou"] for kind in KINDS}
        found["rows"][row] = {**asdict(used), "best miou": best}
        print(f"| {row} | {' | '.join(percent(best[kind]) for kind in KINDS)} |", flush=True)
    write_json(parsed.out / "normalisation.json", found)


if __name__ == "__main__":
    main()
