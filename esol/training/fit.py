"""fit(): the only training loop, used by every trained stage."""

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any, Self

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, load, set_seed
from safetensors import SafetensorError
from torch import Tensor, nn

from esol.data.batch import Batch, Losses, Mean
from esol.data.memory import enough_memory
from esol.errors import InputError, one_line
from esol.runs.manifest import CHECKPOINT
from esol.settings import Fit, Machine
from esol.system.distributed import (
    all_copy_from_main,
    all_from_main,
    all_gather,
    all_sum,
    all_wait,
    device_of,
    main_process,
    processes,
    rank,
)
from esol.system.files import append, remove_folder, sync_folder, write_atomic
from esol.system.precision import Precision, half, resolved
from esol.system.progress import log, track
from esol.training.inputs import Inputs
from esol.training.steps import METRICS, parse_step
from esol.training.tracking import tracked, tracker_arguments

LOGGED_STEPS = 200
"""About this many steps of a stage are written to metrics.jsonl."""

_DAMAGE = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError),
    *(SafetensorError, UnpicklingError),
)
"""What is raised on checkpoints whose files are damaged, or are something else."""

LossFunction = Callable[[Any, Batch], Losses]


class _Step(nn.Module):
    """Model and loss as one module, so that data-parallel wrappers see one forward call."""

    def __init__(self, model: nn.Module, losses: LossFunction, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.losses = losses
        self.precision: Precision = precision

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if self.precision == "bf16":
            # The layout in which convolutions are computed. In float32, where it would move last
            # bits, training keeps the other one, and runs go on as they were begun.
            inputs = batch.inputs.contiguous(memory_format=torch.channels_last)
            batch = batch._replace(inputs=inputs)
        with half(batch.inputs.device, self.precision):
            return all_divided(self.losses(self.model, batch))


def all_divided(losses: Losses) -> dict[str, Tensor]:
    """Losses as scalars, their means divided by the counts of the whole batch.

    The mean over the processes, which data-parallel training takes of losses and gradients, then
    is the whole batch's sum over the whole batch's count.
    """
    means = [loss for loss in losses.values() if isinstance(loss, Mean)]
    if processes() == 1 or not means:
        return {n: loss.value() if isinstance(loss, Mean) else loss for n, loss in losses.items()}
    counts = torch.stack([term.count.detach().double() for mean in means for term in mean.terms])
    divisors = iter(all_sum(counts).clamp_min(1) / processes())
    return {
        name: loss.value([next(divisors).to(term.total.dtype) for term in loss.terms])
        if isinstance(loss, Mean)
        else loss
        for name, loss in losses.items()
    }


@dataclass(frozen=True)
class TrainingRun:
    """Where and how one training runs.

    Attributes:
        folder: gets metrics.jsonl and, while training, one checkpoint folder.
        label: for progress.
        seed: of batches, augmentation and dropout.
        machine: device, precision, checkpoint interval, tracker.
        lighter: keys of settings whose lower values need less memory.
    """

    folder: Path
    label: str
    seed: int
    machine: Machine
    lighter: tuple[str, ...] = ()


def fit(
    model: nn.Module,
    losses: LossFunction,
    inputs: Inputs,
    groups: list[tuple[Iterable[nn.Parameter], float]],
    optimisation: Fit,
    run: TrainingRun,
) -> dict[str, float]:
    """Train until the last step, going on from the newest checkpoint in the run's folder.

    Which photos a step sees and how they are augmented depends on (seed, step) alone, and the
    checkpoint holds weights, optimiser and random states, so a run that was stopped and resumed
    ends in the same weights, bit for bit on a CPU, as one that was not.

    Of several processes each computes an equal part of every batch, and their gradients are
    averaged; all must call this alike, and all leave with the same weights.

    Args:
        model: trained in place; on return on the training device, in evaluation mode.
        losses: (model, batch) -> scalars; "loss" is minimised.
        inputs: training examples by index.
        groups: parameters and their learning rate as a multiple of ``optimisation.lr``.
        optimisation: optimiser, schedule, batch.
        run: folder, seed and machine of this training.

    Returns:
        The last logged losses and the number of steps.

    Raises:
        InputError: a loss or a gradient is not finite, or memory runs out; the message names the
            batch's photos. A checkpoint is damaged, or of another number of processes.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint.
    """
    all_wait()
    folder, label, machine = run.folder, run.label, run.machine
    precision = resolved(machine.precision, device_of(machine.device))
    accelerator = _accelerator(machine, precision, folder)
    # Dropout differs between the parts of a batch.
    set_seed(run.seed + rank())
    steps, batch_size = total_steps(optimisation, len(inputs)), optimisation.batch
    optimizer = _optimizer(groups, optimisation)
    step_module, optimizer = accelerator.prepare(_Step(model, losses, precision), optimizer)
    done = _all_resume(accelerator, folder)
    metrics = _Metrics.open(folder / METRICS, accelerator, keep=done, steps=steps)
    saved, files = time.monotonic(), {sample.name: sample.image for sample in inputs.samples}
    model.train()
    batches = inputs.batches(
        batch_size, seed=run.seed, start=done, stop=steps, workers=machine.workers
    )
    tracks = machine.track != "none"
    tracking = tracked(accelerator, machine, folder, done) if tracks else nullcontext()
    with _stop_signals() as stop, tracking:
        for batch in track(batches, label, total=steps, start=done, unit="steps"):
            # A process whose photo cannot be read is missed here, not amid a backward pass.
            all_wait()
            rate = set_rate(optimizer, done, steps, optimisation)
            with enough_memory([files[name] for name in batch.names], *run.lighter):
                values = step_module(_on_device(batch, accelerator.device))
                _all_update(accelerator, optimizer, step_module, values["loss"], batch)
            done += 1
            metrics.all_log(done, values, rate)
            due = time.monotonic() - saved >= machine.checkpoint_seconds
            stopping, due = map(any, zip(*all_gather((stop.is_set(), due)), strict=True))
            if stopping or due:
                _all_save(accelerator, folder, done)
                saved = time.monotonic()
            if stopping:
                log.info("%s: stopped after step %d of %d; call again to go on", label, done, steps)
                raise KeyboardInterrupt
    accelerator.free_memory()
    all_copy_from_main(model.buffers())
    model.eval()
    return {"steps": steps, **metrics.last}


def _accelerator(machine: Machine, precision: Precision, folder: Path) -> Accelerator:
    return Accelerator(
        # Parameters that the loss does not reach are found once, not at every step.
        kwargs_handlers=[DistributedDataParallelKwargs(static_graph=True)],
        # For what scales the losses; one process may train in bf16 and in float32.
        mixed_precision="fp16" if precision == "fp16" else "no",
        cpu=device_of(machine.device).type == "cpu",
        **(tracker_arguments(machine, folder) if machine.track != "none" else {}),
    )


def forget_checkpoints(folder: Path) -> None:
    """Remove training checkpoints, once the stage's weights are written."""
    if not main_process():
        return
    for path in folder.glob(f"*{CHECKPOINT}*"):
        remove_folder(path)


def total_steps(fit: Fit, photos: int) -> int:
    """Optimiser steps of a stage; an epoch's last batch is filled up from the next epoch."""
    return fit.steps or math.ceil(fit.epochs * photos / fit.batch)


def _optimizer(
    groups: list[tuple[Iterable[nn.Parameter], float]], fit: Fit
) -> torch.optim.Optimizer:
    parameters: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.requires_grad], "lr": fit.lr * factor}
        for parameters, factor in groups
    ]
    parameters = [group for group in parameters if group["params"]]
    for group in parameters:
        group["initial_lr"] = group["lr"]
    if fit.optimizer == "adamw":
        return torch.optim.AdamW(parameters, weight_decay=fit.weight_decay)
    return torch.optim.SGD(
        parameters, lr=fit.lr, momentum=fit.momentum, weight_decay=fit.weight_decay
    )


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, fit: Fit) -> float:
    """Set the learning rates of a step, (1 - step / steps) ** power; returns that factor."""
    factor = (1 - step / steps) ** fit.power
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(factor)


