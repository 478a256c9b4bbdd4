"""``esol export`` and ``esol import``: flags in, one call into the library."""

import re
from pathlib import Path
from typing import Any

from esol.errors import InputError
from esol.label_tools import OBJECTS, TOLERANCE, TOOLS, WHAT
from esol.settings.load import Parser
from esol.system.progress import log


def export_command(rest: list[str]) -> int:
    """``esol export RUN OUT --to FORMAT``."""
    parser = Parser(
        prog="esol export",
        description="The segmentation model, masks for label tools and training codes, heat maps.",
    )
    parser.add_argument("run", help="run folder; for models also what esol export made of one")
    parser.add_argument("out", help="file to write; hub, yolo, voc, png, heatmaps: folder")
    choices = ["safetensors", "onnx", "hub", "voc-submission", "heatmaps", *TOOLS]
    parser.add_argument("--to", choices=choices, required=True, help="format")
    _add_flags(parser)
    _add_submission(parser)
    parsed = parser.parse_args(rest)
    if parsed.to in TOOLS:
        return _masks(parsed)
    if any(flag is not None for flag in (parsed.table, parsed.objects, parsed.smallest)):
        raise InputError(f"--values, --objects, --smallest: not for --to {parsed.to}; leave it out")
    out = Path(parsed.out)
    if parsed.to == "heatmaps":
        return _heatmaps(parsed)
    if parsed.to == "voc-submission":
        return _submission(parsed, out)
    return _model(parsed, out)


def import_command(rest: list[str]) -> int:
    """``esol import CORRECTED RUN --from TOOL``."""
    parser = Parser(
        prog="esol import",
        description="Corrected masks into a run; its stage segment then learns from them.",
    )
    parser.add_argument("corrected", help="what the label tool exported")
    parser.add_argument("run", help="run folder")
    parser.add_argument(
        "--from", dest="source", choices=list(TOOLS), required=True, help="label tool or format"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        help="that of the polygons exported, pixels: what differs less is not corrected",
    )
    parser.add_argument("--data", help="the run's data folder, if it has moved")
    parsed = parser.parse_args(rest)

    from esol.label_tools.imports import import_masks

    _check(parsed.tolerance or 0)
    counts = import_masks(
        parsed.corrected,
        parsed.run,
        source=parsed.source,
        tolerance=parsed.tolerance,
        data=parsed.data,
    )
    if untouched := counts["untouched"]:
        are, it = ("is", "it is") if untouched == 1 else ("are", "they are")
        print(
            f"{_photos(untouched)} {are} passed over, without a shape: the file does not say that"
            f" {it} finished (docs/label-tools.md)"
        )
    print(
        f"{_photos(counts['photos'])}, {counts['changed']} of them corrected;"
        f" {counts['corrected']} corrected in all: {Path(parsed.run) / 'corrected'}"
    )
    if not counts["changed"]:
        print("no mask differs from the run's pseudo masks")
    if counts["corrected"]:
        print("the stage segment learns from them; if it was done before: esol run .. --overwrite")
    return 0


def _photos(number: int) -> str:
    return f"{number} photo{'s' if number != 1 else ''}"


def _add_flags(parser: Parser) -> None:
    """Flags of ``esol export`` for masks, and of single formats."""
    only = "masks: "
    parser.add_argument(
        "--what", choices=list(WHAT), default="masks", help=only + "which of the run"
    )
    parser.add_argument(
        "--shapes",
        choices=["rle", "polygons"],
        help="labelstudio, cvat, coco: run lengths, exact, or polygons; default rle",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="polygons: pixels by which an outline may differ from the mask's; 0: exact",
    )
    parser.add_argument(
        "--objects",
        choices=list(OBJECTS),
        help="labelstudio, cvat, coco, yolo: a region for each class, connected part, or instance"
        " of refine.instances; default class, yolo: parts",
    )
    parser.add_argument(
        "--smallest",
        type=int,
        help=only + "parts and holes of fewer pixels take the value beside them; default: all stay",
    )
    parser.add_argument(
        "--values",
        dest="table",
        help="png: NAME=VALUE,.. for each class, background and ignore, or a table like the"
        " values.csv that is written; default 0, 1 .. and 255",
    )
    parser.add_argument(
        "--photos",
        default="0",
        help="heatmaps: at most so many photos, evenly spaced, 0: all; or a text file of names",
    )
    parser.add_argument(
        "--prefix", help="labelstudio: what comes before a photo's path to give its address"
    )


