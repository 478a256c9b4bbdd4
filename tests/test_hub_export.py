"""Folders for a model hub: read by their own library without esol, and by esol; their cards."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from PIL import Image

from esol.cli.main import main
from esol.data.images import load_image
from esol.data.transforms import to_tensor
from esol.errors import InputError
from esol.networks.backbone import Backbone
from esol.networks.segmenter import NETWORKS, Segmenter
from esol.predict.card import _list
from esol.predict.hub import export_hub
from esol.predict.model import Model, load
from esol.predict.onnx import export_bundle
from esol.settings import BackboneSettings, Segment

CLASSES = ["cat", "Schäfer|hund"]
DESCRIPTION = {
    "classes": CLASSES,
    "resize": "crop",
    "size": 64,
    "longest": 90,
    "scales": [1.0],
    "flip": True,
    "crf": {"iterations": 0},
}
LIBRARY = sorted(set(NETWORKS) - {"DeepLabV2", "head"})
CHILD = """
import os, re, sys, warnings
warnings.simplefilter("error")
sys.modules["esol"] = None  # importing it fails
import torch
for folder in sys.argv[1:]:
    os.chdir(folder)
    code = re.search("```python\\n(.*?)```", open("README.md", encoding="utf-8").read(), re.S)
    names = {}
    exec(code[1], names)
    assert names["model"].config["_labels"] == ["background", "cat", "Schäfer|hund"]
    torch.save((names["logits"], names["mask"]), "logits.pt")
