"""What studies/gpu.sh cannot do in bash: photos, kernels, a short voc12 run, the table.

python studies/gpu.py draw|kernels|run|table FOLDER [--device cuda] [--quick]
"""

import argparse
import csv
import logging
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import deform  # noqa: E402
import walk  # noqa: E402
from common import Report, alternate, parser_of, peak_mb, within, write  # noqa: E402

from esol import load_settings, write_synthetic  # noqa: E402
from esol.cli.main import main as command_line  # noqa: E402
from esol.networks.backbone import Backbone  # noqa: E402
from esol.ops.crf import dense_crf, unary_from_probabilities  # noqa: E402
from esol.ops.deform import deform_conv2d_frozen  # noqa: E402
from esol.runs.folder import RunFolder  # noqa: E402
from esol.runs.stages import STAGES  # noqa: E402
from esol.settings import BackboneSettings, Fit, Settings  # noqa: E402
from esol.training.fit import total_steps  # noqa: E402

SETS = {"VOC 2012": ("voc12", 10_582, 1_449), "COCO 2014": ("coco14", 82_081, 40_137)}
"""Configuration, photos of the training list, other photos of which maps and masks are made."""

STEPS, QUICK_STEPS = 12, 3


def main() -> None:
    """One task."""
    parser = parser_of(__doc__)
    parser.add_argument("task", choices=("draw", "kernels", "run", "table"))
    parser.add_argument("folder", type=Path, help="of the results")
    parser.add_argument("--precision", default="no", help="machine.precision of the run")
    options = parser.parse_args()
    options.results = options.results or options.folder / "gpu.csv"
    torch.manual_seed(0)
    tasks = {"draw": draw, "kernels": kernels, "run": run, "table": table}
    tasks[options.task](options)


def draw(options: argparse.Namespace) -> None:
    """Photos for the benchmarks and the run."""
    photos, size = (8, 96) if options.quick else (64, 500)
    write_synthetic(options.folder / "photos", photos=photos, size=size, seed=0, hard=True)


