"""``esol export`` and ``esol import`` of masks: flags in, one call into the library."""

from pathlib import Path
from typing import Any

from esol.config import Parser
from esol.errors import InputError
from esol.interchange import TOOLS, WHAT


def add_flags(parser: Parser) -> None:
    """Flags of ``esol export`` to label tools."""
    only = "label tools: "
    parser.add_argument(
        "--what", choices=list(WHAT), default="masks", help=only + "which masks of the run"
    )
    parser.add_argument(
        "--shapes",
        choices=["rle", "polygons"],
        default="rle",
        help=only + "run lengths, exact, or polygons",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        help=only + "pixels by which a polygon's outline may differ from the mask's; 0: exact",
    )
    parser.add_argument(
        "--prefix", help="labelstudio: what comes before a photo's path to give its address"
    )


def export_command(parsed: Any) -> int:
    """``esol export RUN OUT --to TOOL``."""
    from esol.interchange.exports import export_masks
    from esol.interchange.labelstudio import PREFIX

    _check(parsed.tolerance)
    found = export_masks(
        parsed.run,
        parsed.out,
        to=parsed.to,
        what=parsed.what,
        split=parsed.list,
        tolerance=parsed.tolerance if parsed.shapes == "polygons" else None,
        prefix=PREFIX if parsed.prefix is None else parsed.prefix,
        data=parsed.data,
    )
    print(f"{parsed.out}: {found['photos']} photos of {found['list']}")
    return 0


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

    from esol.interchange.imports import import_masks

    _check(parsed.tolerance or 0)
    found = import_masks(
        parsed.corrected,
        parsed.run,
        source=parsed.source,
        tolerance=parsed.tolerance,
        data=parsed.data,
    )
    print(
        f"{found['photos']} photos, {found['changed']} of them corrected;"
        f" {found['corrected']} corrected in all: {Path(parsed.run) / 'corrected'}"
    )
    print("the stage segment learns from them; if it was done before: esol run .. --overwrite")
    return 0


def _check(tolerance: float) -> None:
    if not 0 <= tolerance < float("inf"):
        raise InputError(f"--tolerance {tolerance}: give pixels, at least 0")