def _masks(parsed: Any) -> int:
    from esol.label_tools.exports import export_masks
    from esol.label_tools.labelstudio import PREFIX

    _check(parsed.tolerance)
    if (parsed.smallest or 0) < 0:
        raise InputError(f"--smallest {parsed.smallest}: give pixels, at least 0")
    if parsed.to == "yolo" and parsed.shapes == "rle":
        raise InputError("--shapes rle: --to yolo has polygons only; leave it out")
    polygons = parsed.shapes == "polygons" or parsed.to == "yolo"
    counts = export_masks(
        parsed.run,
        parsed.out,
        to=parsed.to,
        what=parsed.what,
        split=parsed.list,
        tolerance=parsed.tolerance if polygons else None,
        objects=parsed.objects,
        values=parsed.table,
        smallest=parsed.smallest or 0,
        prefix=PREFIX if parsed.prefix is None else parsed.prefix,
        data=parsed.data,
    )
    print(f"{parsed.out}: {counts['photos']} photos of {counts['list']}")
    return 0


def _heatmaps(parsed: Any) -> int:
    from esol.maps.heatmaps import export_heatmaps

    photos = int(parsed.photos) if re.fullmatch(r"-?\d+", parsed.photos) else parsed.photos
    counts = export_heatmaps(
        parsed.run, parsed.out, split=_one_list(parsed), photos=photos, data=parsed.data
    )
    print(
        f"{parsed.out}: {counts['pictures']} pictures of {_photos(counts['photos'])} of"
        f" {counts['list']}: {', '.join(counts['kinds'])}"
    )
    return 0


def _model(parsed: Any, out: Path) -> int:
    from esol.predict.hub import export_hub
    from esol.predict.model import load
    from esol.predict.onnx import export_bundle, export_onnx

    model = load(Path(parsed.run), "cpu")
    if parsed.to == "onnx":
        log.info("building the graph, and comparing it with esol predict: up to a few minutes")
        checked = export_onnx(model, out)
        for sentence in checked["not_contained"]:
            log.warning("%s: %s", out, sentence)
        print(
            f"takes (H, W, 3) uint8 RGB photos of any size; equal to esol predict on"
            f" {100 * checked['equal_pixels']:.2f} % of pixels of {len(checked['sizes'])} random"
            f" photos, probabilities to {checked['largest_difference']:.0e}"
        )
        size = checked["bytes"]
    elif parsed.to == "hub":
        made = export_hub(model, out, parsed.run)
        print(
            "read by esol.load, esol predict and segmentation_models_pytorch's from_pretrained"
            if made["of_library"]
            else "read by esol.load and esol predict; segmentation_models_pytorch does not have"
            f" {model.description['network']}: for other programs export --to onnx"
        )
        print(f"{out / 'README.md'}: the model card; fill in what only you know, then publish it")
        size = made["bytes"]
    else:
        size = export_bundle(model, out)["bytes"]
    print(f"{out}: {size / 2**20:.1f} MiB")
    return 0


def _add_submission(parser: Parser) -> None:
    """Flags of --to voc-submission, the first two of masks too."""
    only = "voc-submission: "
    parser.add_argument(
        "--data",
        help=only + "folder with JPEGImages and ImageSets; masks, heatmaps: the data folder,"
        " if it has moved",
    )
    parser.add_argument(
        "--list",
        action="append",
        help=only + "list of ImageSets/Segmentation, default test; masks, heatmaps: list of the"
        " data set, default data.train; yolo: up to three times, for train, val and test",
    )
    parser.add_argument(
        "--competition",
        choices=["comp5", "comp6"],
        default="comp6",
        help=only + "comp5: VOC data alone; comp6: more, such as ImageNet weights",
    )
    parser.add_argument("--crf", choices=["on", "off"], help=only + "default: as trained")
    parser.add_argument("--batch", type=int, default=8, help=only + "photos at a time")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help=only + "where to predict"
    )
    parser.add_argument("--overwrite", action="store_true", help=only + "replace masks made before")


def _submission(parsed: Any, out: Path) -> int:
    from esol.predict.model import load
    from esol.predict.submission import voc_submission

    if parsed.data is None:
        raise InputError(
            "--to voc-submission needs --data, the folder with JPEGImages and ImageSets"
        )
    counts = voc_submission(
        load(Path(parsed.run), parsed.device),
        Path(parsed.data),
        out,
        split=_one_list(parsed) or "test",
        competition=parsed.competition,
        crf=None if parsed.crf is None else parsed.crf == "on",
        batch=parsed.batch,
        overwrite=parsed.overwrite,
    )
    print(f"{counts['photos']} photos, masks in {counts['masks']}")
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")
    return 0


def _one_list(parsed: Any) -> str | None:
    if parsed.list and len(parsed.list) > 1:
        raise InputError(f"--list: --to {parsed.to} takes one list")
    return parsed.list[0] if parsed.list else None


def _check(tolerance: float) -> None:
    if not 0 <= tolerance < float("inf"):
        raise InputError(f"--tolerance {tolerance}: give pixels, at least 0")