def kernels(options: argparse.Namespace) -> None:
    """Each kernel on the device against the CPU."""
    report, device = Report("kernels", options), options.device
    shape = (1, 16, 16, 8, 3) if options.quick else (2, 2048, 512, 32, 3)
    grid, side = ((24, 32), 64) if options.quick else ((94, 125), 512)
    name = "test_resnet" if options.quick else "resnet50"
    network = Backbone.fixed(BackboneSettings(name=name, weights="none", stride=16)).eval()
    photo = torch.rand(2, 3, side, side)
    colours = (torch.rand(3 * side // 4, side, 3) * 255).byte()
    unary = unary_from_probabilities(torch.rand(21, 3 * side // 4, side).softmax(0))
    deformed = deform.problem(shape, "cpu", "float32")
    scores, edge = walk.problem(grid, 3, "cpu")

    def crf(at: str) -> Tensor:
        given = {"spatial": (3.0, 3.0), "bilateral": (50.0, 5.0, 10.0)}
        return dense_crf(unary.to(at), colours.to(at), **given)  # type: ignore[arg-type]

    @torch.no_grad()
    def features(at: str) -> Tensor:
        found: Tensor = network.to(at)(photo.to(at))
        return found

    cases: dict[str, Callable[[str], Tensor]] = {
        "deformable convolution, gradient of the offsets": lambda at: deform.step(
            deform_conv2d_frozen, *(tensor.to(at) for tensor in deformed)
        )[1],
        "random walk": lambda at: walk.ours(scores.to(at), edge.to(at)),
        "dense CRF, 21 labels": crf,
        f"features of {name}": features,
    }
    for case, compute in cases.items():
        expected, found = compute("cpu"), compute(device).cpu()
        # Of the CRF, the last digit of a colour decides on the border of two cells.
        apart = ((found - expected).abs() / expected.abs().max()).flatten()
        error = float(apart.kthvalue(max(1, int(0.999 * len(apart)))).values)
        within(error, 1e-2, case)
        taken = alternate(partial(compute, "cpu"), partial(compute, device), 2)
        report.ours_ran()
        row = report.add(case, taken, error)
    report.finish(row)


def run(options: argparse.Namespace) -> None:
    """All stages of voc12 with few steps: seconds a step and a photo, memory, projected hours."""
    logging.disable(logging.WARNING)
    report = Report(f"run, {options.precision}", options)
    steps = QUICK_STEPS if options.quick else STEPS
    marks: list[float] = []
    register_optimizer_step_post_hook(lambda *_: marks.append(now(options.device)))
    out = options.folder / f"run-{options.precision}"
    # Stages that an earlier call has finished would not be timed.
    shutil.rmtree(out, ignore_errors=True)
    flags = ["--data.kind=folder", "--data.train=train", "--data.evaluate=[train]"]
    flags.append("--data.masks=masks")
    flags += ["--backbone.weights=none", "--segment.weights=none"]
    flags += [f"--machine.device={options.device}", f"--machine.precision={options.precision}"]
    flags += [f"--{fit}.steps={steps}" for fit in fits(load_settings("voc12"))]
    if options.quick:
        flags += ["--backbone.name=test_resnet", "--segment.encoder=tu-test_resnet"]
        for part in ("input", "refine.affinity.input", "segment.input"):
            flags += [f"--{part}.size=64"]
        flags += [f"--{fit}.batch=2" for fit in fits(load_settings("voc12"))]
    views: dict[str, float] = {}
    photos = 0.0
    for stage in (name for name in STAGES if name != "peer"):
        marks.clear()
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        if command_line([stage, "voc12", str(options.folder / "photos"), str(out), *flags]):
            raise SystemExit(f"{stage}: failed")
        record = RunFolder(out).manifest(stage)["record"]
        report.peak = max(report.peak, peak_mb(options.device))
        report.add(f"{stage}, peak memory", float(peak_mb(options.device)), None, unit="MB")
        rest = record["seconds"] - (marks[-1] - marks[0] if marks else 0)
        if len(marks) > 2:
            # The first step also chooses algorithms.
            step = (marks[-1] - marks[1]) / (len(marks) - 2)
            fit = fits(load_settings(str(out / "settings.yaml")))[fit_of(stage)]
            views[fit_of(stage)] = step / fit.batch
            report.add(f"{stage}, a step of {fit.batch} views", step, None)
        if stage not in ("classify", "expand", "shrink"):
            each = rest / photos_of(options)
            photos += each
            report.add(f"{stage}, a photo, start included", each, None)
        # What is there stays, should the time run out.
        write(options.results, report.benchmark, report.rows)
    for title, (config, training, others) in () if options.quick else SETS.items():
        given = fits(load_settings(config))
        seconds = photos * (training + others)
        for name, fit in given.items():
            seconds += total_steps(fit, training) * fit.batch * views[name]
        report.add(f"{title}, projected from {steps} steps", seconds / 3600, None, unit="h")
    report.finish(report.rows[-1], ratio=1.0)


def now(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def photos_of(options: argparse.Namespace) -> int:
    """Photos of the run's training list."""
    manifest = RunFolder(options.folder / f"run-{options.precision}").manifest("cams")
    return int(manifest["results"]["photos"])


def fit_of(stage: str) -> str:
    """Key of a stage's optimisation."""
    return "refine.affinity.fit" if stage == "refine" else f"{stage}.fit"


def fits(settings: Settings) -> dict[str, Fit]:
    """Key -> optimisation of every training."""
    return {
        "classify.fit": settings.classify.fit,
        "expand.fit": settings.expand.fit,
        "shrink.fit": settings.shrink.fit,
        "refine.affinity.fit": settings.refine.affinity.fit,
        "segment.fit": settings.segment.fit,
    }


def table(options: argparse.Namespace) -> None:
    """Markdown: how each step ended, and every row of the CSV."""
    lines = ["| step | ended | seconds |", "|---|---|---|"]
    with (options.folder / "steps.csv").open(newline="") as stream:
        last = {step: (code, seconds) for step, code, seconds in csv.reader(stream)}
    said = {"0": "done", "124": "time limit"}
    for step, (code, seconds) in last.items():
        ended = said.get(code, f"failed, code {code}: see {step}.log")
        lines.append(f"| {step} | {ended} | {seconds} |")
    lines += ["", "| benchmark | case | theirs | ours | unit | ratio | max error | reached |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    keys = ("benchmark", "case", "theirs", "ours", "unit", "ratio", "max_error", "reached")
    if options.results.is_file():
        with options.results.open(newline="") as stream:
            lines += [
                f"| {' | '.join(row[key] for key in keys)} |" for row in csv.DictReader(stream)
            ]
    (options.folder / "gpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
