"""Fuzz the parsers by coverage: ``python tests/fuzz/fuzz.py SECONDS [NAME ..]``, by hand only.

Needs atheris (``pip install atheris``), which is no dependency. Every parser gets an equal part of
the time, each in a process of its own; what breaks one is written to the current folder as
crash-HASH. Exit code 1 if anything broke.
"""

import multiprocessing
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["esol", "yaml", "csv", "json", "xml", "zipfile"]):
    from targets import TARGETS


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one parser; ends the process."""
    warnings.simplefilter("ignore")
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as place:
        corpus = Path(place) / "corpus"
        corpus.mkdir()
        (corpus / "sound").write_bytes(target.sound)
        folder = Path(place) / "files"

        def once(content: bytes) -> None:
            target.attempt(content, folder)

        limits = [
            f"-max_total_time={seconds}",
            "-max_len=4096",
            "-timeout=20",
            "-rss_limit_mb=4096",
        ]
        atheris.Setup(
            [sys.argv[0], *limits, "-verbosity=0", "-print_final_stats=1", "-seed=1", str(corpus)],
            once,
        )
        atheris.Fuzz()


def main() -> int:
    """All named parsers, one after the other."""
    names = sys.argv[2:] or list(TARGETS)
    share = max(1, int(sys.argv[1]) // len(names))
    broken = []
    for name in names:
        process = multiprocessing.get_context("fork").Process(target=fuzz, args=(name, share))
        process.start()
        process.join()
        print(f"{name}: {'broken' if process.exitcode else 'sound'}", flush=True)
        broken += [name] * bool(process.exitcode)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