assert not [name for name in sys.modules if name.startswith("esol.")]
"""


def model(network: str, encoder: str, resize: str = "crop", **changes) -> Model:
    torch.manual_seed(0)
    settings = Segment(network=network, encoder=encoder, **{"weights": "none", **changes})
    own = BackboneSettings(name="test_resnet", weights="none", stride=8)
    net = Segmenter(
        settings, len(CLASSES) + 1, Backbone.fixed(own) if network == "head" else None
    ).eval()
    for name, buffer in net.named_buffers():  # as if trained
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) / 2 + ("var" in name))
    return Model(net, {**DESCRIPTION, "resize": resize})


def assert_reads_without_esol(folders: dict[Path, Model]) -> None:
    """Each folder's card computes the logits that its model does of FOLDER/photo.jpg."""
    child = [sys.executable, "-c", CHILD, *map(str, folders)]
    result = subprocess.run(child, capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stderr
    for folder, net in folders.items():
        logits, mask = torch.load(folder / "logits.pt")
        photo = load_image(folder / "photo.jpg")
        photo = photo.resize(net.working_size(photo.size), Image.Resampling.BICUBIC)
        with torch.inference_mode():
            expected = net.segmenter(to_tensor(photo, net.normalisation)[None])
        largest = expected.abs().max()
        assert torch.allclose(logits, expected, rtol=0, atol=1e-5 * float(max(1, largest))), folder
        assert torch.equal(mask, logits[0].argmax(0))
        assert mask.shape == (photo.height, photo.width)


def test_every_network_of_the_library_is_read_by_it_without_esol(tmp_path):
    choices = {
        **{
            network: model(network, "tu-test_resnet", stride=16 if network == "PAN" else 8)
            for network in LIBRARY
            if network != "DPT"
        },
        "DPT": model("DPT", "tu-test_vit"),
        "own encoder": model("DeepLabV3Plus", "resnet18", stride=16, mean=(0.1, 0.2, 0.3)),
        "dilated": model("DeepLabV3Plus", "tu-test_resnet", stride=8, norm="learned"),
        "squash": model("FPN", "tu-test_resnet", "squash"),
    }
    colours = np.random.default_rng(0).integers(0, 256, (53, 131, 3), dtype=np.uint8)
    for name, net in choices.items():
        assert export_hub(net, tmp_path / name)["of_library"]
        Image.fromarray(colours).save(tmp_path / name / "photo.jpg")
    assert_reads_without_esol({tmp_path / name: net for name, net in choices.items()})


def test_real_photos_have_the_same_logits_without_esol(shared, tmp_path):
    weights = str(shared / "weights" / "mobilenetv2_100_imagenet.safetensors")
    net = model("DeepLabV3Plus", "tu-mobilenetv2_100", weights=weights, stride=16)
    net.description["longest"] = 360
    photos = sorted((shared / "data" / "voc-animals" / "JPEGImages").iterdir())[:3]
    for photo in photos:
        export_hub(net, tmp_path / photo.stem)
        (tmp_path / photo.stem / "photo.jpg").write_bytes(photo.read_bytes())
    assert_reads_without_esol({tmp_path / photo.stem: net for photo in photos})


@pytest.mark.parametrize("network", ["DeepLabV2", "DeepLabV3", "head"])
def test_esol_reads_the_folder(network, tmp_path):
    encoder = "test_resnet" if network != "DeepLabV3" else "tu-test_resnet"
    net, photo = model(network, encoder), Image.new("RGB", (50, 40), "teal")
    of_library = export_hub(net, tmp_path / "hub")["of_library"]
    assert of_library == (network == "DeepLabV3")
    again = load(tmp_path / "hub", "cpu")
    assert np.array_equal(again.predict(photo).scores, net.predict(photo).scores)
    assert again.description == json.loads((tmp_path / "hub" / "config.json").read_text())["_esol"]
    main(["export", str(tmp_path / "hub"), str(tmp_path / "net.safetensors"), "--to=safetensors"])
    export_hub(load(tmp_path / "net.safetensors"), tmp_path / "second")
    first, second = (tmp_path / name / "model.safetensors" for name in ("hub", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_a_folder_with_something_in_it_is_not_touched(tmp_path):
    net = model("FPN", "tu-test_resnet")
    (tmp_path / "hub").mkdir()
    export_hub(net, tmp_path / "hub")
    (tmp_path / "hub" / "README.md").write_text("edited")
    with pytest.raises(InputError, match="hub: is not an empty folder"):
        export_hub(net, tmp_path / "hub")
    assert (tmp_path / "hub" / "README.md").read_text() == "edited"
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run of version 0.1.0, and what its export made of it."""
    place = tmp_path_factory.mktemp("stored")
    with tarfile.open(Path(__file__).parent / "stored" / "run-0.1.0.tar.xz") as archive:
        # Python 3.11.4 and later know filters.
        known: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(place, **known)
    main(["export", str(place / "run"), str(place / "hub"), "--to", "hub"])
    return place


def test_a_card_says_what_the_run_knows(finished):
    text = (finished / "hub" / "README.md").read_text()
    manifest = json.loads((finished / "run" / "08-segment" / "manifest.json").read_text())
    one_list = manifest["identity"]["train"]["train"]
    assert f"| train (learned from) | {one_list['photos']} | `{one_list['sha256']}` |" in text
    batch = manifest["identity"]["segment"]["fit"]["batch"]
    assert f"{manifest['results']['steps']} steps, batch {batch}" in text
    assert "| seed | 0 |" in text
    assert manifest["record"]["commit"] in text
    assert "Pseudo masks are made from the photos' tags" in text
    # A run of version 0.1.0, which measured no interval.
    assert "| not measured |" in text
    config = json.loads((finished / "hub" / "config.json").read_text())
    for value, label in enumerate(config["_labels"]):
        assert f"\n| {value} | {label} |\n" in text
    for secret in (str(finished), "/home/", "/tmp/", "photos/"):
        assert secret not in text


def test_a_cards_header_has_the_figures_that_were_measured(finished):
    data = ModelCard.load(finished / "hub" / "README.md").data
    assert (data.get("library_name"), data.license) == ("segmentation-models-pytorch", "unknown")
    assert data.pipeline_tag == "image-segmentation"
    assert {"esol", "weakly-supervised"} < set(data.tags)
    metrics = json.loads((finished / "run" / "09-evaluate" / "metrics.json").read_text())["lists"]
    _, results = model_index_to_eval_results(data.to_dict()["model-index"])
    keys = {"mean_iou": "miou", "precision": "precision", "recall": "recall"}
    shown = {(result.dataset_split, result.metric_type) for result in results}
    text = (finished / "hub" / "README.md").read_text()
    for name, one in metrics.items():
        rows = one["segmentation"]["fixed"]["per_class"].items()
        never = [label for label, row in rows if row["precision"] is None and row["recall"] == 0]
        assert never  # it learned for two steps
        assert f"left out of the mean precision: {', '.join(never)}." in text
        assert shown >= {(name, "mean_iou"), (name, "recall")}
        assert (name, "precision") not in shown
    for result in results:
        measured = metrics[result.dataset_split]["segmentation"]["fixed"]
        assert result.metric_value == round(measured[keys[result.metric_type]], 4)
        photos = metrics[result.dataset_split]["photos"]
        assert result.dataset_name == f"{photos} photos with ground truth"


def test_a_card_of_a_file_alone_invents_nothing(finished, tmp_path):
    source = finished / "run" / "08-segment" / "model.safetensors"
    main(["export", str(source), str(tmp_path / "hub"), "--to", "hub"])
    text = (tmp_path / "hub" / "README.md").read_text()
    assert ModelCard(text).data.eval_results is None
    assert "Not measured: the run was not given to the export" in text
    assert "**To fill in**: how many photos" in text


@pytest.mark.parametrize(
    ("licence", "header", "shown"),
    [
        ("apache-2.0", ("unknown", None), "**apache-2.0**"),
        ("cc-by-nc-4.0, NON-COMMERCIAL use only", ("other", "non-commercial"), "NON-COMMERCIAL"),
        (None, ("unknown", None), "net.pth: **unknown**"),
    ],
)
def test_a_card_names_the_licence_of_the_initial_weights(licence, header, shown, tmp_path):
    net = model("FPN", "tu-test_resnet")
    net.description |= {"initial_weights": "net.pth"} | ({"licence": licence} if licence else {})
    export_hub(net, tmp_path / "hub")
    card = ModelCard.load(tmp_path / "hub" / "README.md")
    assert (card.data.license, card.data.get("license_name")) == header
    assert shown in card.text


def test_a_run_whose_masks_are_newer_than_its_network_is_refused(finished, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "settings.yaml", "08-segment"):
        (run / name).symlink_to(finished / "run" / name)
    assert main(["export", str(run), str(tmp_path / "hub"), "--to", "hub"]) == 2
    assert re.search(r"older than its masks.*esol run .*run first", capsys.readouterr().err)
    assert not (tmp_path / "hub").exists()


def test_a_run_means_its_own_network_whatever_lies_beside_it(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    export_bundle(model("FPN", "tu-test_resnet"), run / "model.safetensors")
    assert load(run).description["network"] == load(finished / "run").description["network"]
    assert load(run).classes == load(finished / "run").classes


def test_a_card_tells_lists_of_one_last_name_apart():
    assert [_list("new/set"), _list("old/set")] == ["new/set", "old/set"]
    assert _list("/home/someone/lists/few.txt") == "few.txt"


def test_flags_of_masks_are_refused_for_a_network(finished, tmp_path, capsys):
    flags = ["--to", "safetensors", "--objects", "parts"]
    assert main(["export", str(finished / "run"), str(tmp_path / "net.safetensors"), *flags]) == 2
    assert "--objects" in capsys.readouterr().err
    assert not (tmp_path / "net.safetensors").exists()
