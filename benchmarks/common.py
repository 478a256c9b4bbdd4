"""What the benchmarks share: clocks in turns, the machine's limits, the table, the last line."""

import argparse
import csv
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

Step = Callable[[], object]
FITS = (
    *("classify.fit", "expand.fit", "shrink.fit", "refine.affinity.fit", "refine.distil"),
    "segment.fit",
)
"""Groups of settings with the steps and the batch of a training."""

GIVEN = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Taken(NamedTuple):
    """Median seconds of both, and the median of the ratios of neighbours."""

    theirs: float
    ours: float
    ratio: float


class Limits(NamedTuple):
    """What this machine reaches: floating-point operations and bytes per second."""

    flops: float
    bandwidth: float

    def seconds(self, flop: float, byte: float) -> float:
        """The least time that so many operations and moved bytes can take."""
        return max(flop / self.flops, byte / self.bandwidth)


@dataclass
class Row:
    """One case, as it stands in the table and in the CSV.

    Attributes:
        benchmark, case: names.
        theirs, ours: medians, in ``unit``; theirs is None where it was not measured.
        unit: "s", or what is counted.
        ratio: higher is better; None without ``theirs``.
        max_error: largest difference of the results, in the measure the script names.
        limit: least seconds by the operations and bytes counted; None where nothing is counted.
        reached: limit over ours.
        peak_mb: of our side, on the device that computes.
        threads: of PyTorch; "cuda" on a GPU.
        load: runnable processes when the run began, without its own.
        day, versions: of the run.
    """

    benchmark: str
    case: str
    theirs: float | None
    ours: float
    unit: str
    ratio: float | None
    max_error: float | None
    limit: float | None = None
    reached: float | None = None
    peak_mb: int = 0
    threads: str = ""
    load: float = 0.0
    day: str = ""
    versions: str = ""


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """Flags that every script has."""
    parser = argparse.ArgumentParser(
        description=(text or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=5, help="times that each side is timed")
    parser.add_argument("--quick", action="store_true", help="seconds: proves only that it works")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="CSV",
        help="file whose rows of this benchmark are renewed",
    )
    return parser


def add_profile(parser: argparse.ArgumentParser) -> None:
    """For scripts that call ``shares``."""
    parser.add_argument("--profile", action="store_true", help="also the operators of our side")


def shares(step: Step, lines: int = 12) -> None:
    """Print in which operators a second call spends its time: by itself, not what it calls."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    averages = sorted(found.key_averages(), key=lambda one: -one.self_cpu_time_total)
    whole = sum(one.self_cpu_time_total for one in averages)
    print(f"ours, profiled: {whole / 1e6:.4f} s\n| operator | calls | seconds | share |")
    print("|---|---|---|---|")
    for one in averages[:lines]:
        taken = one.self_cpu_time_total
        print(f"| {one.key} | {one.count} | {taken / 1e6:.4f} | {100 * taken / whole:.0f} % |")


def alternate(theirs: Step, ours: Step, repeats: int, *, warm: bool = True) -> Taken:
    """Time both in turns, so that what else the machine does meets both alike."""
    if warm:
        theirs(), ours()
    pairs = [(clock(theirs), clock(ours)) for _ in range(repeats)]
    ratio = statistics.median(one / two for one, two in pairs)
    first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Taken(first, second, ratio)


def clock(step: Step) -> float:
    """Seconds until it is done, on the device too."""
    begun = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def middle(step: Step, repeats: int) -> float:
    """Median seconds of one side alone, after a first call that does not count."""
    step()
    return statistics.median(clock(step) for _ in range(repeats))


def peak_mb(device: str) -> int:
    """Largest memory so far: of the process, or of the tensors on the GPU."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated() / 1e6)
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def limits(device: str, dtype: str = "float32") -> Limits:
    """Best of some matrix products and copies; a copy counts as read and written."""
    side, kind = 8192 if device == "cuda" else 2048, GIVEN[dtype]
    one, two = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
    product = min(clock(lambda: one @ two) for _ in range(6))
    source = torch.zeros(1 << (28 if device == "cuda" else 24), device=device)
    target = source.clone()
    copy = min(clock(lambda: target.copy_(source)) for _ in range(6))
    return Limits(2 * side**3 / product, 2 * source.nbytes / copy)


def within(found: float, most: float, what: str) -> float:
    """The error, unless it is too large: equality comes before speed."""
    if not found <= most:
        raise SystemExit(f"{what}: differs by {found:.2g}, more than {most:.2g}")
    return found


