"""A network as the folder that a model hub shows: weights, config.json, and its model card."""

import json
from pathlib import Path
from typing import Any

from esol.data.sample import BACKGROUND
from esol.errors import InputError
from esol.networks.initial import WEIGHTS
from esol.networks.published import CONFIG
from esol.networks.segmenter import Segmenter
from esol.predict.bundle import save_bundle, stored_content
from esol.predict.card import model_card
from esol.predict.model import Model
from esol.runs.folder import DESCRIPTION, RunFolder
from esol.system.files import new_folder, write_atomic


def export_hub(model: Model, out: Path | str, run: Path | str | None = None) -> dict[str, Any]:
    """Write a network as a folder for a model hub.

    ``esol.load`` reads the folder. Where the network is one of segmentation_models_pytorch,
    ``smp.from_pretrained`` reads it too, without esol. It holds:

    - model.safetensors: the weights by the names of the network's own library, and the description;
    - config.json: for that library the arguments of the network's class. Keys with "_", which it
      passes over: ``_labels``, names of the mask values, background first; ``_preprocessing``, the
      arguments of ``smp.encoders.preprocess_input``; ``_esol``, the description;
    - README.md: the model card, filled in from the run.

    Args:
        model: the network.
        out: folder to make; it may be there if it is empty, as a card may have been edited.
        run: what the model was loaded from: of a run folder the card says what the run knows.

    Returns:
        ``of_library``: whether segmentation_models_pytorch reads it; ``bytes`` of all files.

    Raises:
        InputError: the folder is not empty or cannot be written; the masks of the run are newer
            than its network.
        ValueError: the model's network is not a ``Segmenter``.
    """
    segmenter = model.segmenter
    if not isinstance(segmenter, Segmenter):
        raise ValueError(f"a Segmenter is needed: got {type(segmenter).__name__}")  # noqa: TRY004
    description = stored_content(segmenter, model.description)
    card = model_card(model, segmenter, description, _finished(run))
    # ASCII: the library reads it in the encoding of the system.
    config = json.dumps(_config(model, segmenter, description), sort_keys=True, indent=2) + "\n"
    with new_folder(Path(out)) as folder:
        save_bundle(folder / WEIGHTS, segmenter, model.description, plain_names=True)
        write_atomic(folder / CONFIG, config)
        write_atomic(folder / "README.md", card)
    size = sum(file.stat().st_size for file in Path(out).iterdir())
    return {"of_library": segmenter.of_library, "bytes": size}


def _finished(run: Path | str | None) -> RunFolder | None:
    """The run, if it is one: the folder of a model, or its file, is not."""
    if run is None or not (Path(run) / DESCRIPTION).is_file():
        return None
    folder = RunFolder(Path(run))
    if not folder.is_current("segment"):
        raise InputError(
            f"{run}: its network is unfinished, or older than its masks, so no card can describe"
            f" it: esol run {run} first, or export {folder.weights('segment')}"
        )
    return folder


def _config(model: Model, segmenter: Segmenter, description: dict[str, Any]) -> dict[str, Any]:
    made_with = (
        {**segmenter.body.config, "_model_class": segmenter.network} if segmenter.of_library else {}
    )
    return {
        **made_with,
        "_labels": [BACKGROUND, *model.classes],
        "_preprocessing": {
            "input_space": "RGB",
            "input_range": [0, 1],
            "mean": list(model.normalisation.mean),
            "std": list(model.normalisation.std),
        },
        "_esol": description,
    }