def _all_update(
    accelerator: Accelerator,
    optimizer: torch.optim.Optimizer,
    step_module: nn.Module,
    loss: Tensor,
    batch: Batch,
) -> None:
    """One optimiser step, refused if loss or gradient is not finite."""
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    norms = [p.grad.norm() for p in step_module.parameters() if p.grad is not None]
    finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(torch.stack(norms)).all())
    # fp16 gradients may overflow while the loss scale settles; the scaler then skips the step.
    bad = () if finite or accelerator.mixed_precision == "fp16" else batch.names
    if names := [name for part in all_gather(bad) for name in part]:
        raise InputError(
            "loss or gradient is not finite; lower the stage's fit.lr, or look at the photos of"
            f" this batch: {', '.join(names)}"
        )
    optimizer.step()


def _on_device(batch: Batch, device: torch.device) -> Batch:
    def moved(part: Tensor | None) -> Tensor | None:
        return None if part is None else part.to(device, non_blocking=True)

    return batch._replace(
        inputs=batch.inputs.to(device, torch.float32, non_blocking=True),
        tags=batch.tags.to(device, non_blocking=True),
        masks=moved(batch.masks),
        targets=moved(batch.targets),
    )


def _all_save(accelerator: Accelerator, folder: Path, step: int) -> None:
    """Write a checkpoint folder under a temporary name, rename it, drop the older ones.

    Raises:
        InputError: it cannot be written; the one before is still there.
    """
    temporary, final = folder / f".tmp-{CHECKPOINT}{step}", folder / f"{CHECKPOINT}{step:08d}"
    if main_process() and temporary.exists():
        shutil.rmtree(temporary)
    all_wait()
    # The main process writes weights and optimiser, each one its random states.
    try:
        accelerator.save_state(str(temporary))
        all_wait()
        if main_process():
            # The one before is removed: a power cut must not take both.
            sync_folder(temporary)
    # PyTorch and safetensors have errors of their own for a disk that is full.
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # PyTorch tells which of its lines failed, not why.
        cut = "inline_container" in str(error)
        why = "not all bytes were taken" if cut else one_line(error, 1, 200)
        raise InputError(f"{final}: cannot be written ({why}); make room on the disk") from error
    if main_process():
        if final.exists():
            remove_folder(final)
        temporary.rename(final)
        for old in folder.glob(f"{CHECKPOINT}*"):
            if old != final:
                remove_folder(old)
    all_wait()