class Report:
    """Gathers cases; prints each as it comes, and the line of JSON at the end."""

    def __init__(self, benchmark: str, options: argparse.Namespace, unit: str = "s") -> None:
        self.benchmark, self.unit = benchmark, unit
        self.results: Path | None = options.results
        self.device: str = options.device
        self.load = os.getloadavg()[0]
        self.rows: list[Row] = []
        self.peak = 0
        self._limits: dict[str, Limits] = {}
        self._counted: dict[int, tuple[str, float, float]] = {}
        threads = "cuda" if self.device == "cuda" else f"{torch.get_num_threads()} threads"
        print(f"{self.benchmark}: {machine(self.device)}, {threads}, load {self.load:.1f}")

    def ours_ran(self) -> None:
        """Note our peak memory; called before the other side runs for the first time."""
        self.peak = peak_mb(self.device)

    def _probe(self, dtype: str) -> None:
        """Measure the machine again, and keep the best: others may be busy on it."""
        found, before = limits(self.device, dtype), self._limits.get(dtype, Limits(0, 0))
        self._limits[dtype] = Limits(*map(max, zip(found, before, strict=True)))

    def add(
        self,
        case: str,
        taken: Taken | float,
        error: float | None,
        *,
        flop: float = 0.0,
        byte: float = 0.0,
        dtype: str = "float32",
        unit: str = "",
    ) -> Row:
        """One case: both sides, or our seconds alone."""
        theirs, ours, ratio = taken if isinstance(taken, Taken) else (None, taken, None)
        row = Row(
            benchmark=self.benchmark,
            case=case,
            theirs=rounded(theirs, 4),
            ours=rounded(ours, 4),
            unit=unit or self.unit,
            ratio=rounded(ratio, 3),
            max_error=rounded(error, 1),
            threads="cuda" if self.device == "cuda" else str(torch.get_num_threads()),
            load=round(self.load, 1),
            day=date.today().isoformat(),
            versions=f"torch {torch.__version__} torchvision {version('torchvision')}",
        )
        if flop or byte:
            self._probe(dtype)
            self._counted[len(self.rows)] = (dtype, flop, byte)
        self.rows.append(row)
        print(f"{case}: {row.ours:g} {row.unit}, ratio {row.ratio}", file=sys.stderr, flush=True)
        return row

    def finish(self, headline: Row, ratio: float | None = None) -> None:
        """Print the table, write the CSV if one was named, and print the last line."""
        for place, (dtype, flop, byte) in self._counted.items():
            row = self.rows[place]
            least = self._limits[dtype].seconds(flop, byte)
            row.limit, row.reached = rounded(least, 2), rounded(least / row.ours, 2)
        for row in self.rows:
            row.peak_mb = self.peak
        self._print()
        if self.results:
            write(self.results, self.benchmark, self.rows)
        errors = [row.max_error for row in self.rows if row.max_error is not None]
        line = {
            "name": self.benchmark,
            "ratio": headline.ratio if ratio is None else ratio,
            "max_error": max(errors, default=None),
            "peak_mb": self.peak,
        }
        print(json.dumps(line))

    def _print(self) -> None:
        for dtype, found in self._limits.items():
            print(
                f"limits, {dtype}: {found.flops / 1e9:.0f} GFLOP/s,"
                f" {found.bandwidth / 1e9:.0f} GB/s"
            )
        print("| case | theirs | ours | unit | ratio | max error | least time | reached |")
        print("|---|---|---|---|---|---|---|---|")
        for row in self.rows:
            values = (row.case, row.theirs, row.ours, row.unit, row.ratio, row.max_error)
            print("|" + "".join(f" {shown(v)} |" for v in (*values, row.limit, row.reached)))


def shown(value: object) -> str:
    """A table's cell."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def rounded(value: Any, digits: int) -> Any:
    """To so many significant digits; None stays None."""
    return None if value is None else float(f"{value:.{digits}g}")


def machine(device: str) -> str:
    """The processor's or the GPU's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.is_file() else []
    found = [line.partition(":")[2].strip() for line in names if line.startswith("model name")]
    return f"{os.cpu_count()} x {found[0] if found else platform.machine()}"


def write(path: Path, benchmark: str, rows: list[Row]) -> None:
    """Put the rows in place of the benchmark's older ones."""
    names = [field.name for field in fields(Row)]
    kept: list[dict[str, object]] = []
    if path.is_file():
        with path.open(newline="") as stream:
            kept = [dict(row) for row in csv.DictReader(stream) if row["benchmark"] != benchmark]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *map(asdict, rows)])
