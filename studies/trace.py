"""Which files of the package does one command run through?

    python studies/trace.py [STAGE] [--functions]

Draws 24 synthetic photos, does the stages before STAGE (expand, if none is named) with
tests/smoke.yaml, then calls `esol STAGE` in this process and notes every function of the package
that is executed. Prints the files, by package, with the number of their functions; what only runs
while a module is imported does not count.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType

import esol
from esol.cli.main import main as command_line
from esol.runs.stages import STAGES

ROOT = Path(esol.__file__).parent
SMOKE = str(Path(__file__).parents[1] / "tests" / "smoke.yaml")


def main() -> None:
    """Trace one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="?", default="expand", choices=STAGES)
    parser.add_argument("--functions", action="store_true", help="also name the functions")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, run = f"{folder}/data", f"{folder}/run"
        esol.write_synthetic(Path(data), 24, 64, 0, 0.25, hard=True)
        before = list(STAGES)[: list(STAGES).index(arguments.stage)]
        if before:
            command_line(["run", SMOKE, data, run, "--until", before[-1]])
        codes = traced([arguments.stage, SMOKE, data, run])
    functions = defaultdict(set)
    for code in codes:
        functions[Path(code.co_filename).relative_to(ROOT)].add(code.co_qualname)
    for path, names in sorted(functions.items()):
        listed = f"  {', '.join(sorted(names))}" if arguments.functions else ""
        print(f"{path.as_posix():32} {len(names):3}{listed}")
    total = sum(map(len, functions.values()))
    print(f"esol {arguments.stage}: {len(functions)} files, {total} functions")


def traced(words: list[str]) -> set[CodeType]:
    """Code of the package's functions that a command executes, in any thread of this process."""
    codes: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name != "<module>" and code.co_filename.startswith(PREFIX):
            codes.add(code)

    sys.setprofile(note)
    try:
        command_line(words)
    finally:
        sys.setprofile(None)
    return {code for code in codes if not class_body(code)}


def class_body(code: CodeType) -> bool:
    """Whether this code is a class's body, which runs while its module is imported."""
    return not code.co_flags & CO_NEWLOCALS_AND_OPTIMIZED


CO_NEWLOCALS_AND_OPTIMIZED = 0x1
PREFIX = str(ROOT)

if __name__ == "__main__":
    main()