def _all_resume(accelerator: Accelerator, folder: Path) -> int:
    """Load the newest checkpoint; returns the number of steps it holds, 0 without one."""
    newest = all_from_main(lambda: max(folder.glob(f"{CHECKPOINT}*"), default=None))
    if newest is None:
        return 0
    writers = len(list(newest.glob("random_states_*.pkl")))
    if writers and writers != processes():
        raise InputError(
            f"{newest} was written by {writers} processes, not {processes()}; start {writers}, or"
            " remove it to begin the stage again"
        )
    try:
        accelerator.load_state(str(newest))
        _check_random(newest)
    except _DAMAGE as error:
        raise InputError(f"{newest} is damaged; remove it and run again") from error
    step = int(newest.name.removeprefix(CHECKPOINT))
    log.info("going on from step %d", step)
    return step


def _check_random(checkpoint: Path) -> None:
    """Accelerate goes on with other random states where it cannot read those of a checkpoint."""
    # Like all that Accelerate loads of a checkpoint, without executing what a pickle may ask for.
    states = load(checkpoint / f"random_states_{rank()}.pkl")
    if not torch.equal(states["torch_manual_seed"], torch.get_rng_state()):
        raise ValueError("random states")


class _Metrics:
    """metrics.jsonl: one line per logged step, no times in it, so equal runs give equal files.

    Losses are means over the processes; the main one writes them. Accelerate's tracker, if there
    is one, gets the same.
    """

    def __init__(
        self, path: Path, accelerator: Accelerator, steps: int, last: dict[str, float]
    ) -> None:
        self.path = path
        self.accelerator = accelerator
        self.steps = steps
        self.every = max(1, steps // LOGGED_STEPS)
        self.last = last

    @classmethod
    def open(cls, path: Path, accelerator: Accelerator, *, keep: int, steps: int) -> Self:
        """Metrics of a training that goes on after ``keep`` steps; later lines are removed."""
        if not main_process():
            return cls(path, accelerator, steps, {})
        # A line cut off by a kill counts as never written.
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        rows = {line: parse_step(line) for line in text.splitlines()}
        kept = {line: row for line, row in rows.items() if row is not None and row["step"] <= keep}
        # At once or not at all: these lines are not written a second time.
        write_atomic(path, "".join(f"{line}\n" for line in kept))
        row = list(kept.values())[-1] if kept else {}
        last = {name: row[name] for name in row.keys() - {"step", "rate"}}
        return cls(path, accelerator, steps, last)

    def all_log(self, step: int, values: dict[str, Tensor], rate: float) -> None:
        if step % self.every and step != self.steps:
            return
        parts = all_gather({name: float(value.detach()) for name, value in values.items()})
        self.last = {name: sum(part[name] for part in parts) / len(parts) for name in values}
        if not main_process():
            return
        line = {**self.last, "rate": rate}
        append(self.path, json.dumps({"step": step, **line}) + "\n")
        self.accelerator.log(line, step=step)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set an event instead of raising, so that a step is never cut in two."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            signal.signal(number, old)
    # A signal after the last step must not be lost.
    if stop.is_set():
        raise KeyboardInterrupt
