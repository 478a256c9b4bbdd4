"""Model card of a network: what its file and its run know, as markdown with a hub's header."""

from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from esol import __version__
from esol.data.sample import BACKGROUND
from esol.errors import visible
from esol.networks.pretrained import licensed
from esol.networks.segmenter import Segmenter
from esol.predict.model import Model
from esol.runs.folder import SETTINGS, RunFolder
from esol.settings import HEAD, Settings
from esol.settings.load import stored_settings

_METRICS = {"miou": "mean_iou", "precision": "precision", "recall": "recall"}
"""Entry of metrics.json -> a hub's name of the metric."""

_RANDOM = "random weights"

_UNKNOWN = "unknown (the file of the network does not say)"


def model_card(
    model: Model, segmenter: Segmenter, description: dict[str, Any], run: RunFolder | None
) -> str:
    """The card of a network, with a header that hubs read.

    It names no folder of this machine. Figures stand in it only as far as they were measured.

    Args:
        model: the network with its test settings.
        segmenter: the network.
        description: as its file has it.
        run: the run that trained it, whose stage segment is up to date; None where only the
            network is known, which the card then says.

    Raises:
        InputError: the run is damaged, or of another version.
    """
    told = _of_run(run) if run else None
    of_library = segmenter.of_library
    licences = _licences(description, told)
    name = f"{description['network']}, {_named(description['encoder'])}"
    of_tags = str(description.get("learned_from", "")).startswith("pseudo")
    licence, licence_name = _licence_header(licences)
    results = _results(told["lists"]) if told else []
    header = ModelCardData(
        library_name="segmentation-models-pytorch" if of_library else "esol",
        license=licence,
        license_name=licence_name,
        tags=[
            *(["segmentation-models-pytorch"] if of_library else []),
            *("esol", "pytorch", "semantic-segmentation"),
            *(["weakly-supervised"] if of_tags else []),
        ],
        pipeline_tag="image-segmentation",
        model_name=name if results else None,
        eval_results=results or None,
    )
    environment = jinja2.Environment(  # of markdown, which escapes nothing
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        card_data=header.to_yaml(),
        name=name,
        of_library=of_library,
        of_tags=of_tags,
        model=model,
        segmenter=segmenter,
        description=description,
        labels=[BACKGROUND, *model.classes],
        mean=", ".join(f"{number:.4g}" for number in model.normalisation.mean),
        deviation=", ".join(f"{number:.4g}" for number in model.normalisation.std),
        learned_from=description.get("learned_from", _UNKNOWN),
        initial_weights=_weights(description.get("initial_weights", "unknown")),
        licences=licences,
        run=told,
        percent=_percent,
        interval=_interval,
        cell=_cell,
        unseen=_unseen,
        without_paths=_without_paths,
        version=__version__,
    )


def _of_run(run: RunFolder) -> dict[str, Any]:
    """What the run knows of its network."""
    manifest = run.manifest("segment")
    settings = stored_settings(run.stage("segment") / SETTINGS)
    identity, record = manifest["identity"], manifest["record"]
    photos = {**identity.get("train", {}), **identity.get("data", {})}
    metrics: dict[str, Any] = {"mask_set": "", "lists": {}}
    if run.is_current("evaluate"):
        metrics = run.metrics()
    return {
        "photos": {_list(name): one for name, one in photos.items() if isinstance(one, dict)},
        "train": _list(settings.data.train),
        "learned": manifest["results"].get("photos"),
        "settings": settings,
        "fit": settings.segmenter.fit,
        "steps": manifest["results"].get("steps"),
        "masks": None if settings.segmenter.truth else _of_masks(run, settings),
        "backbone": _named(settings.backbone.name),
        "backbone_weights": _weights(Path(settings.backbone.weights).name),
        "backbone_licence": licensed(settings.backbone)
        .get("licence", "")
        .replace(settings.backbone.name, _named(settings.backbone.name)),
        "mask_set": metrics["mask_set"],
        "lists": {
            _list(name): one for name, one in metrics["lists"].items() if "segmentation" in one
        },
        "versions": {
            name: record[name]
            for name in ("esol", "torch", "timm", "segmentation-models-pytorch", "python", "commit")
            if name in record
        },
    }


def _of_masks(run: RunFolder, settings: Settings) -> dict[str, Any]:
    """How the pseudo masks were made."""
    manifest = run.manifest("masks")
    return {
        "kind": manifest["identity"].get("kind", settings.seed_kind),
        "source": settings.masks.source,
        "threshold": manifest["results"].get("threshold"),
        "saliency": bool(settings.masks.saliency),
    }


def _licences(description: dict[str, Any], told: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What initial weights there were, and their licence."""
    weights = _weights(description.get("initial_weights", "unknown"))
    named = [(f"the network, {weights}", weights, description.get("licence"))]
    if told and told["masks"] and description["network"] != HEAD:
        weights = told["backbone_weights"]
        title = f"the classifier whose maps became the masks, {told['backbone']} with {weights}"
        named.append((title, weights, told["backbone_licence"]))
    return [
        (title, "none needed" if weights == _RANDOM else licence or "unknown")
        for title, weights, licence in named
    ]


def _licence_header(licences: list[tuple[str, str]]) -> tuple[str, str | None]:
    """Nobody but its maker can say under which licence a network is; what forbids uses is said."""
    if any("NON-COMMERCIAL" in licence for _, licence in licences):
        return "other", "non-commercial"
    return "unknown", None


def _results(lists: dict[str, Any]) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-segmentation",
            dataset_type="custom",
            dataset_name=f"{one['photos']} photos with ground truth",
            dataset_split=name,
            metric_type=metric,
            metric_value=round(one["segmentation"]["fixed"][key], 4),
        )
        for name, one in lists.items()
        for key, metric in _METRICS.items()
        if one["segmentation"]["fixed"][key] is not None
        and not (key == "precision" and _unseen(one))
    ]


def _unseen(one: dict[str, Any]) -> list[str]:
    """Labels that a list's ground truth shows and its masks do not: no precision has them."""
    rows = one["segmentation"]["fixed"]["per_class"].items()
    return [name for name, row in rows if row["precision"] is None and row["recall"] is not None]


def _list(name: str) -> str:
    """A list's name; of a file elsewhere on this machine, without its folder."""
    return _cell(Path(name).name if Path(name).is_absolute() else name)


def _named(network: str) -> str:
    """A network's name, or that of its weights, without the folders of this machine."""
    return Path(network).name if network.startswith("local-dir:") else network


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _interval(measured: dict[str, Any]) -> str:
    """That of mIoU; earlier versions measured none."""
    low, high = measured.get("interval", {}).get("miou", (None, None))
    return "not measured" if low is None else f"{_percent(low)} .. {_percent(high)}"


def _weights(name: str) -> str:
    """Initial weights in words."""
    return {"imagenet": "the maker's weights", "none": _RANDOM}.get(name, name)


def _without_paths(warning: str) -> str:
    """A warning up to its example, which names a file."""
    return warning.partition(": ")[0] if "/" in warning else warning


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return visible(text).replace("|", r"\|")
