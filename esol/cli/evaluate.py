"""``esol evaluate MASKS --gt DIR``: flags in, one call into the library."""

import json
from pathlib import Path

from esol.errors import InputError
from esol.runs.folder import DESCRIPTION
from esol.runs.stages import STAGES
from esol.settings.load import Parser
from esol.system.progress import log


def evaluate_command(rest: list[str]) -> int:
    """Measure a folder of masks, and print a table or JSON."""
    from esol.data.reading import read_names
    from esol.metrics.folders import class_names, measure_masks
    from esol.report.measured import print_measured

    parser = Parser(prog="esol evaluate", description="Metrics of a folder of masks.")
    parser.add_argument("masks", help="folder of predicted masks, PNG")
    parser.add_argument(
        "--gt", required=True, help="folder of ground-truth masks of the same names"
    )
    parser.add_argument("--list", help="text file of the names to measure, one per line")
    parser.add_argument("--json", action="store_true", help="all numbers as JSON, no table")
    parsed = parser.parse_args(rest)
    if (Path(parsed.masks) / DESCRIPTION).is_file():
        raise InputError(
            f"{parsed.masks} is the folder of a run: leave out --gt, or name a folder of masks in"
            f" it, such as {Path(parsed.masks) / STAGES['masks'].folder}"
        )
    listed = read_names(Path(parsed.list)) if parsed.list else None
    measured = measure_masks(parsed.masks, parsed.gt, names=listed)
    known, file = class_names(Path(parsed.masks), Path(parsed.gt))
    if parsed.json:
        print(json.dumps(measured.metrics, indent=2))
    else:
        print_measured(measured, known, file)
    if 0 < len(known) < measured.metrics["classes"]:
        log.warning(
            "%s has %d classes, and the masks have values up to %d: unless both folders number the"
            " classes alike, these numbers compare different classes",
            *(file, len(known), measured.metrics["classes"]),
        )
    for warning in measured.metrics["warnings"]:
        log.warning("%s", warning)
    return 0
